"""The seccomp filter, run here by a machine of a few lines: what it refuses and what not, on both architectures."""

from __future__ import annotations

import functools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdkit_assertions.systemcalls import (
    ALLOW,
    CLONE3,
    IOCTLS,
    MACHINES,
    MISSING,
    NEW_NAMESPACES,
    REFUSE,
    ROWS,
    WORKERS,
    X32,
    program,
)

NUMBERS = st.integers(0, 2**32 - 1)


@functools.cache
def lines_of(machine, whose):
    return list(struct.iter_unpack("=HBBI", program(machine, whose)))


def decided(machine, *, number, word=None, first=0, second=0, whose=ROWS):
    """What the filter answers to a system call, as linux/filter.h says that it is run."""
    shown = struct.pack("=IIQQQ", number, MACHINES[machine].word if word is None else word, 0, first, second)
    lines = lines_of(machine, whose)
    at = held = 0
    while True:
        code, if_true, if_false, value = lines[at]
        at += 1
        if code == 0x06:
            return value
        if code == 0x20:
            (held,) = struct.unpack_from("=I", shown, value)
        else:
            holds = {0x15: held == value, 0x35: held >= value, 0x45: bool(held & value)}[code]
            at += if_true if holds else if_false


@pytest.mark.parametrize("whose", [WORKERS, ROWS])
@pytest.mark.parametrize("machine", MACHINES)
def test_all_that_is_listed_is_refused_and_nothing_else(machine, whose):
    numbers = MACHINES[machine]
    refused = numbers.refused + (numbers.refused_to_rows if whose == ROWS else ())
    for number in set(range(600)) - {CLONE3}:
        assert decided(machine, number=number, whose=whose) == (REFUSE if number in refused else ALLOW)
    for request in IOCTLS:
        assert decided(machine, number=numbers.ioctl, second=request, whose=whose) == REFUSE
        assert decided(machine, number=numbers.ioctl, second=request | 1 << 40) == REFUSE  # the kernel reads 32 bits
        assert decided(machine, number=numbers.ioctl, second=request + 1) == ALLOW


@pytest.mark.parametrize("whose", [WORKERS, ROWS])
@pytest.mark.parametrize("machine", MACHINES)
def test_processes_and_threads_are_made_but_no_namespaces_with_them(machine, whose):
    thread, child = 0x3D0F00, 0x1200011  # what glibc asks for
    for flags in (thread, child, 17):
        assert decided(machine, number=MACHINES[machine].clone, first=flags, whose=whose) == ALLOW
    for bit in range(32):
        if NEW_NAMESPACES >> bit & 1:
            assert decided(machine, number=MACHINES[machine].clone, first=1 << bit | 17, whose=whose) == REFUSE
    assert decided(machine, number=CLONE3, whose=whose) == MISSING  # then libraries take clone


@given(number=NUMBERS, word=NUMBERS)
@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_of_another_architecture_are_refused(machine, number, word):
    is_own = word == MACHINES[machine].word
    assert is_own or decided(machine, number=number, word=word) == REFUSE


@given(number=st.integers(0, 600))
def test_the_numbers_of_x32_are_refused(number):
    assert decided("x86_64", number=X32 | number) == REFUSE
