"""The sandbox where a kernel refuses what AWS Lambda's refuses, as an ordinary user, in the process of a function."""

import json
import os
from pathlib import Path
from textwrap import dedent, indent

import pytest

from imagelake.engine.runner import Measure, Reason
from imagelake.engine.sandbox.filters import MACHINES
from tests.integration.lambda_process import LambdaProcess
from tests.integration.test_misbehaving_scripts import FORGED, FORGERIES, comes_true, forging, parent
from tests.unit.pictures import HEIC, encoded, photo

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

IMAGE = encoded(photo())
GOOD = "def process(image, params): return {'metadata': {'size': image.size}}"
IOPRIO_SET = MACHINES[os.uname().machine][1]["ioprio_set"]


def script(body: str) -> str:
    head = "import ctypes, fcntl, os, resource, signal, sys, threading, time"
    return f"{head}\ndef process(image, params):\n{indent(dedent(body), '    ')}\n    return {{}}\n"


def processes(function: LambdaProcess) -> set[int]:
    """Of the user that the function runs as, and alive."""
    [uids] = [line for line in _status(function.process.pid) if line.startswith("Uid:")]
    found = {int(one.name) for one in Path("/proc").glob("[0-9]*") if uids in _status(int(one.name))}
    return {process for process in found if parent(Path(f"/proc/{process}"))}


def _status(process: int) -> list[str]:
    try:
        return Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return []


def has_cleared_up(function: LambdaProcess) -> bool:
    """Whether there are the function, the warm process and the child that waits, and none else."""
    return comes_true(lambda: len(processes(function)) == 3)


def test_the_function_says_what_confines_scripts_here(function: LambdaProcess) -> None:
    """Hidden it is all the same, by an executable that cannot be read."""
    held = {Measure(name) for name, holds in function.invoke(GOOD, IMAGE)["measures"].items() if holds}
    assert held == {Measure.HIDDEN, Measure.CAPABILITIES, Measure.LIMITS}


def test_scripts_run_one_after_another_in_one_function(function: LambdaProcess) -> None:
    first, second = function.invoke(GOOD, IMAGE), function.invoke(GOOD, IMAGE)
    assert first["reason"] is second["reason"] is None
    assert first["output"] == second["output"] == {"size": [96, 64]}
    assert first["life"] == second["life"]
    assert has_cleared_up(function)


def test_heic_is_decoded(function: LambdaProcess) -> None:
    answer = function.invoke(GOOD, HEIC)
    assert (answer["reason"], answer["columns"]["format"], answer["output"]) == (None, "HEIF", {"size": [64, 48]})


def test_a_script_has_threads(function: LambdaProcess) -> None:
    source = """
        from concurrent.futures.thread import ThreadPoolExecutor
        def process(image, params):
            with ThreadPoolExecutor(8) as pool:
                return {"metadata": {"sum": sum(pool.map(lambda n: n * n, range(1_000)))}}
    """
    assert function.invoke(source, IMAGE)["output"] == {"sum": 332_833_500}


OUT_OF_HAND = {
    "crashes": ("ctypes.string_at(0)", Reason.SCRIPT_CRASHED),
    "exits": ("os._exit(3)", Reason.SCRIPT_CRASHED),
    "exits_as_if_all_was_well": ("os._exit(0)", Reason.SCRIPT_OUTPUT_INVALID),
    "kills_itself": ("os.kill(os.getpid(), 9)", Reason.SCRIPT_CRASHED),
    "stops_itself": ("os.kill(os.getpid(), signal.SIGSTOP)", Reason.SCRIPT_OUTPUT_INVALID),
    "hangs": ("while True: pass", Reason.SCRIPT_TIMEOUT),
    "forges_a_header": (forging(FORGERIES["another_width"]), Reason.SCRIPT_OUTPUT_INVALID),
    "forges_metadata": (forging(FORGED | {"metadata": {"describe": {}}}), Reason.SCRIPT_OUTPUT_INVALID),
    "forks_whatever_comes": ("while True:\n    try: os.fork()\n    except OSError: pass", Reason.SCRIPT_TIMEOUT),
}


@pytest.mark.parametrize("name", OUT_OF_HAND)
def test_a_function_is_given_up_after_its_answer(function: LambdaProcess, name: str) -> None:
    """No invocation fails for it, and nothing is left for the next."""
    body, reason = OUT_OF_HAND[name]
    before = function.invoke(GOOD, IMAGE)

    answer = function.invoke(script(body), IMAGE, seconds=1.0 if reason == Reason.SCRIPT_TIMEOUT else 10.0)

    assert str(answer["reason"]).split(":")[0] == reason
    after = function.invoke(GOOD, IMAGE)
    assert after["output"] == before["output"] == {"size": [96, 64]}
    assert after["life"] != before["life"] == answer["life"]
    assert after["process"] == before["process"], "Lambda sees the same process"
    assert has_cleared_up(function)


