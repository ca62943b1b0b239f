"""The function's end of the sandbox: keeps one warm process alive and hands it jobs.

After an abnormal end of a child the warm process is given up, and the next image gets a new one.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imagelake.engine.sandbox import confinement, processes, rooms, unreadable
from imagelake.engine.sandbox.measures import Measure
from imagelake.errors import Fault

_START_SECONDS = 60.0
_GRACE_SECONDS = 3.0
_MESSAGE_BYTES = 65_536
_KEPT_VARIABLES = ("LANG", "LD_LIBRARY_PATH", "PATH", "TZ")
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 25), "MALLOC_TRIM_THRESHOLD_": str(1 << 26)}
"""Has the C library keep what one step has freed for the next: each fresh page costs a fault, as long as its pixels."""


class SandboxError(Fault):
    """The warm process is gone: a fault of ours, not of the image."""


@dataclass(frozen=True)
class Ending:
    """How a child ended.

    Args:
        timed_out: it was stopped at the end of its time.
        exit: exit status, or the negative number of the signal that ended it.
        seconds: wall time from its job to its end.
        peak_memory_mb: largest resident set, in MiB.
        output: what it wrote to the result file.
    """

    timed_out: bool
    exit: int
    seconds: float
    peak_memory_mb: float
    output: bytes

    @property
    def is_abnormal(self) -> bool:
        """Whether it did not come back by itself."""
        return self.timed_out or self.exit != 0


@dataclass
class _WarmProcess:
    """A warm process with the way to it, its room once it is known, and whether it was given up and clears that up."""

    control: socket.socket
    process: subprocess.Popen[bytes]
    room: str = ""
    clears_up: bool = False


class Sandbox:
    """One warm process, started at once and replaced when it dies or is given up. Serves one thread."""

    def __init__(self) -> None:
        self._can_hide = confinement.can_hide()
        self._is_hidden = confinement.hide_from_relatives()
        self._others_files = rooms.names_in_tmp() if _is_alone() else None
        self._started: list[_WarmProcess] = []
        weakref.finalize(self, _end, self._started)
        self._start()

    def _start(self) -> None:
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = _start_warm_process(theirs, self._can_hide, self._others_files)
        self._warm = _WarmProcess(control, process)
        self._started.append(self._warm)
        self._held: dict[Measure, bool] | None = None
        self._awaits_clearing = self._is_given_up = False

    def run(self, job: Mapping[str, Any], content: bytes, seconds: float) -> Ending:
        """Have a child do `job` on `content` within `seconds` of wall time.

        Raises:
            SandboxError: there is no warm process, and none can be started.
        """
        if self.is_given_up():
            self._replace()
        image_file, output_file = os.memfd_create("image"), os.memfd_create("output")
        try:
            os.pwrite(image_file, content, 0)
            answer = self._ask({**job, "seconds": seconds}, [image_file, output_file], seconds)
            size = os.fstat(output_file).st_size
            ending = Ending(**answer, output=os.pread(output_file, size, 0))
        finally:
            os.close(image_file)
            os.close(output_file)
        self._is_given_up |= ending.is_abnormal
        return ending

    def held(self) -> dict[Measure, bool]:
        """Which measures confine the scripts here.

        Raises:
            SandboxError: there is no warm process.
        """
        if self._held is None:
            try:
                greeting = self._receive(_START_SECONDS)
            except TimeoutError:
                self._is_given_up = True
                raise SandboxError("the warm process does not start") from None
            self._warm.room = greeting["room"]
            self._held = {Measure(name): held for name, held in greeting["held"].items()}
            self._held[Measure.HIDDEN] &= self._is_hidden
        return self._held

    def give_up(self) -> None:
        """Have the next image processed by another warm process."""
        self._is_given_up = True

    def is_given_up(self) -> bool:
        """Whether the last job ended as it should not, or left something behind; waits until that is known."""
        if self._awaits_clearing and not self._is_given_up:
            try:
                self._is_given_up = bool(self._receive(_GRACE_SECONDS)["left"])
            except (SandboxError, TimeoutError):
                self._is_given_up = True
        self._awaits_clearing = False
        return self._is_given_up

    def close(self) -> None:
        """End the warm process and all that scripts have left, if that can be done; there is no other run."""
        _end(self._started)
        processes.end_leftovers()

    def interrupt(self) -> None:
        """End the job that another thread is waiting for."""
        self._warm.process.terminate()

    def _ask(self, job: Mapping[str, Any], files: list[int], seconds: float) -> dict[str, Any]:
        try:
            self.held()
            socket.send_fds(self._warm.control, [json.dumps(job).encode()], files)
            answer = self._receive(seconds + _GRACE_SECONDS)
        except TimeoutError:
            self._warm.process.kill()
            self._is_given_up = True
            return {"timed_out": True, "exit": -signal.SIGKILL, "seconds": seconds, "peak_memory_mb": 0.0}
        except OSError:
            self._is_given_up = True
            raise SandboxError("the warm process ended before a job") from None
        self._awaits_clearing = True
        return answer

    def _receive(self, seconds: float) -> dict[str, Any]:
        """The next message of the warm process.

        Raises:
            SandboxError: there is none to come.
            TimeoutError: not within `seconds`.
        """
        self._warm.control.settimeout(seconds)
        try:
            message = self._warm.control.recv(_MESSAGE_BYTES)
        except ConnectionError:
            message = b""
        if not message:
            self._is_given_up = True
            raise SandboxError("the warm process ended during a job")
        found: dict[str, Any] = json.loads(message)
        return found

    def _replace(self) -> None:
        """Let the warm process go, which clears up by itself, and start another.

        One that cannot find what its children leave is ended, and this process clears up.
        """
        self._warm.control.close()
        self._warm.process.terminate()
        self._warm.clears_up = bool(self._held and self._held[Measure.SUBREAPER])
        if not self._warm.clears_up:
            _end(self._started)
            processes.end_leftovers()
        self._started[:] = [warm for warm in self._started if not _has_ended(warm)]
        self._start()


def _is_alone() -> bool:
    """Whether nobody shares this user and `/tmp`: so in Lambda, and under `local/emulator/lambda_like.py`."""
    alike = os.environ.get("LAMBDA_LIKE", "").split(",")
    return "AWS_LAMBDA_RUNTIME_API" in os.environ or {"user", "files"} <= set(alike)


def _start_warm_process(
    control: socket.socket, can_hide: bool, others_files: list[str] | None
) -> subprocess.Popen[bytes]:
    """Start it, hidden by its executable where it cannot hide itself.

    `others_files` are the temporary files that it leaves alone; None where it leaves all alone but its own.
    """
    options = ["-s", "-S", "-P", "-m", "imagelake.engine.sandbox.warm_process"]
    arguments = [*options, str(os.getpid()), json.dumps(others_files)]
    environment = _environment()
    executable = None
    if not can_hide:
        executable = unreadable.interpreter()
        environment["LD_LIBRARY_PATH"] = unreadable.library_path()
    try:
        return subprocess.Popen(  # noqa: S603  # nothing in it comes from outside
            [sys.executable, *arguments],
            executable=None if executable is None else f"/proc/self/fd/{executable}",
            pass_fds=() if executable is None else (executable,),
            stdin=control.fileno(),
            stdout=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C in a terminal is for this process, and this one tells that one
        )
    finally:
        if executable is not None:
            os.close(executable)


def _has_ended(warm: _WarmProcess) -> bool:
    """Whether it has ended; if it could not remove its room, that is done."""
    if warm.process.poll() is None:
        return False
    if warm.process.returncode and warm.room:
        rooms.remove(warm.room)
    return True


def _end(started: list[_WarmProcess]) -> None:
    """End warm processes, which clear up after their last job first; one that has much to remove goes on with it."""
    for warm in started:
        warm.control.close()
        warm.process.terminate()
    for warm in started:
        try:
            warm.process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            if warm.clears_up:
                continue
            warm.process.kill()
            warm.process.wait()
        _has_ended(warm)
    started.clear()


def _environment() -> dict[str, str]:
    """What the warm process needs to find its modules, and nothing of what the function was given."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return kept | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        **MALLOC,
    }
