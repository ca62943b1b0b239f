"""What a lake does when a part of it dies: it says so and ends, and the next one clears up."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from local import lake as local_lake
from local.emulator import ROOT

SECONDS = 60


PROGRAM = """
import sys
from local import __main__, deployment, demo, lake
deployment.build = lambda *_: None
deployment.deploy = lambda *_: deployment.Stack("image-lake", {})
lake.Lake.add_user = lambda *_: "password"
demo.show = demo.how_to_go_on = lambda *_: ""
lake.described = lambda *_: __import__("contextlib").nullcontext()
__main__.app(["run"])
"""
"""`make run` without the stack, which takes a minute to deploy."""


@contextmanager
def kept_running(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A lake with this folder for temporary files, once it says that it runs."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=os.environ | {"TMPDIR": str(folder), "COLUMNS": "1000"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    ) as program:  # fmt: skip
        assert program.stdout
        said = []
        for line in program.stdout:
            said.append(line)
            if "The lake is running" in line:
                break
        else:
            pytest.fail("".join(said))
        try:
            yield program
        finally:
            program.kill()


def parts(folder: Path) -> list[psutil.Process]:
    """Processes that a lake in this folder has started."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in part for part in process.info["cmdline"] or ())
    ]


def gone(folder: Path) -> bool:
    deadline = time.monotonic() + SECONDS
    while (left := parts(folder)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return not left


@pytest.mark.parametrize("part", ["hypercorn", "noida"])
def test_a_lake_that_lost_a_part_says_so_and_ends(tmp_path: Path, part: str) -> None:
    with kept_running(tmp_path) as program:
        (victim,) = [one for one in psutil.Process(program.pid).children() if part in " ".join(one.cmdline())]
        victim.kill()
        said, _ = program.communicate(timeout=SECONDS)

    assert program.returncode == 1
    assert "LakeError" in said
    assert ("emulator" if part == "hypercorn" else "broker") in said
    assert gone(tmp_path)
    assert not list(tmp_path.glob("image-lake-*"))


def test_a_killed_lake_leaves_no_process_and_the_next_one_removes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kept_running(tmp_path) as program:
        program.send_signal(signal.SIGKILL)
        program.wait(SECONDS)
    (left,) = tmp_path.glob("image-lake-*")
    assert gone(tmp_path) or sys.platform != "linux"

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    local_lake._clear_what_was_killed()

    assert not left.exists()
    assert gone(tmp_path)
