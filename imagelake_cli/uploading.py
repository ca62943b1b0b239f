"""Sending files to a lake, each exactly once, also when it is stopped half-way and started again.

A form is noted before a file is sent by it. Whoever starts again asks the lake about the image: where nothing has
arrived, the same form takes the file once more, and of two files in one form the lake processes the first. Only a form
that is over, and took nothing, is replaced.
"""

import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from itertools import batched
from pathlib import Path
from typing import Any, Final, Literal

from imagelake.engine import guard
from imagelake_cli.journal import Entry, Journal
from imagelake_cli.lake_api import ApiError, LakeApi

LARGEST_BYTES: Final = 200_000_000
"""Of a file; no lake takes larger ones, and a file is in memory while it is sent."""
SPARE_SECONDS: Final = 60
"""A form is used no more that is over so soon."""
_TYPES: Final = {
    "JPEG": "image/jpeg", "PNG": "image/png", "GIF": "image/gif", "WEBP": "image/webp", "TIFF": "image/tiff",
    "BMP": "image/bmp", "HEIF": "image/heic",
}  # fmt: skip
_CHUNK_FILES: Final = 20
_CHUNK_BYTES: Final = 25_000_000
"""Of the files that are asked for at once: their forms have to last until the last of them is sent."""
ENDED: Final = ("processed", "rejected", "failed")


@dataclass(frozen=True)
class Sent:
    """What became of a file.

    `sent`: it is in the lake. `known`: it was sent before. `refused`: the file is at fault, `failed`: something else,
    both for the `reason`. `processed`, `rejected` and `failed` are what the lake says when it is waited for.
    """

    path: str
    state: Literal["sent", "known", "refused", "failed", "processed", "rejected", "pending"]
    image_id: str | None = None
    reason: str | None = None

    @property
    def is_well(self) -> bool:
        """Whether nothing has to be done about it."""
        return self.state in ("sent", "known", "processed")


@dataclass(frozen=True)
class _File:
    path: str
    content: bytes
    content_type: str
    sha256: str


@dataclass(frozen=True)
class Chosen:
    """The files to send, all different; how many of the folders' are no pictures; and what could not be read."""

    files: list[Path]
    others: int
    unread: list[Sent]


def choose(paths: Iterable[Path]) -> Chosen:
    """Files that are named, and the pictures in folders, deeply, in order.

    Links to folders are not followed, and files and folders with names that begin with a dot are left out.
    """
    files, others, unread = dict[Path, None](), 0, list[Sent]()

    def note(error: OSError) -> None:
        unread.append(_failed(Path(error.filename), error))

    for path in paths:
        if not path.is_dir():
            files[path.resolve()] = None
            continue
        for folder, folders, names in os.walk(path, onerror=note):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for file in (Path(folder, name) for name in sorted(names) if not name.startswith(".")):
                try:
                    if _is_picture(file):
                        files[file.resolve()] = None
                    else:
                        others += 1
                except OSError as error:
                    unread.append(_failed(file, error))
    return Chosen(list(files), others, unread)


def place(path: Path) -> str:
    """A path as text, also where its bytes are none."""
    return os.fsencode(path.absolute()).decode(errors="backslashreplace")


