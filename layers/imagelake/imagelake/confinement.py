"""System calls Python has no name for: hiding from relatives, inheriting orphans, and giving up privileges."""

import ctypes

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def hide_from_relatives() -> None:
    """Close `/proc/<pid>/environ` and `mem` of this process to others of the same user, for as long as it lives."""
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def become_subreaper() -> None:
    """Have orphaned descendants become children of this process, so that none can outlive its job."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def forbid_processes_and_network() -> None:
    """Placeholder."""
