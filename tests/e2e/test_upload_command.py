"""`imagelake upload` and the other commands of senders, as they are installed, on the lake that runs here."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from local.lake import Lake

type Command = Callable[..., subprocess.CompletedProcess[str]]

PROGRAM = Path(sys.executable).with_name("imagelake")
FILES = 200


@pytest.fixture
def folder(lake: Lake, tmp_path: Path) -> Path:
    """A folder in which this lake describes itself, with pictures and with a state folder of its own."""
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "lake.json").write_text(json.dumps(lake.describe()), encoding="utf-8")
    (tmp_path / "pictures").mkdir()
    for number in range(FILES):
        Image.new("L", (16 + number, 16)).save(tmp_path / "pictures" / f"{number}.png")
    return tmp_path


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"XDG_STATE_HOME": str(folder / "state")}


@pytest.fixture
def command(folder: Path, environment: dict[str, str]) -> Command:
    def run(*arguments: str, password: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *arguments], cwd=folder, env=environment | {"IMAGELAKE_PASSWORD": password}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip

    return run


def test_an_upload_that_was_killed_goes_on_and_each_file_is_processed_once(
    folder: Path, command: Command, environment: dict[str, str]
) -> None:
    run = f"run={uuid.uuid4()}"
    begun = subprocess.Popen(
        [PROGRAM, "upload", "pictures", "--tag", run, "--at-once", "2"], cwd=folder, env=environment
    )
    journal = folder / "state" / "imagelake" / "uploads.sqlite"
    while not (journal.exists() and _sent(journal)):
        assert begun.poll() is None, "it ended before it was killed"
        time.sleep(0.01)
    begun.send_signal(signal.SIGKILL)
    begun.wait()

    ended = command("upload", "pictures", "--tag", run, "--wait", "--json")

    assert ended.returncode == 0, ended.stderr
    told = [json.loads(line) for line in ended.stdout.splitlines()]
    assert (len(told), {one["state"] for one in told}) == (FILES, {"processed"})
    listed = [json.loads(line) for line in command("images", "--limit", "10000", "--json").stdout.splitlines()]
    ours = [image["metadata"] for image in listed if image["metadata"].get("tags", {}).get("run") == run[4:]]
    assert Counter(metadata["tags"]["filename"] for metadata in ours) == {f"{n}.png": 1 for n in range(FILES)}
    assert "200 sent before" in command("upload", "pictures", "--tag", run).stderr


def test_an_image_is_followed_and_erased(command: Command) -> None:
    [told] = command("upload", "pictures/3.png", "--wait", "--json").stdout.splitlines()
    image_id = json.loads(told)["image_id"]
    assert json.loads(command("status", image_id, "--json").stdout)["metadata"]["width"] == 19

    assert command("erase", image_id, "--yes", "--reason", "sent_by_mistake").stdout == f"{image_id}: erased\n"

    gone = command("status", image_id)
    said = f"{image_id}: the lake does not know it, or it was erased or has expired, or it is not yours\n"
    assert (gone.returncode, gone.stderr) == (3, said)


def test_a_picture_that_no_form_is_granted_for_keeps_no_other_from_the_lake(folder: Path, command: Command) -> None:
    for number in range(3):
        (folder / "few" / f"{number}.png").parent.mkdir(exist_ok=True)
        Image.new("L", (300 + number, 16)).save(folder / "few" / f"{number}.png")
    (folder / "few" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")

    sent = command("upload", "few", "--wait")

    assert sent.returncode == 3
    assert "3 processed, 1 refused" in sent.stderr
    assert f"refused: {folder / 'few' / 'phone.heic'}: content_type must be one of image/jpeg, " in sent.stderr


def test_a_user_is_added_and_may_send(command: Command) -> None:
    name = f"user-{uuid.uuid4()}"
    password = command("users", "add", name).stdout.strip()

    assert command("upload", "pictures/4.png", "--username", name, password=password).returncode == 0

    refused = command("images", "--username", name, password=password[::-1])
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"{name} could not sign in" in refused.stderr


def _sent(journal: Path) -> int:
    with closing(sqlite3.connect(journal, timeout=30)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'uploads'").fetchone():
            return 0
        return int(database.execute("SELECT count(*) FROM uploads WHERE state = 'sent'").fetchone()[0])
