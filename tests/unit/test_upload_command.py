"""What `imagelake upload` sends, and what it does not; the lake is a stand-in that keeps what arrives."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from imagelake_cli import connection, journal
from imagelake_cli.lake_api import ApiError
from imagelake_cli.main import app


class Killed(BaseException):
    """The end of the program at a step, as by a signal that nothing handles."""


class Lake:
    """Takes files by form, the first of each image; counts what it was asked."""

    base_url = "https://lake"

    def __init__(self) -> None:
        self.images: dict[str, bytes] = {}
        self.granted: list[dict[str, Any]] = []
        self.form_minutes = 15
        self.before: Callable[[str], None] = lambda _step: None
        self.after: Callable[[str], None] = lambda _step: None
        self.refuse: Callable[[dict[str, Any]], str | None] = lambda _wish: None
        self.ends: dict[str, str] = {}

    def request_uploads(self, uploads: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        refused = {index: why for index, wish in enumerate(uploads) if (why := self.refuse(wish))}
        if refused:
            raise ApiError("the API answered 400", 400, refused)
        self.before("grant")
        until = datetime.now(UTC) + timedelta(minutes=self.form_minutes)
        first = len(self.granted)
        self.granted += uploads
        return [
            {"image_id": str(first + at), "upload": {"of": str(first + at)}, "expires_at": until.isoformat()}
            for at in range(len(uploads))
        ]

    def send(self, form: dict[str, Any], content: bytes) -> None:
        self.before("send")
        wish = self.granted[int(form["of"])]
        assert hashlib.sha256(content).hexdigest() == wish["sha256"]
        assert len(content) == wish["content_length"]
        self.images.setdefault(form["of"], content)
        self.after("send")

    def image(self, image_id: str) -> dict[str, Any] | None:
        if int(image_id) >= len(self.granted):
            return None
        status = "processed" if image_id in self.images else "awaiting_upload"
        return {"status": self.ends.get(image_id, status), "reason": "for a reason"}


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lake:
    made = Lake()
    monkeypatch.setattr(connection, "lake_api", lambda *_: made)
    monkeypatch.setattr(platformdirs, "user_state_path", lambda _: tmp_path / "state")
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """30 pictures, five in a folder below, beside a text and a hidden file."""
    pictures = tmp_path / "pictures"
    (pictures / "below").mkdir(parents=True)
    for number in range(30):
        place = pictures / "below" if number < 5 else pictures
        Image.new("L", (8 + number, 8)).save(place / f"{number}.png")
    (pictures / "notes.txt").write_text("no picture")
    (pictures / ".hidden.png").write_bytes((pictures / "9.png").read_bytes())
    return pictures


def upload(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["upload", *map(str, arguments)])


def test_a_folder_is_sent_with_all_below_it_and_nothing_else(lake: Lake, folder: Path) -> None:
    result = upload(folder, "--tag", "site=north=1")

    assert result.exit_code == 0, result.output
    assert result.stderr == "30 sent, 1 passed over as no pictures\n"
    assert len(lake.images) == 30
    assert {wish["filename"] for wish in lake.granted} == {f"{number}.png" for number in range(30)}
    assert all(wish["content_type"] == "image/png" and wish["tags"] == {"site": "north=1"} for wish in lake.granted)


def test_a_few_files_are_named_with_their_image_ids(lake: Lake, folder: Path) -> None:
    file = folder / "9.png"

    first, second = upload(file).stdout, upload(file).stdout

    [image_id] = lake.images
    assert first == f"{image_id}  sent  {file}\n"
    assert second == f"{image_id}  sent before  {file}\n"
    assert upload(folder).stdout == ""


def test_what_was_sent_is_not_sent_again_unless_it_has_changed_or_is_asked_for(lake: Lake, folder: Path) -> None:
    upload(folder)
    (folder / "9.png").write_bytes((folder / "10.png").read_bytes())

    assert "29 sent before, 1 passed over as no pictures" in upload(folder).stderr.replace("1 sent, ", "")
    assert len(lake.images) == 31
    assert "30 sent" in upload(folder, "--again").stderr
    assert len(lake.images) == 61


@pytest.mark.parametrize("at", ["before", "after"])
@pytest.mark.parametrize("killed_at", [1, 7, 20, 29])
def test_an_upload_that_was_killed_goes_on_and_each_file_arrives_once(
    lake: Lake, folder: Path, at: str, killed_at: int
) -> None:
    sent = Counter[str]()

    def kill(step: str) -> None:
        sent[step] += 1
        if sent["send"] == killed_at:
            raise Killed

    setattr(lake, at, kill)
    with pytest.raises(Killed):
        upload(folder, "--at-once", 1)
    setattr(lake, at, lambda _step: None)

    assert upload(folder).exit_code == 0

    contents = [hashlib.sha256(content).digest() for content in lake.images.values()]
    assert len(contents) == len(set(contents)) == 30


def test_a_form_that_is_over_and_took_nothing_is_replaced(lake: Lake, folder: Path) -> None:
    lake.form_minutes = 0

    def kill(step: str) -> None:
        if step == "send":
            raise Killed

    lake.before = kill
    with pytest.raises(Killed):
        upload(folder / "9.png")
    lake.before = lambda _step: None

    assert upload(folder / "9.png").exit_code == 0

    assert (len(lake.granted), list(lake.images)) == (2, ["1"])


def test_files_that_the_lake_refuses_are_named_and_the_others_are_sent(lake: Lake, folder: Path) -> None:
    lake.refuse = lambda wish: "content_length is over the limit" if wish["filename"] == "9.png" else None

    result = upload(folder, "--json")

    assert result.exit_code == 3
    states = [json.loads(line) for line in result.stdout.splitlines()]
    assert Counter(one["state"] for one in states) == {"sent": 29, "refused": 1}
    [refused] = [one for one in states if one["state"] == "refused"]
    assert refused["path"].endswith("/9.png")
    assert refused["reason"] == "content_length is over the limit"


def test_a_file_that_could_not_be_sent_is_said_and_tried_by_the_next_command(lake: Lake, folder: Path) -> None:
    def fail(step: str) -> None:
        if step == "send":
            raise ApiError("S3 refused the file: SlowDown", 503)

    lake.before = fail
    result = upload(folder / "9.png")
    assert result.exit_code == 3
    assert "9.png: S3 refused the file: SlowDown" in result.stderr
    lake.before = lambda _step: None

    assert upload(folder / "9.png").exit_code == 0
    assert len(lake.granted) == 1


def test_waiting_tells_what_became_of_the_images(lake: Lake, folder: Path) -> None:
    lake.ends = {"0": "rejected", "1": "failed"}

    result = upload(folder, "--wait")

    assert result.exit_code == 3
    assert "1 failed, 28 processed, 1 rejected" in result.stderr
    assert "for a reason" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["notes.txt"], 3, "is no picture of a format that lakes take"),
        (["nothing.png"], 2, "does not exist"),
        (["9.png", "--tag", "x"], 2, "is not NAME=TEXT"),
        (["below", "--dry-run"], 0, "5 would be sent, 0 are no pictures"),
    ],
)
def test_what_cannot_be_sent_is_said(lake: Lake, folder: Path, arguments: list[str], code: int, said: str) -> None:
    result = upload(folder / arguments[0], *arguments[1:])

    assert result.exit_code == code
    assert said in " ".join(result.output.replace("│", " ").split())
    assert lake.granted == []


def test_only_its_owner_reads_the_journal(tmp_path: Path) -> None:
    with journal.opened(tmp_path / "state" / "uploads.sqlite", "lake"):
        assert (tmp_path / "state" / "uploads.sqlite").stat().st_mode & 0o077 == 0


@pytest.fixture
def odd(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with four things besides that cannot be read, two that are no files, and a name that is no text."""
    (folder / "dangling.png").symlink_to("nowhere.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "unreadable.png").symlink_to("/proc/self/mem")
    (folder / "closed").mkdir()
    os.mkfifo(folder / "pipe.png")
    (folder / "device.png").symlink_to("/dev/zero")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png")).write_bytes((folder / "9.png").read_bytes())
    scan = os.scandir

    def refuse(path: str) -> Any:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return folder


def test_what_cannot_be_read_in_a_folder_is_said_and_keeps_nothing_else(lake: Lake, odd: Path) -> None:
    result = upload(odd, "--json")

    assert result.exit_code == 3, result.output
    told = {one["path"]: one for one in map(json.loads, result.stdout.splitlines())}
    assert {path: one["reason"] for path, one in told.items() if one["state"] == "failed"} == {
        f"{odd}/dangling.png": "No such file or directory",
        f"{odd}/loop.png": "Too many levels of symbolic links",
        f"{odd}/unreadable.png": "Input/output error",
        f"{odd}/closed": "Permission denied",
    }
    assert "4 failed, 31 sent, 3 passed over as no pictures" in result.stderr
    assert told[f"{odd}/\\xff.png"]["state"] == "sent"
    assert "4 failed, 31 sent before" in upload(odd).stderr
    assert len(lake.images) == 31


def test_a_pipe_that_is_named_is_refused(lake: Lake, odd: Path) -> None:
    assert "is no file, but a pipe" in upload(odd / "pipe.png").stderr
    assert lake.granted == []


def test_a_dry_run_says_what_would_be_sent_for_programs_too(lake: Lake, odd: Path) -> None:
    result = upload(odd, "--dry-run", "--json")

    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert Counter(one["state"] for one in told) == {"would_be_sent": 31, "failed": 4}
    assert {"path": f"{odd}/below/0.png", "state": "would_be_sent"} in told
    assert (result.exit_code, lake.granted) == (3, [])