@pytest.mark.parametrize(
    "body",
    [
        "os.fork() or time.sleep(600)",
        "if os.fork() == 0:\n    os.setsid()\n    os.fork() or time.sleep(600)\n    os._exit(0)",
        "for _ in range(20): os.fork() or time.sleep(600)",
    ],
)
def test_processes_that_are_left_are_found_and_the_function_is_given_up(function: LambdaProcess, body: str) -> None:
    before = function.invoke(GOOD, IMAGE)
    answer = function.invoke(script(body + "\ntime.sleep(0.2)"), IMAGE)
    assert answer["reason"] is None
    assert function.invoke(GOOD, IMAGE)["life"] != before["life"]
    assert has_cleared_up(function)


def test_an_ordinary_failure_costs_no_start(function: LambdaProcess) -> None:
    before = function.invoke(GOOD, IMAGE)
    for body in ("raise ValueError", "class Own(BaseException): pass\nraise Own", "bytearray(4_000_000_000)"):
        assert function.invoke(script(body), IMAGE)["reason"].startswith(("script_error", "script_memory"))
    assert function.invoke(GOOD, IMAGE)["life"] == before["life"]


CHANGES = {
    "priority": "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
    "scheduler": "os.sched_setscheduler(os.getppid(), os.SCHED_IDLE, os.sched_param(0))",
    "processors": "os.sched_setaffinity(os.getppid(), {min(os.sched_getaffinity(0))})",
    "priority at the disk": f"assert ctypes.CDLL(None).syscall({IOPRIO_SET}, 1, os.getppid(), 3 << 13) == 0",
    "limit": "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (64, 64))",
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_way_to_run_is_seen_and_the_function_is_given_up(function: LambdaProcess, name: str) -> None:
    """Of the process above a script, which the next image would run in."""
    before = function.invoke(GOOD, IMAGE)
    assert function.invoke(script(CHANGES[name]), IMAGE)["reason"] is None
    assert function.invoke(GOOD, IMAGE)["life"] != before["life"]


def test_a_tree_of_100_000_folders_costs_the_next_image_no_more_than_a_start(function: LambdaProcess) -> None:
    before = function.invoke(GOOD, IMAGE)
    answer = function.invoke(script("for _ in range(100_000): os.mkdir('a'); os.chdir('a')"), IMAGE, seconds=60.0)
    after = function.invoke(GOOD, IMAGE)
    assert (answer["reason"], after["output"]) == (None, {"size": [96, 64]})
    assert after["life"] != before["life"]


def test_a_folder_that_was_moved_away_for_a_link_is_removed(function: LambdaProcess) -> None:
    function.invoke(GOOD, IMAGE)
    body = """
        here = os.getcwd()
        open('left', 'w').close()
        os.rename(here, here + '-away')
        os.symlink('/usr', here)
    """
    assert function.invoke(script(body), IMAGE)["reason"] is None
    after = function.invoke(script("return {'metadata': {'left': os.listdir('/tmp'), 'here': os.getcwd()}}"), IMAGE)
    assert after["output"]["left"] == [Path(after["output"]["here"]).name]


HAS_A_PIPE_KILL = """
    reading, writing = os.pipe()
    fcntl.fcntl(reading, fcntl.F_SETOWN, os.getppid())
    fcntl.fcntl(reading, 10, signal.SIGKILL)  # F_SETSIG
    fcntl.fcntl(reading, fcntl.F_SETFL, fcntl.fcntl(reading, fcntl.F_GETFL) | os.O_ASYNC)
    os.write(writing, b"x")
    time.sleep(10)
"""


@pytest.mark.parametrize("body", ["os.kill(os.getppid(), 9)", HAS_A_PIPE_KILL], ids=["by a signal", "by a pipe"])
def test_a_dead_warm_process_fails_one_invocation_only(function: LambdaProcess, body: str) -> None:
    """Which the workflow repeats: it cannot be told from a fault of the platform."""
    before = function.invoke(GOOD, IMAGE)
    assert function.invoke(script(body), IMAGE)["errorType"] == "SandboxError"
    after = function.invoke(GOOD, IMAGE)
    assert (after["output"], after["life"] == before["life"]) == ({"size": [96, 64]}, False)


def test_what_is_given_up_and_what_does_not_confine_are_metrics(function: LambdaProcess) -> None:
    function.invoke(script("os._exit(3)"), IMAGE)
    function.invoke(GOOD, IMAGE)
    lines = [json.loads(line) for line in function.log().splitlines() if line.startswith("{")]
    given_up = [line for line in lines if "EnvironmentsGivenUp" in line]
    missing = [line for line in lines if "MeasuresMissing" in line]
    assert given_up
    assert {line["MeasuresMissing"] for line in missing} == {5}
    assert len(missing) <= len(given_up) + 1, "once in the life of a process"
    for line in given_up + missing:
        [described] = line["_aws"]["CloudWatchMetrics"]
        assert (described["Namespace"], described["Dimensions"]) == ("ImageLake", [["service"]])
        assert all(metric["Name"] in line for metric in described["Metrics"])
