"""LZ4 and zstd frames of a known content size, read with hard limits.

Neither format notices damage by itself (kdkit's cache has a CRC for each record), and python-zstandard ignores
`max_output_size` where a frame declares its size: so a frame's declared size is compared with the one that the cache's
index calls for before anything is decompressed, and never more than that is allocated.
"""

from __future__ import annotations

from kdkit.errors import DamagedData

# An LZ4 match is lengthened by at most 255 bytes for each byte of its coding.
LZ4_MOST_EXPANSION = 255
# A zstd block takes at least 4 bytes, and holds at most 128 KiB.
ZSTD_MOST_EXPANSION = 2**15
# Frame headers, end marks, and the 4 bytes of each raw block (of 64 KiB or more), with room to spare.
FRAME_BYTES = 32
BLOCK_SHARE = 2**-12


def lz4_compress(content: bytes, level: int) -> bytes:
    """One LZ4 frame that declares its content size; no checksums, because the cache has its own."""
    import lz4.frame

    frame: bytes = lz4.frame.compress(
        content,
        compression_level=level,
        block_size=lz4.frame.BLOCKSIZE_MAX4MB,
        content_checksum=False,
        store_size=True,
    )
    return frame


def lz4_decompress(frame: bytes, size: int, *, or_else: int | None = None) -> bytes:
    """The content of an LZ4 frame that must hold exactly `size` bytes, or `or_else`, with nothing after it.

    Raises:
        DamagedData: It is not such a frame.
    """
    import lz4.frame

    try:
        info = lz4.frame.get_frame_info(frame)
        if or_else is not None and info["content_size"] == or_else:
            size = or_else
        if info["skippable"] or info["content_size"] != size:
            raise DamagedData(f"an LZ4 frame of {info['content_size']} bytes found, {size} bytes expected")
        if size > LZ4_MOST_EXPANSION * len(frame):
            raise DamagedData(f"{len(frame)} bytes of LZ4 cannot hold the {size} expected")
        decompressor = lz4.frame.LZ4FrameDecompressor()
        # One byte of room beyond the content lets the frame's end mark be read in the same call.
        content: bytes = decompressor.decompress(frame, max_length=size + 1)
    except RuntimeError as error:
        raise DamagedData(f"the LZ4 frame cannot be read ({error})") from error
    _check_end(content, size, ended=decompressor.eof, trailing=len(decompressor.unused_data or b""))
    return content


def zstd_compress(content: bytes, level: int) -> bytes:
    """One zstd frame that declares its content size, without a checksum."""
    import zstandard

    return zstandard.ZstdCompressor(level=level, write_checksum=False, write_content_size=True).compress(content)


def zstd_decompress(frame: bytes, size: int) -> bytes:
    """The content of a zstd frame that must hold exactly `size` bytes, with nothing after it.

    Raises:
        DamagedData: It is not such a frame.
    """
    import zstandard

    try:
        declared = zstandard.get_frame_parameters(frame).content_size
        if declared != size:
            named = "unknown size" if declared == zstandard.CONTENTSIZE_UNKNOWN else f"{declared} bytes"
            raise DamagedData(f"a zstd frame of {named} found, {size} bytes expected")
        if size > ZSTD_MOST_EXPANSION * len(frame):
            raise DamagedData(f"{len(frame)} bytes of zstd cannot hold the {size} expected")
        content = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise DamagedData(f"the zstd frame cannot be read ({error})") from error
    _check_end(content, size, ended=True, trailing=0)
    return content


def largest_frame(content_bytes: float) -> float:
    """Bytes that a frame of so much content takes at most, when nothing can be compressed."""
    return content_bytes * (1 + BLOCK_SHARE) + FRAME_BYTES


def _check_end(content: bytes, size: int, *, ended: bool, trailing: int) -> None:
    if len(content) != size:
        raise DamagedData(f"the frame holds {len(content)} bytes, {size} expected")
    if not ended:
        raise DamagedData("the frame is cut short")
    if trailing:
        raise DamagedData(f"{trailing} bytes follow the frame")
