"""A seccomp filter: system calls that generated code has no business with are refused, in native code too.

It closes what namespaces and Landlock leave open. A network namespace does not cover sockets that are files (those of
daemons and agents, which do what they are told), and Landlock does not cover a file's mode, owner, times and
attributes. The rest of the list are ways around (io_uring does sockets by itself), into other processes, and into parts
of the kernel that are seldom needed and often flawed.

It is written here, and by no library: those for Python need libseccomp on the machine, which only root can install,
and a list of numbers is all there is to it.

Sources: seccomp(2), syscalls(2), and Linux's asm/unistd_64.h (x86_64) and asm-generic/unistd.h (aarch64), linux/audit.h
and linux/bpf_common.h, from which the numbers are.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_LOAD, _IF_EQUAL, _IF_NOT_BELOW, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _SECOND_ARGUMENT = 0, 4, 24  # where they stand in what a filter is shown
_X32 = 0x40000000
# FS_IOC_SETFLAGS, of 64 and of 32 bits, and FS_IOC_FSSETXATTR: attributes of a file that is open for reading.
_IOCTLS = (0x40086602, 0x40046602, 0x401C5820)

# The same on both: io_uring (425-427), mounts (428-433, 442, 467), pidfd_getfd, fchmodat2, setxattrat, removexattrat,
# file_setattr.
_NEW = (*range(425, 434), 438, 442, 452, 463, 466, 467, 469)

# The machine's word in the filter, its ioctl, and what is refused there.
_MACHINES: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "x86_64": (0xC000003E, 16, (
        41, 42, 44, 46, 49, 50, 53, 307,  # socket, connect, sendto, sendmsg, bind, listen, socketpair, sendmmsg
        90, 91, 268, 92, 93, 94, 260,  # chmod, fchmod, fchmodat, chown, fchown, lchown, fchownat
        132, 235, 261, 280,  # utime, utimes, futimesat, utimensat
        188, 189, 190, 197, 198, 199,  # setxattr, lsetxattr, fsetxattr, removexattr, lremovexattr, fremovexattr
        101, 310, 311,  # ptrace, process_vm_readv, process_vm_writev
        165, 166, 155, 161, 272, 308, 304,  # mount, umount2, pivot_root, chroot, unshare, setns, open_by_handle_at
        248, 249, 250, 298, 321, 323,  # add_key, request_key, keyctl, perf_event_open, bpf, userfaultfd
        *_NEW,
    )),
    "aarch64": (0xC00000B7, 29, (
        198, 203, 206, 211, 200, 201, 199, 269,  # socket, connect, sendto, sendmsg, bind, listen, socketpair, sendmmsg
        52, 53, 55, 54,  # fchmod, fchmodat, fchown, fchownat
        88,  # utimensat
        5, 6, 7, 14, 15, 16,  # setxattr, lsetxattr, fsetxattr, removexattr, lremovexattr, fremovexattr
        117, 270, 271,  # ptrace, process_vm_readv, process_vm_writev
        40, 39, 41, 51, 97, 268, 265,  # mount, umount2, pivot_root, chroot, unshare, setns, open_by_handle_at
        217, 218, 219, 241, 280, 282,  # add_key, request_key, keyctl, perf_event_open, bpf, userfaultfd
        *_NEW,
    )),
}  # fmt: skip


def refuse_system_calls() -> bool:
    """Refuse them to this process and all that it starts, for good; whether this machine and kernel can.

    What is refused fails with EPERM, and so does all that comes by the numbers of another architecture.
    """
    if sys.platform != "linux" or sys.byteorder != "little" or platform.machine() not in _MACHINES:
        return False
    code = _program(platform.machine())
    instructions = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return bool(libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, program, 0, 0) == 0)


def _program(machine: str) -> bytes:
    """The filter's instructions, of eight bytes each."""
    word, ioctl, refused = _MACHINES[machine]
    # Each is an instruction, its value, and whether what it asks for is refused; the jump is filled in below.
    tests = [(_IF_EQUAL, number) for number in sorted(refused)]
    if machine == "x86_64":
        tests.insert(0, (_IF_NOT_BELOW, _X32))
    arguments = [(_IF_EQUAL, request) for request in _IOCTLS]
    ending = 3 + len(tests) + 2 + len(arguments)  # where "allow" stands, and "refuse" behind it
    lines = [(_LOAD, 0, 0, _ARCHITECTURE), (_IF_EQUAL, 0, ending + 1 - 2, word), (_LOAD, 0, 0, _NUMBER)]
    for operation, value in tests:
        lines.append((operation, ending + 1 - len(lines) - 1, 0, value))
    lines.append((_IF_EQUAL, 0, ending - len(lines) - 1, ioctl))
    lines.append((_LOAD, 0, 0, _SECOND_ARGUMENT))
    for operation, value in arguments:
        lines.append((operation, ending + 1 - len(lines) - 1, 0, value))
    lines += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
