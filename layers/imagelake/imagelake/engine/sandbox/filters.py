"""The system calls that a script's process is refused: a seccomp filter, written out.

Refused are new processes, programs, sockets, signals to others and changes of how others run, looks into other
processes, memory that counts as no address space (files in memory, and what System V and POSIX keep for processes to
talk), and changes of files by their path that no folder confines (modes, owners, attributes). Threads stay possible.
"""

import os
import struct
from typing import Final

type Step = tuple[int, int, int, int]

STEP_BYTES: Final = 8

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _REFUSE = (_RETURN, 0, 0, 0x7FFF0000), (_RETURN, 0, 0, 0x80000000), (_RETURN, 0, 0, 0x00050001)
_NOT_IMPLEMENTED = (_RETURN, 0, 0, 0x00050026)
_NUMBER, _ARCH = (_LOAD, 0, 0, 0), (_LOAD, 0, 0, 4)
_FIRST, _SECOND, _THIRD = ((_LOAD, 0, 0, offset) for offset in (16, 24, 32))
_X32_BIT: Final = 0x40000000
_CLONE_THREAD: Final = 0x00010000
_CLONE3: Final = 435
"""On every machine. Its flags are out of a filter's sight, so the C library is made to use `clone`."""
_PR_SET_PDEATHSIG: Final = 1
_F_SETFL, _O_ASYNC = 4, 0x2000
_SIGNALLING_FCNTL = (8, 10, 15, 1024, 1026)
"""`F_SETOWN`, `F_SETSIG`, `F_SETOWN_EX`, `F_SETLEASE`, `F_NOTIFY`: have the kernel send signals for a file."""
_SIGNALLING_IOCTL = (0x5452, 0x8901, 0x8902)
"""`FIOASYNC`, `FIOSETOWN`, `SIOCSPGRP`: the same."""


def program() -> bytes | None:
    """The filter for this process on this machine; None for a machine that is not listed."""
    machine = MACHINES.get(os.uname().machine)
    return None if machine is None else b"".join(struct.pack("=HBBI", *step) for step in steps(*machine))


def steps(audit_arch: int, calls: dict[str, int]) -> list[Step]:
    """A classic BPF program over `struct seccomp_data`; jumps count the steps to leave out."""
    found = [_ARCH, (_EQUAL, 1, 0, audit_arch), _KILL, _NUMBER, (_AT_LEAST, 0, 1, _X32_BIT), _KILL]
    found += _when(_CLONE3, _NOT_IMPLEMENTED)
    found += _when(calls["clone"], _FIRST, (_ANY_BIT, 0, 1, _CLONE_THREAD), _ALLOW, _REFUSE)
    for call, argument in (("kill", os.getpid()), ("tgkill", os.getpid()), ("prlimit64", 0)):
        found += _when(calls[call], _FIRST, (_EQUAL, 0, 1, argument), _ALLOW, _REFUSE)
    found += _when(calls["prctl"], _FIRST, *_refuse(_PR_SET_PDEATHSIG), _ALLOW)
    changes_flags = _when(_F_SETFL, _THIRD, (_ANY_BIT, 0, 1, _O_ASYNC), _REFUSE, _ALLOW)
    found += _when(calls["fcntl"], _SECOND, *_refuse(*_SIGNALLING_FCNTL), *changes_flags, _ALLOW)
    found += _when(calls["ioctl"], _SECOND, *_refuse(*_SIGNALLING_IOCTL), _ALLOW)
    found += _refuse(*sorted(SAME_EVERYWHERE | {call for name, call in calls.items() if name not in CONDITIONAL}))
    return [*found, _ALLOW]


def _when(value: int, *body: Step) -> list[Step]:
    """What to do if `value` is loaded; `body` ends with an answer."""
    return [(_EQUAL, 0, len(body), value), *body]


def _refuse(*values: int) -> list[Step]:
    return [step for value in values for step in _when(value, _REFUSE)]


CONDITIONAL = frozenset({"clone", "kill", "tgkill", "prctl", "prlimit64", "fcntl", "ioctl"})
SAME_EVERYWHERE = frozenset({424, 425, 426, 427, 434, 438, 440, 447, 448, 452, 463, 466})
"""`pidfd_send_signal`, `io_uring` (three), `pidfd_open`, `pidfd_getfd`, `process_madvise`, `memfd_secret`,
`process_mrelease`, `fchmodat2`, `setxattrat`, `removexattrat`."""
MACHINES = {
    "x86_64": (
        0xC000003E,
        {
            "ioctl": 16, "shmget": 29, "socket": 41, "connect": 42, "accept": 43, "bind": 49, "listen": 50,
            "socketpair": 53, "clone": 56, "fork": 57, "vfork": 58, "execve": 59, "kill": 62, "semget": 64,
            "msgget": 68, "fcntl": 72, "truncate": 76, "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93,
            "lchown": 94, "ptrace": 101, "rt_sigqueueinfo": 129, "setpriority": 141, "sched_setparam": 142,
            "sched_setscheduler": 144, "prctl": 157, "mount": 165, "setxattr": 188, "lsetxattr": 189,
            "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199, "tkill": 200,
            "sched_setaffinity": 203, "tgkill": 234, "mq_open": 240, "add_key": 248, "request_key": 249,
            "keyctl": 250, "ioprio_set": 251, "migrate_pages": 256, "fchownat": 260, "fchmodat": 268, "unshare": 272,
            "move_pages": 279, "rt_tgsigqueueinfo": 297, "perf_event_open": 298, "prlimit64": 302,
            "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
            "sched_setattr": 314, "memfd_create": 319, "bpf": 321, "execveat": 322, "userfaultfd": 323,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15, "fremovexattr": 16,
            "fcntl": 25, "ioctl": 29, "ioprio_set": 30, "mount": 40, "truncate": 45, "fchmod": 52, "fchmodat": 53,
            "fchownat": 54, "fchown": 55, "unshare": 97, "ptrace": 117, "sched_setparam": 118,
            "sched_setscheduler": 119, "sched_setaffinity": 122, "kill": 129, "tkill": 130, "tgkill": 131,
            "rt_sigqueueinfo": 138, "setpriority": 140, "prctl": 167, "mq_open": 180, "msgget": 186, "semget": 190,
            "shmget": 194, "socket": 198, "socketpair": 199, "bind": 200, "listen": 201, "accept": 202,
            "connect": 203, "add_key": 217, "request_key": 218, "keyctl": 219, "clone": 220, "execve": 221,
            "migrate_pages": 238, "move_pages": 239, "rt_tgsigqueueinfo": 240, "perf_event_open": 241,
            "prlimit64": 261, "open_by_handle_at": 265, "setns": 268, "process_vm_readv": 270,
            "process_vm_writev": 271, "kcmp": 272, "sched_setattr": 274, "memfd_create": 279, "bpf": 280,
            "execveat": 281, "userfaultfd": 282,
        },
    ),
}  # fmt: skip
"""By machine: its number in seccomp, and the numbers of system calls that are refused or checked."""
