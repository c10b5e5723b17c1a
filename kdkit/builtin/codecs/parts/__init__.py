"""What several of the shipped codecs are made of."""
