"""Sections of whole numbers: how sparse codecs write many small numbers of 0 or more, and read them with hard limits.

A section is a byte that names the code, then the numbers' unary prefixes, then their suffixes, each part padded with
zero bits to whole bytes. A prefix is as many zero bits as it says, and a one. With parameter b (the byte's lower seven
bits) and a number x:

    Rice (byte below 128)        prefix x >> b; suffix the lower b bits of x
    exp-Golomb (128 and above)   prefix p = floor(log2((x >> b) + 1)); suffix x + 2**b - 2**(p + b) in p + b bits

Rice suits numbers that fall off like a geometric distribution, exp-Golomb those with a longer tail; the writer takes
whichever comes out shorter. Bits are written from the highest down. All numbers are read at once, by NumPy.

Letters: N numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from kdkit.errors import DamagedData

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Integers: TypeAlias = npt.NDArray[np.int64]

EXP_GOLOMB = 128
LARGEST_PARAMETER = 40
# The code's byte, and less than a byte of padding after each of the two parts.
SECTION_BYTES = 3
# Beyond a number's first byte there are so many that its window may have.
_WINDOW_BYTES = 9
# Numbers whose bits by every parameter are counted at once.
_AT_ONCE = 1 << 12


def write_integers(numbers_N: Integers) -> bytes:
    """A section of numbers, each from 0 to 2**40."""
    import numpy as np

    code = _best_code(numbers_N)
    prefix_N, width_N = _rice(numbers_N, code) if code < EXP_GOLOMB else _exp_golomb(numbers_N, code - EXP_GOLOMB)
    suffix_N = numbers_N if code < EXP_GOLOMB else numbers_N + (1 << (code - EXP_GOLOMB))
    # Of either, the suffix is the lower bits: what exp-Golomb subtracts is the bit above them.
    ends_N = np.cumsum(prefix_N + 1)
    unary = np.zeros(int(ends_N[-1]) if ends_N.size else 0, np.uint8)
    unary[ends_N - 1] = 1
    return bytes([code]) + np.packbits(unary).tobytes() + write_fields(suffix_N, width_N)


def write_fields(numbers_N: Integers, width_N: Integers) -> bytes:
    """The lower `width_N` bits of each number, one after the other, padded to whole bytes."""
    import numpy as np

    ends_N = np.cumsum(width_N)
    total = int(ends_N[-1]) if ends_N.size else 0
    shift = np.repeat(ends_N, width_N) - 1 - np.arange(total)
    return np.packbits((np.repeat(numbers_N, width_N) >> shift & 1).astype(np.uint8)).tobytes()


def _rice(numbers_N: Integers, parameter: int) -> tuple[Integers, Integers]:
    """Prefixes, and widths of the suffixes."""
    import numpy as np

    return numbers_N >> parameter, np.full(len(numbers_N), parameter, np.int64)


def _exp_golomb(numbers_N: Integers, parameter: int) -> tuple[Integers, Integers]:
    """Prefixes, and widths of the suffixes."""
    import numpy as np

    # frexp gives the exponent of the next power of two, exactly for numbers below 2**53.
    prefix_N = np.frexp(((numbers_N >> parameter) + 1).astype(np.float64))[1].astype(np.int64) - 1
    return prefix_N, prefix_N + parameter


def _best_code(numbers_N: Integers) -> int:
    """The code's byte that takes the fewest bits; of equals the lowest.

    Letters: P parameters.
    """
    import numpy as np

    count, largest = len(numbers_N), int(numbers_N.max(initial=0))
    parameter_P = np.arange(largest.bit_length() + 1)
    rice_P, golomb_P = count * parameter_P, -count * (parameter_P + 2)
    for start in range(0, count, _AT_ONCE):
        some_1N = numbers_N[None, start : start + _AT_ONCE]
        rice_P += (some_1N >> parameter_P[:, None]).sum(axis=1)
        # A prefix of p = exponent - 1 - b, and a suffix of p + b.
        exponent_PN = np.frexp((some_1N + (1 << parameter_P)[:, None]).astype(np.float64))[1]
        golomb_P += 2 * exponent_PN.sum(axis=1, dtype=np.int64)
    best = int(np.argmin(np.concatenate([rice_P, golomb_P])))
    return best if best < len(parameter_P) else EXP_GOLOMB + best - len(parameter_P)


class Reader:
    """Reads a payload from front to back.

    Whatever is asked for, no more is allocated than a few hundred times the payload's size.

    Raises:
        DamagedData: From any method: the payload does not hold what is asked for.
    """

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next bytes."""
        if size > self.left:
            raise DamagedData(f"{self.left} bytes are left, {size} expected")
        taken = self._payload[self._at : self._at + size]
        self._at += size
        return taken

    @property
    def left(self) -> int:
        """How many bytes have not been read."""
        return len(self._payload) - self._at

    def end(self) -> None:
        """Refuse a payload with bytes left."""
        if self.left:
            raise DamagedData(f"{self.left} bytes follow the payload's end")

    def integers(self, count: int, *, most: int) -> Integers:
        """So many numbers of 0 to `most`, which is below 2**40, as `write_integers` wrote them."""
        import numpy as np

        code = self.take(1)[0]
        parameter = code % EXP_GOLOMB
        if parameter > LARGEST_PARAMETER:
            raise DamagedData(f"a section of numbers has the unknown code {code}")
        prefix_N = self._prefixes(count)
        if code < EXP_GOLOMB:
            _check_most(prefix_N, most >> parameter)
            numbers_N = self.fields(np.full(count, parameter, np.int64)) + (prefix_N << parameter)
        else:
            _check_most(prefix_N, LARGEST_PARAMETER - parameter)
            numbers_N = self.fields(prefix_N + parameter) + ((1 << (prefix_N + parameter)) - (1 << parameter))
        _check_most(numbers_N, most)
        return numbers_N

    def _prefixes(self, count: int) -> Integers:
        import numpy as np

        # Each prefix takes a bit at least.
        if count > 8 * self.left:
            raise DamagedData(f"{self.left} bytes are left, which cannot hold the {count} numbers expected")
        # What is left may be far longer than this part, so as much of it is looked at as turns out to be needed.
        window = min(count, self.left)
        while True:
            bits = np.unpackbits(np.frombuffer(self._payload, np.uint8, count=window, offset=self._at))
            ones_N = np.flatnonzero(bits.view(bool))[:count]  # of bytes NumPy finds them ten times slower
            if len(ones_N) == count or window == self.left:
                break
            window = min(4 * window, self.left)
        if len(ones_N) < count:
            raise DamagedData(f"{len(ones_N)} numbers found, {count} expected")
        self._skip(int(ones_N[-1]) + 1 if count else 0)
        return np.diff(ones_N, prepend=-1) - 1

    def fields(self, width_N: Integers) -> Integers:
        """Numbers of so many bits each, 62 at most, as `write_fields` wrote them."""
        import numpy as np

        ends_N = np.cumsum(width_N)
        total = int(ends_N[-1]) if ends_N.size else 0
        if total > 8 * self.left:
            raise DamagedData(f"{self.left} bytes are left, {total} bits expected")
        start = self._at
        self._skip(total)
        if not total:
            return np.zeros(len(width_N), np.int64)
        # Of each number the eight bytes from the one on in which it begins, and what it has in a ninth.
        stored = self._payload[start : self._at] + bytes(_WINDOW_BYTES)
        windows = np.ndarray((len(stored) - _WINDOW_BYTES + 1,), ">u8", stored, strides=(1,))
        begin_N = ends_N - width_N
        byte_N, skipped_N = begin_N >> 3, (begin_N & 7).astype(np.uint64)
        window_N = windows[byte_N].astype(np.uint64) << skipped_N
        window_N |= np.frombuffer(stored, np.uint8)[byte_N + 8] >> (8 - skipped_N)
        # In two steps, since a shift by all 64 bits is none.
        numbers_N: Integers = (window_N >> np.uint64(1) >> (63 - width_N).astype(np.uint64)).astype(np.int64)
        return numbers_N

    def _skip(self, bits: int) -> None:
        """Move to the byte after so many bits; the bits that pad the last byte are zero."""
        if bits % 8 and self._payload[self._at + bits // 8] & (0xFF >> bits % 8):
            raise DamagedData("the padding of a payload has bits that are set")
        self._at += -(-bits // 8)


def _check_most(numbers_N: Integers, most: int) -> None:
    if numbers_N.size and int(numbers_N.max()) > most:
        raise DamagedData(f"the number {int(numbers_N.max())} is larger than {most}, the largest possible one")
