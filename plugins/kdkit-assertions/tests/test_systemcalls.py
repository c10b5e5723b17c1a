"""The seccomp filter, run here by a machine of a few lines: what it refuses and what not, on both architectures."""

from __future__ import annotations

import functools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdkit_assertions.systemcalls import _ALLOW, _IOCTLS, _MACHINES, _REFUSE, _X32, _program

NUMBERS = st.integers(0, 2**32 - 1)


@functools.cache
def lines_of(machine):
    return list(struct.iter_unpack("=HBBI", _program(machine)))


def decided(machine, *, number, word=None, argument=0):
    """What the filter answers to a system call, as linux/filter.h says that it is run."""
    shown = struct.pack("=IIQQQ", number, _MACHINES[machine][0] if word is None else word, 0, 0, argument)
    lines = lines_of(machine)
    at = held = 0
    while True:
        code, if_true, if_false, value = lines[at]
        at += 1
        if code == 0x06:
            return value
        if code == 0x20:
            (held,) = struct.unpack_from("=I", shown, value)
        else:
            assert code in {0x15, 0x35}
            at += if_true if (held == value if code == 0x15 else held >= value) else if_false


@pytest.mark.parametrize("machine", _MACHINES)
def test_all_that_is_listed_is_refused_and_nothing_else(machine):
    _, ioctl, refused = _MACHINES[machine]
    for number in range(600):
        assert decided(machine, number=number) == (_REFUSE if number in refused else _ALLOW)
    for request in _IOCTLS:
        assert decided(machine, number=ioctl, argument=request) == _REFUSE
        assert decided(machine, number=ioctl, argument=request | 1 << 40) == _REFUSE  # the kernel reads 32 bits
        assert decided(machine, number=ioctl, argument=request + 1) == _ALLOW


@given(number=NUMBERS, word=NUMBERS)
@pytest.mark.parametrize("machine", _MACHINES)
def test_numbers_of_another_architecture_are_refused(machine, number, word):
    is_own = word == _MACHINES[machine][0]
    assert is_own or decided(machine, number=number, word=word) == _REFUSE


@given(number=st.integers(0, 600))
def test_the_numbers_of_x32_are_refused(number):
    assert decided("x86_64", number=_X32 | number) == _REFUSE
