"""What a lake does when a part of it dies: it says so and ends, and the next one clears up."""

import os
import re
import shutil
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
from confluent_kafka import Producer

from local import lake as local_lake
from local.demo import DemoError
from local.emulator import ROOT
from local.lake import LakeError

SECONDS = 60
ASLEEP_SECONDS = 11
"""Longer than the group waits for a member, and than a namesake of a member goes unnoticed."""


PROGRAM = """
import sys
from local import __main__, deployment, demo, kafka, lake
deployment.build = lambda *_: None
outputs = {"ConsumeImageTopicFunctionName": "consume", "FailedRecordsBucketName": "failed"}
deployment.deploy = lambda *_: deployment.Stack("image-lake", outputs)
kafka.LambdaFunction.of = lambda *_, **__: lambda messages: print("delivered", len(messages), flush=True)
lake.Lake.add_user = lambda *_: "password"
demo.show = lambda *_: None
demo.how_to_go_on = lambda lake: f"Kafka {lake.kafka.bootstrap_servers} {lake.kafka.topic}"
lake.is_described = lambda: False
lake.described = lambda *_: __import__("contextlib").nullcontext()
__main__.app(["run"])
"""
"""`make run` without the stack, which takes a minute to deploy; the poller says what it would bring to a function."""


@contextmanager
def kept_running(folder: Path, *start: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """A lake with this folder for temporary files, once it says that it runs; `start` is a program that starts it."""
    with subprocess.Popen(
        [*start, sys.executable, "-c", PROGRAM], cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder), "COLUMNS": "1000"} | environment,
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


def until(program: "subprocess.Popen[str]", words: str) -> str:
    """What a lake says, up to the line with these words."""
    assert program.stdout
    said = ""
    for line in program.stdout:
        said += line
        if words in line:
            return said
    pytest.fail(said)


def next_lake_clears(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tempfile, "tempdir", str(folder))
    local_lake._clear_what_was_killed()
    assert not list(folder.glob("image-lake-*"))
    assert gone(folder)


@pytest.mark.parametrize(("part", "log"), [("hypercorn", "emulator.log"), ("noida", "kafka/broker.log")])
def test_a_lake_that_lost_a_part_says_so_and_ends(
    tmp_path: Path, part: str, log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kept_running(tmp_path) as program:
        (victim,) = [one for one in psutil.Process(program.pid).children() if part in " ".join(one.cmdline())]
        victim.kill()
        said, _ = program.communicate(timeout=SECONDS)

    assert program.returncode == 1
    assert "LakeError" in said
    (kept,) = tmp_path.glob(f"image-lake-*/{log}")
    assert f"its log is {kept}" in said
    assert gone(tmp_path)
    assert not [file for file in tmp_path.glob("image-lake-*/*/*") if file.suffix != ".log"]
    next_lake_clears(tmp_path, monkeypatch)


def test_a_killed_lake_leaves_no_process_and_the_next_one_removes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kept_running(tmp_path) as program:
        program.send_signal(signal.SIGKILL)
        program.wait(SECONDS)
    assert list(tmp_path.glob("image-lake-*"))
    assert gone(tmp_path) or sys.platform != "linux"

    next_lake_clears(tmp_path, monkeypatch)


def test_a_lake_whose_make_was_killed_ends(tmp_path: Path) -> None:
    make = ("sh", "-c", '"$0" "$@" & wait')
    with kept_running(tmp_path, *make, MAKELEVEL="1") as program:
        program.kill()

        assert "`make` that started it was killed" in until(program, "LakeError")
        assert gone(tmp_path)


def test_a_lake_that_slept_says_so_and_delivers_what_comes_then(tmp_path: Path) -> None:
    with kept_running(tmp_path) as program:
        topic, address = "images", re.search(r"--kafka-port (\d+)", broker_of(program))
        assert address
        send(f"127.0.0.1:{address[1]}", topic)
        until(program, "delivered 1")
        family = [psutil.Process(program.pid), *psutil.Process(program.pid).children(recursive=True)]
        for one in family:
            one.suspend()
        time.sleep(ASLEEP_SECONDS)
        for one in reversed(family):
            one.resume()

        until(program, "as when a laptop sleeps. It goes on.")
        woken = time.monotonic()
        send(f"127.0.0.1:{address[1]}", topic)
        until(program, "delivered 1")
        assert time.monotonic() - woken < SECONDS
        assert program.poll() is None


def broker_of(program: "subprocess.Popen[str]") -> str:
    commands = (" ".join(one.cmdline()) for one in psutil.Process(program.pid).children())
    return next(command for command in commands if "noida" in command)


def send(bootstrap_servers: str, topic: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap_servers})
    producer.produce(topic, b"an image")
    assert producer.flush(SECONDS) == 0


def test_a_lake_without_space_says_so_whatever_went_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(local_lake, "SPARE_BYTES", shutil.disk_usage(tmp_path).total)

    with pytest.raises(LakeError, match=rf"no space left in {tmp_path}/image-lake-\w+: \d+ MB are free"):  # noqa: SIM117
        with local_lake._home(None):
            raise DemoError("SQL says None")


def test_a_lake_that_may_not_write_says_so(tmp_path: Path) -> None:
    program = (
        "import pathlib, resource, signal\n"
        "from local import lake\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        f"print(lake._fullness(pathlib.Path({str(tmp_path)!r})))\n"
    )
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert said == f"nothing can be written to {tmp_path}: File too large\n"
