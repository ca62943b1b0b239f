"""`imagelake upload` and the other commands of senders, as they are installed, on the lake that runs here."""

import json
import os
import signal
import sqlite3
import subprocess
import time
import uuid
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from local.emulator.faults import Plan
from local.lake import Lake
from tests.e2e.conftest import PROGRAM, Command, eventually
from tests.e2e.faults.injection import injected

FILES = int(os.environ.get("FILES", "60"))
"""Of the upload that is killed; more with `FILES=1000 pytest -s`, which prints the figures."""


@pytest.fixture(autouse=True)
def pictures(folder: Path) -> Path:
    """A folder of different pictures."""
    made = folder / "pictures"
    made.mkdir()
    for number in range(FILES):
        Image.new("L", (16 + number, 16)).save(made / f"{number}.png")
    return made


class Upload:
    """An upload in a process of its own, and what it has noted of the files."""

    def __init__(self, folder: Path, environment: dict[str, str], *options: str) -> None:
        self._journal = folder / "state" / "imagelake" / "uploads.sqlite"
        command = [str(PROGRAM), "upload", "pictures", "--at-once", "4", *options]
        self._process = subprocess.Popen(command, cwd=folder, env=environment)

    def kill_when_sent(self, files: int) -> int:
        """Kill it, as SIGKILL does, when it has sent so many files; how many it had sent by then."""
        while (sent := self._sent()) < files:
            assert self._process.poll() is None, f"it ended with {sent} files sent"
            time.sleep(0.01)
        self._process.send_signal(signal.SIGKILL)
        assert self._process.wait() == -signal.SIGKILL
        return self._sent()

    def _sent(self) -> int:
        if not self._journal.exists():
            return 0
        with closing(sqlite3.connect(self._journal, timeout=30)) as database:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'uploads'").fetchone():
                return 0
            return int(database.execute("SELECT count(*) FROM uploads WHERE state = 'sent'").fetchone()[0])


def test_an_upload_that_is_killed_half_way_and_while_it_waits_leaves_each_file_once_in_the_lake(
    lake: Lake, folder: Path, command: Command, environment: dict[str, str]
) -> None:
    run = ("--tag", f"run={uuid.uuid4()}")
    began = time.monotonic()
    # The API answers 429 and 502 at times, S3 503; connections are cut, also when the work is done.
    with injected(lake, Plan(seed=FILES, rates={"door": 0.1})) as faults:
        half = Upload(folder, environment, *run).kill_when_sent(FILES // 2)
        at_kill = len(eventually(lambda: _arrived(command, run[1]), bool))
        sent = Upload(folder, environment, *run, "--wait").kill_when_sent(FILES)
        ended = command("upload", "pictures", *run, "--wait", "--wait-seconds", "3600", "--json")
    seconds = time.monotonic() - began

    assert ended.returncode == 0, ended.stderr
    assert FILES // 2 <= half < FILES, "it was killed half-way"
    assert 0 < at_kill < FILES, "some files were in the lake then, and some were not"
    told = [json.loads(line) for line in ended.stdout.splitlines()]
    assert (len(told), {one["state"] for one in told}) == (FILES, {"processed"})
    arrived = _arrived(command, run[1])
    times = Counter(one["metadata"]["tags"]["filename"] for one in arrived)
    assert times == {f"{number}.png": 1 for number in range(FILES)}
    assert {one["status"] for one in arrived} == {"processed"}
    ids = {one["image_id"] for one in arrived}
    rows = eventually(lambda: _rows(command, ids), lambda rows: rows.keys() == ids)
    assert set(rows.values()) == {1}, "each is in the catalog once"
    assert f"{FILES} sent before" in command("upload", "pictures", *run).stderr
    assert faults["injected"], "the door was well all the time"
    doubled = times.total() - len(times)
    injected_in_all = sum(faults["injected"].values())
    print(
        f"\n{FILES} files, killed after {half} ({at_kill} in the lake) and, waiting, after {sent}: {len(times)} in the "
        f"lake, {doubled} twice, in {seconds:.0f} s; {injected_in_all} faults at the door: {faults['injected']}"
    )


def _arrived(command: Command, tag: str) -> list[dict[str, Any]]:
    """The images of a run that are in the lake; a form whose answer was lost took nothing."""
    listed = [json.loads(line) for line in command("images", "--limit", "100000", "--json").stdout.splitlines()]
    ours = [one for one in listed if f"run={one['metadata'].get('tags', {}).get('run')}" == tag]
    return [one for one in ours if one["status"] != "awaiting_upload"]


def _rows(command: Command, ids: set[str]) -> Counter[str]:
    """How often the catalog has each of some images."""
    asked = command("query", "SELECT image_id FROM current_images", "--json").stdout.splitlines()
    return Counter(found for line in asked if (found := json.loads(line)["image_id"]) in ids)


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
