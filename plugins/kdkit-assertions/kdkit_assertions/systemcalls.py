"""A seccomp filter: system calls that generated code has no business with are refused, in native code too.

It closes what namespaces and Landlock leave open. A network namespace does not cover sockets that are files (those of
daemons and agents, which do what they are told), Landlock does not cover a file's mode, owner, times and attributes,
and no limit counts System V's shared memory, message queues and files without a name. The rest of the list are ways
around (io_uring does sockets by itself), into other processes, and into parts of the kernel that are seldom needed and
often flawed, namespaces of users first.

It is written here, and by no library: those for Python need libseccomp on the machine, which only root can install,
and a list of numbers is all there is to it.

Sources: seccomp(2), syscalls(2), clone(2), and Linux's asm/unistd_64.h (x86_64) and asm-generic/unistd.h (aarch64),
linux/audit.h and linux/bpf_common.h, from which the numbers are.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys
from typing import TYPE_CHECKING

import attrs

from kdkit_assertions.libc import give_up_new_privileges, libc

if TYPE_CHECKING:
    from collections.abc import Sequence

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
ALLOW, REFUSE, MISSING = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_LOAD, _IF_EQUAL, _IF_NOT_BELOW, _IF_ANY, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24  # where they stand in what a filter is shown
X32 = 0x40000000
# FS_IOC_SETFLAGS, of 64 and of 32 bits, and FS_IOC_FSSETXATTR: attributes of a file that is open for reading.
IOCTLS = (0x40086602, 0x40046602, 0x401C5820)
# The namespaces that clone can make: mounts, control groups, host name, messages, users, processes and network.
NEW_NAMESPACES = 0x7E020000
# clone3 keeps its flags where a filter cannot look. Where it is missing, libraries take clone.
CLONE3 = 435

# The same on both. For all: io_uring (425-427), pidfd_getfd, memfd_secret. For rows: mounts (428-433, 442, 467), and
# fchmodat2, setxattrat, removexattrat, file_setattr.
_NEW = (425, 426, 427, 438, 447)
_NEW_OF_ROWS = (*range(428, 434), 442, 467, 452, 463, 466, 469)


@attrs.frozen(kw_only=True)
class Machine:
    """An architecture's numbers.

    Attributes:
        word: What a filter is shown of it.
        ioctl: Of the system call ioctl.
        clone: Of the system call clone.
        refused: What workers and rows are refused.
        refused_to_rows: What rows are refused as well; workers need some of it to make a row's room.
    """

    word: int
    ioctl: int
    clone: int
    refused: tuple[int, ...]
    refused_to_rows: tuple[int, ...]


MACHINES = {
    "x86_64": Machine(
        word=0xC000003E,
        ioctl=16,
        clone=56,
        refused=(
            41, 42, 44, 46, 49, 50, 53, 307,  # socket, connect, sendto, sendmsg, bind, listen, socketpair, sendmmsg
            29, 30, 31, 67, 64, 65, 66, 220,  # shmget, shmat, shmctl, shmdt, semget, semop, semctl, semtimedop
            68, 69, 70, 71, 240, 241, 319,  # msgget, msgsnd, msgrcv, msgctl, mq_open, mq_unlink, memfd_create
            101, 310, 311,  # ptrace, process_vm_readv, process_vm_writev
            155, 161, 304,  # pivot_root, chroot, open_by_handle_at
            248, 249, 250, 298, 321, 323,  # add_key, request_key, keyctl, perf_event_open, bpf, userfaultfd
            *_NEW,
        ),
        refused_to_rows=(
            165, 166, 272, 308,  # mount, umount2, unshare, setns
            90, 91, 268, 92, 93, 94, 260,  # chmod, fchmod, fchmodat, chown, fchown, lchown, fchownat
            132, 235, 261, 280,  # utime, utimes, futimesat, utimensat
            188, 189, 190, 197, 198, 199,  # setxattr, lsetxattr, fsetxattr, removexattr, lremovexattr, fremovexattr
            *_NEW_OF_ROWS,
        ),
    ),
    "aarch64": Machine(
        word=0xC00000B7,
        ioctl=29,
        clone=220,
        refused=(
            198, 203, 206, 211, 200, 201, 199,  # socket, connect, sendto, sendmsg, bind, listen, socketpair
            269,  # sendmmsg
            194, 195, 196, 197, 190, 191, 192, 193,  # shmget, shmctl, shmat, shmdt, semget, semctl, semtimedop, semop
            186, 187, 188, 189, 180, 181, 279,  # msgget, msgctl, msgrcv, msgsnd, mq_open, mq_unlink, memfd_create
            117, 270, 271,  # ptrace, process_vm_readv, process_vm_writev
            41, 51, 265,  # pivot_root, chroot, open_by_handle_at
            217, 218, 219, 241, 280, 282,  # add_key, request_key, keyctl, perf_event_open, bpf, userfaultfd
            *_NEW,
        ),
        refused_to_rows=(
            40, 39, 97, 268,  # mount, umount2, unshare, setns
            52, 53, 55, 54,  # fchmod, fchmodat, fchown, fchownat
            88,  # utimensat
            5, 6, 7, 14, 15, 16,  # setxattr, lsetxattr, fsetxattr, removexattr, lremovexattr, fremovexattr
            *_NEW_OF_ROWS,
        ),
    ),
}  # fmt: skip

WORKERS, ROWS = "workers", "rows"
"""Whose system calls are refused."""


def refuse_system_calls(whose: str) -> bool:
    """Refuse them to this process and all that it starts, for good; whether this machine and kernel can.

    What is refused fails with EPERM, and so does all that comes by the numbers of another architecture; clone3 is said
    to be missing.

    Args:
        whose: `WORKERS` or `ROWS`.
    """
    if sys.platform != "linux" or sys.byteorder != "little" or platform.machine() not in MACHINES:
        return False
    code = program(platform.machine(), whose)
    instructions = ctypes.create_string_buffer(code, len(code))
    filter_ = struct.pack("@HP", len(code) // 8, ctypes.addressof(instructions))
    give_up_new_privileges()
    return bool(libc().prctl(_PR_SET_SECCOMP, _MODE_FILTER, filter_, 0, 0) == 0)


def program(name: str, whose: str) -> bytes:
    """The filter's instructions, of eight bytes each.

    Args:
        name: The architecture's, of `MACHINES`.
        whose: `WORKERS` or `ROWS`.
    """
    machine = MACHINES[name]
    refused = machine.refused + (machine.refused_to_rows if whose == ROWS else ())
    # Instruction, value, and the label to go on at if its test is true, or false; a text alone is a label.
    return _assembled(
        [
            (_LOAD, _ARCHITECTURE),
            (_IF_EQUAL, machine.word, "", "refuse"),
            (_LOAD, _NUMBER),
            *([(_IF_NOT_BELOW, X32, "refuse")] if name == "x86_64" else []),
            *((_IF_EQUAL, number, "refuse") for number in sorted(refused)),
            (_IF_EQUAL, CLONE3, "missing"),
            (_IF_EQUAL, machine.clone, "clone"),
            (_IF_EQUAL, machine.ioctl, "ioctl"),
            (_RETURN, ALLOW),
            "clone",
            (_LOAD, _FIRST_ARGUMENT),
            (_IF_ANY, NEW_NAMESPACES, "refuse"),
            (_RETURN, ALLOW),
            "ioctl",
            (_LOAD, _SECOND_ARGUMENT),
            *((_IF_EQUAL, request, "refuse") for request in IOCTLS),
            (_RETURN, ALLOW),
            "refuse",
            (_RETURN, REFUSE),
            "missing",
            (_RETURN, MISSING),
        ]
    )


def _assembled(lines: Sequence[str | tuple[int, int] | tuple[int, int, str] | tuple[int, int, str, str]]) -> bytes:
    """Instructions with labels as the kernel reads them: with the distances to these."""
    labels: dict[str, int] = {}
    instructions: list[tuple[int | str, ...]] = []
    for line in lines:
        if isinstance(line, str):
            labels[line] = len(instructions)
        else:
            instructions.append(line)
    code = b""
    for here, (operation, value, *targets) in enumerate(instructions, start=1):
        jumps = [labels[str(target)] - here if target else 0 for target in (*targets, "", "")[:2]]
        code += struct.pack("=HBBI", operation, *jumps, value)
    return code
