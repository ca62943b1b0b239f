"""Processes that a script leaves behind: found, and ended, before the next image.

The warm process is the reaper of what its children leave, where the kernel lets it. Elsewhere they are known by a
resource limit that means nothing else any more (`RLIMIT_LOCKS`): children inherit it, and who is not root can only
lower it. So a process that carries the mark, and whose parent is no warm process, is one that a script has started.
"""

import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Final

_RLIMIT_LOCKS: Final = 10
_KEEPER, _KEPT = (1 << 41), (1 << 40)
_PATIENCE_SECONDS: Final = 3.0
_GONE: Final = ("Z", "X")
"""States of processes that have ended."""


def mark_keeper() -> None:
    """Mark this process as one whose children are no leftovers."""
    _mark(_KEEPER)


def mark_kept() -> bool:
    """Mark this process and all that it will ever start; whether the kernel has done it."""
    _mark(_KEPT)
    return resource.getrlimit(_RLIMIT_LOCKS)[1] <= _KEPT


def _mark(value: int) -> None:
    _, most = resource.getrlimit(_RLIMIT_LOCKS)
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(_RLIMIT_LOCKS, (value, value))


def end_children() -> int:
    """End all children of this process, and theirs, which become its own; for a reaper. Returns how many there were."""
    found = 0
    with suppress(ChildProcessError):
        while True:
            ended, _ = os.waitpid(-1, os.WNOHANG)
            if not ended:
                for child in _children():
                    os.kill(child, signal.SIGKILL)
                os.waitpid(-1, 0)
            found += 1
    return found


def end_leftovers() -> int:
    """End what scripts have left anywhere, and what they are still starting. Returns how many processes there were.

    All are stopped before the first is ended: processes that start others without end run into the limit of their
    number, which those that are stopped count for, and those that have ended do not.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    stopped = _send_to_leftovers(signal.SIGSTOP, ("T", *_GONE), deadline)
    return len(stopped | _send_to_leftovers(signal.SIGKILL, _GONE, deadline + _PATIENCE_SECONDS))


def _send_to_leftovers(number: int, done: tuple[str, ...], deadline: float) -> set[int]:
    """Send a signal to leftovers until all are in a state that is `done`; which they were."""
    found = set[int]()
    while left := {process for process, state in _leftovers() if state not in done}:
        found |= left
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, number)
        if time.monotonic() > deadline:
            break
        time.sleep(0.001)
    return found


def are_left() -> bool:
    """Whether scripts have left a process that `end_leftovers` could not end."""
    return any(state not in _GONE for _, state in _leftovers())


def end_all() -> None:
    """End all processes of this user but this one, at once; for who shares its user with nobody, as a last resort."""
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)


def of_user() -> Iterator[Path]:
    """The folders of this user's processes in `/proc`; some may have ended meanwhile."""
    user = f"Uid:\t{os.geteuid()}\t"
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if user in (process / "status").read_text():
                yield process


def tasks_of_user() -> int:
    """Processes and threads of this user."""
    count = 0
    for process in of_user():
        with suppress(OSError):
            count += len(os.listdir(process / "task"))  # noqa: PTH208  # names are all it takes
    return count


def _leftovers() -> Iterator[tuple[int, str]]:
    """What a script has started, with its state: it carries the mark, and its parent is no keeper."""
    marks = {int(process.name): _mark_of(process) for process in of_user()}
    for process, mark in marks.items():
        state, parent = _state(Path(f"/proc/{process}"))
        if mark <= _KEPT and not _KEPT < marks.get(parent, inf) <= _KEEPER:
            yield process, state


def _mark_of(process: Path) -> float:
    with suppress(OSError):
        for line in (process / "limits").read_text().splitlines():
            if line.startswith("Max file locks"):
                most = line.split()[4]
                return inf if most == "unlimited" else int(most)
    return inf


def _children() -> list[int]:
    """Not every kernel has `/proc/<pid>/task/<pid>/children`, so look for our number in the others' `stat`."""
    return [int(process.name) for process in Path("/proc").glob("[0-9]*") if _state(process)[1] == os.getpid()]


def _state(process: Path) -> tuple[str, int]:
    """Its state, and its parent; `X` when it has ended."""
    try:
        state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return "X", 0
    return state, int(parent)
