"""Parts that several of the shipped codecs share."""
