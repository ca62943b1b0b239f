"""The one folder a script may write in, and how it is emptied whatever a script has made of it.

Only descriptors are followed, never a path, which a script could have put something else under.
"""

import os
import stat
import tempfile
from collections.abc import Callable, Container
from contextlib import suppress
from pathlib import Path
from typing import Final

USUAL_ENTRIES: Final = 1_000
"""Files and folders that are emptied away at once: some milliseconds."""
PREFIX: Final = "imagelake-"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Room:
    """A private folder of this process, below the one for temporary files."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")
        self._folder = os.open(self.path, _FOLDER)

    def is_in_place(self) -> bool:
        """Whether the path still leads to the folder."""
        try:
            return os.path.samestat(Path(self.path).lstat(), os.fstat(self._folder))
        except OSError:
            return False

    def empty(self, when_costly: Callable[[], None] = lambda: None) -> bool:
        """Remove all that is in it, wherever it has been moved to.

        Calls `when_costly` once if that will take more than usual.

        Returns:
            whether it is empty and in its place.
        """
        os.fchmod(self._folder, 0o700)
        return empty(self._folder, when_costly) and self.is_in_place()

    def leave(self) -> None:
        """Remove it with all that is in it."""
        self.empty()
        if self.is_in_place():
            with suppress(OSError):
                Path(self.path).rmdir()
        else:
            _remove_elsewhere(self._folder, self.path)
        os.close(self._folder)


def remove(path: str) -> None:
    """Remove the room at `path` of a process that has ended, with all that is in it; not what a link leads to."""
    with suppress(OSError):
        folder = os.open(path, _FOLDER)
        try:
            os.fchmod(folder, 0o700)
            empty(folder)
        finally:
            os.close(folder)
        Path(path).rmdir()


def empty_tmp(when_costly: Callable[[], None] = lambda: None, keep: Container[str] = ()) -> bool:
    """Remove all temporary files but `keep`; for who shares the folder with nobody. Whether all are gone."""
    folder = os.open(tempfile.gettempdir(), _FOLDER)
    try:
        return empty(folder, when_costly, keep)
    finally:
        os.close(folder)


def names_in_tmp() -> list[str]:
    """The temporary files that are there."""
    return os.listdir(tempfile.gettempdir())  # noqa: PTH208  # names are all it takes


def empty(folder: int, when_costly: Callable[[], None] = lambda: None, keep: Container[str] = ()) -> bool:
    """Remove all that is in the folder behind the descriptor `folder`, but entries called as in `keep`.

    Folders within folders are moved up and emptied from there, so depth takes neither a stack nor a long path.
    """
    seen, is_costly, failed = 0, False, set[str]()
    while entries := [entry for entry in os.scandir(folder) if entry.name not in failed and entry.name not in keep]:
        for entry in entries:
            seen += 1
            if seen >= USUAL_ENTRIES and not is_costly:
                is_costly = True
                when_costly()
            try:
                if entry.is_dir(follow_symlinks=False):
                    seen += _remove_folder(folder, entry.name, seen)
                else:
                    os.unlink(entry.name, dir_fd=folder)
            except FileNotFoundError:
                pass
            except OSError:
                failed.add(entry.name)
    return not failed


def _remove_folder(parent: int, name: str, seen: int) -> int:
    """Remove a folder; the folders in it are moved beside it. Returns the number of its entries."""
    with suppress(OSError):
        os.rmdir(name, dir_fd=parent)
        return 0
    place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if stat.S_IMODE(os.fstat(place).st_mode) & 0o700 != 0o700:
            Path(f"/proc/self/fd/{place}").chmod(0o700)
        folder = os.open(".", _FOLDER, dir_fd=place)
    finally:
        os.close(place)
    try:
        number = 0
        for number, entry in enumerate(list(os.scandir(folder)), 1):
            if entry.is_dir(follow_symlinks=False):
                _move_up(folder, entry.name, parent, f"{seen}-{number}")
            else:
                os.unlink(entry.name, dir_fd=folder)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=parent)
    return number


def _move_up(folder: int, name: str, parent: int, unique: str) -> None:
    """Renaming a folder takes the right to write in it: its `..` changes."""
    target = f"{PREFIX}{os.urandom(4).hex()}-{unique}"
    try:
        os.rename(name, target, src_dir_fd=folder, dst_dir_fd=parent)
    except PermissionError:
        place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            Path(f"/proc/self/fd/{place}").chmod(0o700)
        finally:
            os.close(place)
        os.rename(name, target, src_dir_fd=folder, dst_dir_fd=parent)


def _remove_elsewhere(folder: int, path: str) -> None:
    """Remove an empty folder that has been moved, and the link that may be in its place."""
    with suppress(OSError):
        moved = Path(f"/proc/self/fd/{folder}").readlink()
        if os.path.samestat(moved.lstat(), os.fstat(folder)):
            moved.rmdir()
    with suppress(OSError):
        Path(path).unlink()
