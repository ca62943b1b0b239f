"""The launcher that makes a process see what a function sees on Lambda."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local.emulator import ROOT, lambda_like

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the filters are Linux's")

TMP = Path("/tmp")  # noqa: S108  # the launcher gives a process one of its own
IS_ROOT = os.geteuid() == 0
PRELUDE = """
import ctypes, errno, json, os, resource, threading
libc = ctypes.CDLL(None, use_errno=True)
def call(*numbers):
    ctypes.set_errno(0)
    libc.syscall(*map(ctypes.c_long, numbers))
    return errno.errorcode.get(ctypes.get_errno(), "answered")
def attempt(action):
    try:
        return action() or "done"
    except OSError as error:
        return errno.errorcode[error.errno]
def say(**what):
    what["holds"] = os.environ["LAMBDA_LIKE"].split(",")
    print(json.dumps(what))
"""
CALLS = {"x86_64": (157, 317, 101), "aarch64": (167, 277, 117)}.get(platform.machine(), (0, 0, 0))


def run(code: str, **options: Any) -> dict[str, Any]:
    """What Python code says about itself under the launcher."""
    command = lambda_like.command([sys.executable, "-c", PRELUDE + code], **options)
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    said: dict[str, Any] = json.loads(ended.stdout)
    return said


def with_files(code: str, **options: Any) -> dict[str, Any]:
    said = run(code, **options)
    if "files" not in said["holds"]:
        pytest.skip("this machine allows no mount namespaces")
    return said


def test_what_lambda_refuses_is_refused() -> None:
    prctl, seccomp, ptrace = CALLS
    said = run(f"""
names = {{"name": call({prctl}, 15, id(b"x")), "no_new_privileges": call({prctl}, 38, 1, 0, 0, 0),
          "dumpable": call({prctl}, 4, 0), "subreaper": call({prctl}, 36, 1), "filter": call({prctl}, 22, 2, 0)}}
say(prctl=names, seccomp=call({seccomp}, 1, 0, 0), ptrace=call({ptrace}, 0, 0, 0, 0),
    pid=call({39 if prctl == 157 else 172}))
""")
    assert set(said["prctl"].values()) == {"EPERM"}
    assert (said["seccomp"], said["ptrace"]) == ("EPERM", "EPERM")
    assert said["pid"] == "answered"


def test_children_are_refused_the_same() -> None:
    prctl, *_ = CALLS
    said = run(f"""
import subprocess, sys
code = "import ctypes; print(ctypes.CDLL(None).syscall({prctl}, 15, b'x'))"
say(child=subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
""")
    assert said["child"] == "-1\n"


def test_threads_run() -> None:
    said = run("""
ran = []
threads = [threading.Thread(target=ran.append, args=[n]) for n in range(20)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
say(ran=len(ran))
""")
    assert said["ran"] == 20


@pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")
def test_it_is_an_ordinary_user_of_its_own() -> None:
    code = "say(user=os.getresuid(), group=os.getresgid(), groups=os.getgroups(), back=attempt(lambda: os.setuid(0)))"
    said = run(code)
    assert "user" in said["holds"]
    assert min(said["user"] + said["group"]) >= 30_000
    assert said["groups"] == []
    assert said["back"] == "EPERM"
    assert run(code, user=1234)["user"] == [1234, 1234, 1234]


@pytest.mark.skipif(not IS_ROOT, reason="processes of one user see each other")
def test_other_processes_cannot_be_read_or_signalled() -> None:
    with subprocess.Popen(
        lambda_like.command([sys.executable, "-c", "print(1, flush=True); input()"]), stdin=-1, stdout=-1
    ) as one:
        assert one.stdout
        one.stdout.readline()
        said = run(f"""
def read(pid, what):
    return attempt(lambda: len(open(f"/proc/{{pid}}/{{what}}", "rb").read()))
say(read=[read(pid, what) for pid in ({one.pid}, {os.getpid()}) for what in ("environ", "mem")],
    signal=[attempt(lambda: os.kill(pid, 0)) for pid in ({one.pid}, {os.getpid()})])
""")
        one.kill()
    assert set(said["read"]) == {"EACCES"}
    assert set(said["signal"]) == {"EPERM"}


def test_only_its_own_tmp_can_be_written() -> None:
    marker = TMP / f"lambda-like-{os.getpid()}"
    marker.touch()
    try:
        said = with_files(f"""
def write(folder):
    return attempt(lambda: open(folder + "/{marker.name}-new", "w").close())
folders = ("/tmp", "/var/tmp", {str(ROOT)!r}, "/dev/shm")
say(tmp=os.listdir("/tmp"), written={{folder: write(folder) for folder in folders}})
""")
    finally:
        marker.unlink()
    assert marker.name not in said["tmp"]
    assert said["written"].pop(str(TMP)) == "done"
    assert set(said["written"].values()) <= {"EROFS", "EACCES"}
    assert not Path(f"{marker}-new").exists()


def test_a_tmp_that_is_given_is_kept(tmp_path: Path) -> None:
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    with_files("open('/tmp/kept', 'w').close(); say()", tmp=tmp)
    assert (tmp / "kept").exists()


def test_what_is_to_be_seen_is_seen_and_cannot_be_changed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "code.py").write_text("1")
    said = with_files(
        f"say(read=open({str(tmp_path / 'code.py')!r}).read(), "
        f"write=attempt(lambda: open({str(tmp_path / 'new')!r}, 'w').close()))",
        see=[tmp_path],
    )
    assert said["read"] == "1"
    assert said["write"] in ("EROFS", "EACCES")


def test_what_is_hidden_is_out_of_sight_but_for_what_is_to_be_seen(tmp_path: Path) -> None:
    code = tmp_path / "lake" / "code"
    code.mkdir(parents=True)
    (tmp_path / "lake" / "secret").touch()
    tmp_path.chmod(0o755)
    said = with_files(
        f"home = {str(Path.home())!r}\n"  # one under /tmp is out of sight altogether
        f"say(lake=os.listdir({str(tmp_path / 'lake')!r}), home=os.listdir(home) if os.path.isdir(home) else [])",
        see=[tmp_path, code],
        hide=[tmp_path / "lake"],
    )
    assert said["lake"] == ["code"]
    assert not {name for name in said["home"] if name not in sys.executable and name not in sys.base_prefix}


def test_files_and_processes_are_as_many_as_on_lambda() -> None:
    said = run(
        "say(files=resource.getrlimit(resource.RLIMIT_NOFILE), processes=resource.getrlimit(resource.RLIMIT_NPROC))"
    )
    assert said["files"] == [1024, 1024]
    assert not IS_ROOT or said["processes"] == [1024, 1024]


def test_strict_refuses_to_start_what_would_not_be_alike() -> None:
    alike = run("say()")["holds"] == ["filter", "user", "files"]
    ended = subprocess.run(
        lambda_like.command(["/bin/sh", "-c", "true"], strict=True), capture_output=True, text=True, check=False
    )
    assert ended.returncode == (0 if alike else lambda_like.NOT_ALIKE)
    assert ("lambda_like: not " in ended.stderr) is not alike


def test_the_programs_exit_code_and_a_missing_program_are_told() -> None:
    assert subprocess.run(lambda_like.command(["/bin/sh", "-c", "exit 7"]), check=False).returncode == 7
    missing = subprocess.run(lambda_like.command(["/no/such"]), capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert "/no/such" in missing.stderr
