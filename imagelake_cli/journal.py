"""What was sent to which lake: a file in the user's state folder, so that an upload goes on where it was stopped."""

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final, Literal

KEPT_SECONDS: Final = 31 * 86_400
"""A lake keeps images for 30 days at most."""
_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS uploads (
        lake TEXT, path TEXT, sha256 TEXT, image_id TEXT, state TEXT, form TEXT, until REAL, noted_at REAL,
        PRIMARY KEY (lake, path)
    )
"""


@dataclass(frozen=True)
class Entry:
    """A file, by its path and content.

    `granted`: it has an image_id and a form, which is good until `until`, in seconds since 1970; whether the file
    arrived is not known. `sent`: it has arrived.
    """

    path: str
    sha256: str
    image_id: str
    state: Literal["granted", "sent"]
    form: dict[str, Any] | None = None
    until: float = 0.0


class Journal:
    """The entries of one lake. May be used from several threads, and by several commands at once."""

    def __init__(self, database: sqlite3.Connection, lake: str) -> None:
        self._database, self._lake, self._lock = database, lake, Lock()

    def find(self, path: str) -> Entry | None:
        """What is known of a path."""
        query = "SELECT path, sha256, image_id, state, form, until FROM uploads WHERE lake = ? AND path = ?"
        with self._lock:
            found = self._database.execute(query, (self._lake, path)).fetchone()
        if not found:
            return None
        known, sha256, image_id, state, form, until = found
        return Entry(known, sha256, image_id, state, json.loads(form) if form else None, until)

    def note(self, entries: Sequence[Entry]) -> None:
        """Keep entries in the place of those of the same paths; they are on disk when this returns."""
        rows = [
            (self._lake, one.path, one.sha256, one.image_id, one.state, _text(one.form), one.until, time.time())
            for one in entries
        ]
        with self._lock, self._database:
            self._database.executemany("INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def _text(form: dict[str, Any] | None) -> str | None:
    return json.dumps(form) if form else None


@contextmanager
def opened(file: Path, lake: str) -> Iterator[Journal]:
    """The journal in `file`, which only its owner may read: the forms in it take files for some minutes.

    Raises:
        OSError, sqlite3.Error: the file cannot be made or is no journal.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    with closing(sqlite3.connect(file, timeout=30, check_same_thread=False)) as database:
        with database:
            database.execute(_TABLE)
            database.execute("DELETE FROM uploads WHERE noted_at < ?", (time.time() - KEPT_SECONDS,))
        yield Journal(database, lake)
