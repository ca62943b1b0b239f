"""What a script can leave in the kernel where no filter keeps it from that: looked for, and removed.

It can change how other processes of its user run (`condition`), and keep bytes where no process and no file holds them
(`remove_kept_bytes`). POSIX message queues are refused by a resource limit.
"""

import os
import platform
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from imagelake.engine.sandbox.kernel import libc

_LIMITS: Final = tuple(range(16))
"""All limits of resources Linux knows."""
_KEYCTL: Final = {"x86_64": 250, "aarch64": 219}
_IOPRIO_GET: Final = {"x86_64": 252, "aarch64": 31}
_OF_A_PROCESS: Final = 1
_CLEAR_KEYRING, _LINK_PERSISTENT_KEYRING, _OWN_USER = 7, 22, -1
_SESSION_KEYRING: Final = -3
_KEYRINGS: Final = (_SESSION_KEYRING, -4, -5)
"""Of the session, of the user, and the session of the user."""
_REMOVE: Final = 0


def condition() -> tuple[object, ...]:
    """How this process runs, as far as others of its user can change it: limits, priorities, scheduler, processors."""
    limits = tuple(resource.getrlimit(limit) for limit in _LIMITS)
    priorities = os.getpriority(os.PRIO_PROCESS, 0), _io_priority()
    return limits, priorities, os.sched_getscheduler(0), frozenset(os.sched_getaffinity(0))


def _io_priority() -> int | None:
    """Of this process at the disk, which Python cannot ask for; None on a machine that is not listed."""
    number = _IOPRIO_GET.get(platform.machine())
    return None if number is None else int(libc.syscall(number, _OF_A_PROCESS, 0))


def remove_kept_bytes() -> int:
    """Remove shared memory, semaphores and queues (System V) and keys of this user; how many there were but for keys.

    For who shares its user with nobody.
    """
    found = 0
    for kind, remove in _REMOVERS.items():
        for number in _of_user(kind):
            found += 1
            remove(number)
    keyctl = _KEYCTL.get(platform.machine())
    if keyctl:
        # It stays for days after the last process of its user. A kernel without answers -1, the thread's own keyring.
        persistent = libc.syscall(keyctl, _LINK_PERSISTENT_KEYRING, _OWN_USER, _SESSION_KEYRING)
        for keyring in (persistent, *_KEYRINGS):
            libc.syscall(keyctl, _CLEAR_KEYRING, keyring)
    return found


def _remove_memory(number: int) -> None:
    libc.shmctl(number, _REMOVE, None)


def _remove_queue(number: int) -> None:
    libc.msgctl(number, _REMOVE, None)


def _remove_semaphores(number: int) -> None:
    libc.semctl(number, 0, _REMOVE, 0)


_REMOVERS = {"shm": _remove_memory, "msg": _remove_queue, "sem": _remove_semaphores}


def _of_user(kind: str) -> Iterator[int]:
    with suppress(OSError):
        names, *rows = Path(f"/proc/sysvipc/{kind}").read_text().splitlines()
        number, owner, maker = (names.split().index(name) for name in (_NUMBERS[kind], "uid", "cuid"))
        for row in map(str.split, rows):
            if str(os.geteuid()) in (row[owner], row[maker]):
                yield int(row[number])


_NUMBERS = {"shm": "shmid", "msg": "msqid", "sem": "semid"}
