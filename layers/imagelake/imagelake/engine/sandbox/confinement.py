"""Giving things up for good: what a process may not see, do or leave behind any more.

These are system calls Python has no name for. Everything here is inherited by children and cannot be taken back.
Resource limits alone would not do: root is exempt from some of them, and they know nothing of the network.
"""

import ctypes
import os
import resource
import struct
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP = 1, 4, 22
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 36, 38
_CAPABILITY_VERSION: Final = 0x20080522
_FILTER_MODE: Final = 2


def hide_from_relatives() -> None:
    """Close `/proc/<pid>/environ` and `mem` of this process to others of the same user."""
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def become_subreaper() -> None:
    """Have orphaned descendants become children of this process, so that none can outlive its job unseen."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with(parent: int, number: int) -> None:
    """Have the kernel send this process the signal `number` when `parent`, which started it, is gone, or now if it is.

    What counts is the thread of `parent` that started this process.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def drop_privileges() -> None:
    """Give up every capability: even root is then an ordinary user, who cannot look into other processes."""
    header, nothing = struct.pack("=Ii", _CAPABILITY_VERSION, 0), bytes(24)
    _libc.capset(header, nothing)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def forbid_processes_and_network() -> None:
    """Have the kernel refuse new processes, programs, sockets, and signals to or looks into other processes.

    Also refused is memory that counts as no address space: files in memory, and what System V and POSIX keep for
    processes to talk. Threads stay possible. Where the kernel cannot filter, a resource limit refuses processes, and
    threads with them, though not to root.
    """
    if not _filter():
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def _filter() -> bool:
    machine = _MACHINES.get(os.uname().machine)
    if machine is None:
        return False
    audit_arch, calls = machine
    filter_program = b"".join(struct.pack("=HBBI", *step) for step in _program(audit_arch, calls))
    buffer = ctypes.create_string_buffer(filter_program, len(filter_program))
    program = struct.pack("@HP", len(filter_program) // 8, ctypes.addressof(buffer))
    return bool(_libc.prctl(_PR_SET_SECCOMP, _FILTER_MODE, program, 0, 0) == 0)


type _Step = tuple[int, int, int, int]

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _REFUSE = (_RETURN, 0, 0, 0x7FFF0000), (_RETURN, 0, 0, 0x80000000), (_RETURN, 0, 0, 0x00050001)
_NOT_IMPLEMENTED = (_RETURN, 0, 0, 0x00050026)
_NUMBER, _ARCH, _FIRST_ARGUMENT = (_LOAD, 0, 0, 0), (_LOAD, 0, 0, 4), (_LOAD, 0, 0, 16)
_X32_BIT: Final = 0x40000000
_CLONE_THREAD: Final = 0x00010000
_CLONE3: Final = 435
"""On every machine. Its flags are out of a filter's sight, so the C library is made to use `clone`."""


def _program(audit_arch: int, calls: dict[str, int]) -> list[_Step]:
    """A classic BPF program over `struct seccomp_data`; jumps count the steps to leave out."""
    steps = [_ARCH, (_EQUAL, 1, 0, audit_arch), _KILL, _NUMBER, (_AT_LEAST, 0, 1, _X32_BIT), _KILL]
    steps += [(_EQUAL, 0, 1, _CLONE3), _NOT_IMPLEMENTED]
    steps += [(_EQUAL, 0, 4, calls["clone"]), _FIRST_ARGUMENT, (_ANY_BIT, 0, 1, _CLONE_THREAD), _ALLOW, _REFUSE]
    for call, argument in (("kill", os.getpid()), ("tgkill", os.getpid()), ("prlimit64", 0)):
        steps += [(_EQUAL, 0, 4, calls[call]), _FIRST_ARGUMENT, (_EQUAL, 0, 1, argument), _ALLOW, _REFUSE]
    steps += [(_EQUAL, 0, 4, calls["prctl"]), _FIRST_ARGUMENT, (_EQUAL, 0, 1, _PR_SET_PDEATHSIG), _REFUSE, _ALLOW]
    for number in sorted(_SAME_EVERYWHERE | {call for name, call in calls.items() if name not in _CONDITIONAL}):
        steps += [(_EQUAL, 0, 1, number), _REFUSE]
    return [*steps, _ALLOW]


_CONDITIONAL = frozenset({"clone", "kill", "tgkill", "prctl", "prlimit64"})
_SAME_EVERYWHERE = frozenset({424, 425, 426, 427, 434, 438, 447})
"""`pidfd_send_signal`, `io_uring` (three), `pidfd_open`, `pidfd_getfd`, `memfd_secret`."""
_MACHINES = {
    "x86_64": (
        0xC000003E,
        {
            "shmget": 29, "socket": 41, "connect": 42, "accept": 43, "bind": 49, "listen": 50, "socketpair": 53,
            "clone": 56, "fork": 57, "vfork": 58, "execve": 59, "kill": 62, "semget": 64, "msgget": 68, "ptrace": 101,
            "rt_sigqueueinfo": 129, "prctl": 157, "mount": 165, "tkill": 200, "tgkill": 234, "mq_open": 240,
            "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272, "rt_tgsigqueueinfo": 297,
            "perf_event_open": 298, "prlimit64": 302, "setns": 308, "process_vm_readv": 310,
            "process_vm_writev": 311, "memfd_create": 319, "bpf": 321, "execveat": 322, "userfaultfd": 323,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "mount": 40, "unshare": 97, "ptrace": 117, "kill": 129, "tkill": 130, "tgkill": 131,
            "rt_sigqueueinfo": 138, "prctl": 167, "mq_open": 180, "msgget": 186, "semget": 190, "shmget": 194,
            "socket": 198, "socketpair": 199, "bind": 200, "listen": 201, "accept": 202, "connect": 203,
            "add_key": 217, "request_key": 218, "keyctl": 219, "clone": 220, "execve": 221,
            "rt_tgsigqueueinfo": 240, "perf_event_open": 241, "prlimit64": 261, "setns": 268,
            "process_vm_readv": 270, "process_vm_writev": 271, "memfd_create": 279, "bpf": 280, "execveat": 281,
            "userfaultfd": 282,
        },
    ),
}  # fmt: skip
"""By machine: its number in seccomp, and the numbers of system calls that are refused or checked."""
