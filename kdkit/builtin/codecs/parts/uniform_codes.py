"""Codes of eight or four bits as bytes.

Eight bits are a byte each. Of four bits there are two a byte, the first in the low half, and then a byte that says
whether the last half is unused: without it, one code and two of which the second is 0 would be the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.errors import DamagedData

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def packed_size(count: int, bits: int) -> int:
    """Bytes of so many codes."""
    return count if bits == 8 else (count + 1) // 2 + 1


def packed(codes: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """Uint8 `[packed_size(N, bits)]` of N codes below `2**bits`, whatever their shape."""
    import numpy as np

    flat = codes.reshape(-1)
    if bits == 8:
        return flat
    odd = flat.size % 2
    even = np.append(flat, np.zeros(odd, np.uint8))
    return np.append(even[0::2] + np.uint8(16) * even[1::2], np.uint8(odd))


def unpacked(content: npt.NDArray[np.uint8], count: int, bits: int) -> npt.NDArray[np.uint8]:
    """The `count` codes of `packed`, uint8 `[count]`.

    Args:
        content: Uint8 `[packed_size(count, bits)]`.
        count: How many there are.
        bits: Of each.

    Raises:
        DamagedData: It is of another number of codes, or its unused half is not zero.
    """
    import numpy as np

    if bits == 8:
        return content
    pairs, odd = content[:-1], content[-1]
    codes = np.empty(2 * pairs.size, np.uint8)
    codes[0::2] = pairs & 15
    codes[1::2] = pairs >> 4
    if odd != count % 2 or codes[count:].any():
        raise DamagedData(f"4-bit logits do not end where {count} of them must")
    return codes[:count]
