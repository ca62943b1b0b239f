"""The function's end of the sandbox: keeps one warm process alive and hands it jobs."""

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

from imagelake.engine.sandbox.confinement import hide_from_relatives
from imagelake.errors import Fault

_GRACE_SECONDS = 3.0
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


class Sandbox:
    """One warm process, started at once and replaced when it dies. Serves one thread."""

    def __init__(self) -> None:
        hide_from_relatives()
        self._start()

    def _start(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  # nothing in it comes from outside
                [sys.executable, "-s", "-S", "-P", "-m", "imagelake.engine.sandbox.warm_process", str(os.getpid())],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,  # Ctrl-C in a terminal is for this process, and this one tells that one
            )
        self._stop = weakref.finalize(self, _end, self._control, self._process)

    def run(self, job: Mapping[str, Any], content: bytes, seconds: float) -> Ending:
        """Have a child do `job` on `content` within `seconds` of wall time.

        Raises:
            SandboxError: there is no warm process, and none can be started.
        """
        image_file, output_file = os.memfd_create("image"), os.memfd_create("output")
        try:
            os.pwrite(image_file, content, 0)
            answer = self._ask({**job, "seconds": seconds}, [image_file, output_file], seconds)
            size = os.fstat(output_file).st_size
            return Ending(**answer, output=os.pread(output_file, size, 0))
        finally:
            os.close(image_file)
            os.close(output_file)

    def interrupt(self) -> None:
        """End the job that another thread is waiting for."""
        self._process.terminate()

    def _ask(self, job: Mapping[str, Any], files: list[int], seconds: float) -> dict[str, Any]:
        self._control.settimeout(seconds + _GRACE_SECONDS)
        answer = b""
        try:
            socket.send_fds(self._control, [json.dumps(job).encode()], files)
            answer = self._control.recv(65_536)
        except TimeoutError:
            self._process.kill()
            self._restart()
            return {"timed_out": True, "exit": -signal.SIGKILL, "seconds": seconds, "peak_memory_mb": 0.0}
        except OSError:
            pass
        if not answer:
            self._restart()
            raise SandboxError("the warm process ended during a job")
        result: dict[str, Any] = json.loads(answer)
        return result

    def _restart(self) -> None:
        self._stop()
        self._start()


def _end(control: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """End the warm process, which clears up after its last job first."""
    control.close()
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment() -> dict[str, str]:
    """What the warm process needs to find its modules, and nothing of what the function was given."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return kept | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        **MALLOC,
    }
