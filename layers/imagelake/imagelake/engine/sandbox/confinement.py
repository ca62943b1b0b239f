"""Giving things up for good: what a process may not see, do or leave behind any more.

These are system calls Python has no name for. Everything here is inherited by children and cannot be taken back.
Resource limits alone would not do: root is exempt from some of them, and they know nothing of the network.

Each function says whether the kernel has done what it was asked; see `measures`.
"""

import ctypes
import os
import resource
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from imagelake.engine.sandbox import filters, landlock
from imagelake.engine.sandbox.kernel import libc
from imagelake.engine.sandbox.measures import Measure
from imagelake.engine.sandbox.processes import mark_kept, tasks_of_user

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP = 1, 4, 22
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 36, 38
_CAPABILITY_VERSION: Final = 0x20080522
_FILTER_MODE: Final = 2
_RLIMIT_MSGQUEUE: Final = 12
_SPARE_PROCESSES: Final = 256
"""Processes and threads of its user that a script may start where no filter refuses processes."""


def hide_from_relatives() -> bool:
    """Close `/proc/<pid>/environ` and `mem` of this process to others of the same user.

    A process that runs an executable its user may not read is closed already; see `unreadable`.
    """
    return can_hide() or is_hidden()


def can_hide() -> bool:
    """Do what `hide_from_relatives` does, if the kernel lets this process do it."""
    return bool(libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)


def is_hidden() -> bool:
    """Whether the kernel has closed this process to others of its user; it shows that by giving its files to root."""
    return 0 != os.geteuid() != Path("/proc/self/environ").stat().st_uid


def become_subreaper() -> bool:
    """Have orphaned descendants become children of this process, so that none can outlive its job unseen."""
    return bool(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def end_with(parent: int, number: int) -> bool:
    """Have the kernel send this process the signal `number` when `parent`, which started it, is gone, or now if it is.

    What counts is the thread of `parent` that started this process.
    """
    held = bool(libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) == 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)
    return held


def confine(folder: str, readable: Iterable[str], parent_death: bool) -> dict[Measure, bool]:
    """Confine this process, which has one thread, as far as the kernel allows, and say how far that is.

    Args:
        folder: the only one whose files it may make and change.
        readable: the files and folders it may read beside that one.
        parent_death: whether `end_with` has held.
    """
    held = {
        Measure.PARENT_DEATH_SIGNAL: parent_death,
        Measure.HIDDEN: hide_from_relatives(),
        Measure.CAPABILITIES: _drop_capabilities(),
        Measure.NO_NEW_PRIVILEGES: libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0,
        Measure.FILES: landlock.restrict(folder, readable),
        Measure.FILTER: _filter(),
    }
    return held | {Measure.LIMITS: _limit(processes=not held[Measure.FILTER])}


def _drop_capabilities() -> bool:
    """Give up every capability: even root is then an ordinary user, who cannot look into other processes."""
    header, nothing = struct.pack("=Ii", _CAPABILITY_VERSION, 0), bytes(24)
    return bool(libc.capset(header, nothing) == 0)


def _filter() -> bool:
    """Have the kernel refuse what `filters` lists."""
    program = filters.program()
    if program is None:
        return False
    buffer = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("@HP", len(program) // filters.STEP_BYTES, ctypes.addressof(buffer))
    return bool(libc.prctl(_PR_SET_SECCOMP, _FILTER_MODE, described, 0, 0) == 0)


def _limit(processes: bool) -> bool:
    """Set the limits that do not depend on the job, with `processes` one on processes too; whether they hold.

    That one counts threads and everything else of the user, and so leaves room for both: what it ends is an endless
    chain of processes. It is not for root.
    """
    wanted = {resource.RLIMIT_CORE: 0, _RLIMIT_MSGQUEUE: 0}
    if processes:
        wanted[resource.RLIMIT_NPROC] = tasks_of_user() + _SPARE_PROCESSES
    for limit, value in wanted.items():
        _, most = resource.getrlimit(limit)
        least = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(limit, (least, least))
    return mark_kept()