def _is_picture(path: Path) -> bool:
    """Whether it is a file that begins as pictures do, and no pipe, socket or device.

    Raises:
        OSError: it cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        return False
    with path.open("rb") as file:
        return guard.format_of(file.read(32)) is not None


def _failed(path: Path, error: OSError) -> Sent:
    return Sent(place(path), "failed", None, error.strerror or str(error))


def send(
    api: LakeApi, journal: Journal, paths: Sequence[Path], tags: dict[str, str], at_once: int, *, again: bool
) -> Iterator[Sent]:
    """Send files; gives what became of each as it becomes known.

    Args:
        api: of the lake.
        journal: of what this lake has been sent.
        paths: the files, all different.
        tags: of every image.
        at_once: how many are sent side by side.
        again: whether those that were sent before are sent once more.

    Raises:
        SignInError, BotoCoreError: nobody is signed in.
    """
    sending = _Sending(api, journal, tags, again=again)
    with ThreadPoolExecutor(at_once) as pool:
        # Waits for the threads at Ctrl-C, so each file that was begun is noted.
        futures = [pool.submit(sending.send, chunk) for chunk in _chunks(paths)]
        try:
            for future in as_completed(futures):
                yield from future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def await_ends(api: LakeApi, sent: Sequence[Sent], seconds: float, at_once: int) -> Iterator[Sent]:
    """What became of images that are in the lake, each as soon as it is known; `pending` when the time is over."""
    deadline = time.monotonic() + seconds

    def wait(one: Sent) -> Sent:
        pause = 0.2
        while True:
            try:
                image = api.image(one.image_id or "") or {"status": "failed", "reason": "the lake does not know it"}
            except ApiError as error:
                image = {"status": "pending", "reason": str(error)}
            if image["status"] in ENDED:
                return replace(one, state=image["status"], reason=image.get("reason"))
            if time.monotonic() > deadline:
                return replace(one, state="pending", reason=image.get("reason") or "it has no outcome yet")
            time.sleep(pause)
            pause = min(pause * 1.5, 5)

    with ThreadPoolExecutor(at_once) as pool:
        for future in as_completed([pool.submit(wait, one) for one in sent]):
            yield future.result()


def _chunks(paths: Sequence[Path]) -> Iterator[list[Path]]:
    chunk: list[Path] = []
    size = 0
    for path in paths:
        try:
            bytes_ = path.stat().st_size
        except OSError:
            bytes_ = 0  # reading it says why
        if chunk and (len(chunk) == _CHUNK_FILES or size + bytes_ > _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(path)
        size += bytes_
    if chunk:
        yield chunk


@dataclass(frozen=True)
class _Sending:
    api: LakeApi
    journal: Journal
    tags: dict[str, str]
    again: bool

    def send(self, paths: Sequence[Path]) -> list[Sent]:
        results: list[Sent] = []
        new: list[_File] = []
        for path in paths:
            read = _read(path)
            if isinstance(read, Sent):
                results.append(read)
                continue
            entry = self.journal.find(read.path)
            if entry is None or entry.sha256 != read.sha256 or (self.again and entry.state == "sent"):
                new.append(read)
            elif entry.state == "sent":
                results.append(Sent(read.path, "known", entry.image_id))
            elif (resumed := self._resume(read, entry)) is not None:
                results.append(resumed)
            else:
                new.append(read)
        for some in batched(new, _CHUNK_FILES, strict=False):
            results += self._send_new(some)
        return results

    def _resume(self, file: _File, entry: Entry) -> Sent | None:
        """Finish what was begun; None when it has to be begun anew."""
        try:
            image = self.api.image(entry.image_id)
            if image is None:
                return None
            if image["status"] != "awaiting_upload":
                return self._note_sent(file, entry)
            if entry.form is None or entry.until < time.time() + SPARE_SECONDS:
                return None
            self.api.send(entry.form, file.content)
        except ApiError as error:
            return Sent(file.path, "failed", entry.image_id, str(error))
        return self._note_sent(file, entry)

    def _send_new(self, files: Sequence[_File]) -> list[Sent]:
        try:
            granted = self.api.request_uploads([self._wish(file) for file in files])
        except ApiError as error:
            if not error.by_index:
                return [Sent(file.path, "failed", None, str(error)) for file in files]
            refused = [Sent(files[index].path, "refused", None, why) for index, why in error.by_index.items()]
            rest = [file for index, file in enumerate(files) if index not in error.by_index]
            return refused + (self._send_new(rest) if rest else [])
        entries = [
            Entry(file.path, file.sha256, grant["image_id"], "granted", grant["upload"], _seconds(grant["expires_at"]))
            for file, grant in zip(files, granted, strict=True)
        ]
        self.journal.note(entries)
        return [self._send_one(file, entry) for file, entry in zip(files, entries, strict=True)]

    def _send_one(self, file: _File, entry: Entry) -> Sent:
        try:
            self.api.send(entry.form or {}, file.content)
        except ApiError as error:
            state: Literal["refused", "failed"] = "refused" if error.status == HTTPStatus.BAD_REQUEST else "failed"
            return Sent(file.path, state, entry.image_id, str(error))
        return self._note_sent(file, entry)

    def _note_sent(self, file: _File, entry: Entry) -> Sent:
        self.journal.note([replace(entry, state="sent", form=None, until=0.0)])
        return Sent(file.path, "sent", entry.image_id)

    def _wish(self, file: _File) -> dict[str, Any]:
        return {
            "content_type": file.content_type,
            "content_length": len(file.content),
            "sha256": file.sha256,
            "filename": Path(file.path).name[-255:],
            "tags": self.tags,
        }


def _read(path: Path) -> _File | Sent:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            return Sent(place(path), "refused", None, "is no file, but a pipe, a socket or a device")
        if found.st_size > LARGEST_BYTES:
            return Sent(place(path), "refused", None, f"{found.st_size} bytes are more than any lake takes")
        content = path.read_bytes()
    except OSError as error:
        return _failed(path, error)
    image_format = guard.format_of(content)
    if image_format is None:
        return Sent(place(path), "refused", None, "is no picture of a format that lakes take")
    return _File(place(path), content, _TYPES[image_format], hashlib.sha256(content).hexdigest())


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
