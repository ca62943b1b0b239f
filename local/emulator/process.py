"""An AWS emulator of one's own: ministack, on loopback and a free port, with IAM enforcement."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
import httpx
import psutil

from kafka_poller.broker import die_with_parent

ROOT: Final = Path(__file__).parents[2]
REGION: Final = "us-east-1"
ACCOUNT: Final = "000000000000"
LOG: Final = "emulator.log"
APPLICATION: Final = "local.emulator.emulated_aws:app"
FAULTY: Final = "local.emulator.faulty_aws:app"
"""The emulator, with faults as tests ask for them."""
ENVIRONMENTS: Final = max(4, os.cpu_count() or 1)
"""Of a function, at most."""
START_SECONDS: Final = 60
STOP_SECONDS: Final = 2
"""It keeps nothing for a next time, so it need not be waited for long."""

_OPERATOR: Final = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
}
"""The emulator's root credentials; whatever else calls it has the rights of its own role only."""


class EmulatorError(Exception):
    """The emulator did not start, or died; the message says where its log is."""


@dataclass(frozen=True)
class Emulator:
    """A running emulator: where it answers, and where it keeps its files and its log."""

    endpoint_url: str
    folder: Path

    def problem(self) -> str | None:
        """Why it can do nothing any more, if so; one that is merely slow is well."""
        try:
            httpx.get(f"{self.endpoint_url}/_ministack/health", timeout=30)
        except httpx.ConnectError:
            return f"the emulator has ended; its log is {self.folder / LOG}"
        except httpx.TransportError:
            return None
        return None

    @property
    def environment(self) -> dict[str, str]:
        """Environment in which any AWS tool talks to this emulator, and to nothing else, as its root user."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return inherited | _OPERATOR | {"AWS_ENDPOINT_URL": self.endpoint_url}

    def client(self, service: str) -> Any:
        """A boto3 client as the emulator's root user."""
        return boto3.client(  # type: ignore[call-overload]  # the stubs know services by literal names only
            service,
            endpoint_url=self.endpoint_url,
            region_name=REGION,
            aws_access_key_id=_OPERATOR["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=_OPERATOR["AWS_SECRET_ACCESS_KEY"],
        )


@contextmanager
def running(folder: Path, address: str | None = None, application: str = APPLICATION) -> Iterator[Emulator]:
    """Start an emulator that keeps its files in `folder`, and stop it with every process it started.

    It listens on loopback, and on `address` of this machine if one is given.

    Raises:
        EmulatorError: it did not come up within `START_SECONDS`.
    """
    shutil.rmtree(folder / "s3", ignore_errors=True)  # it starts with nothing
    port = _free_port()
    log = folder / LOG
    with log.open("ab") as output:
        process = subprocess.Popen(  # our own interpreter, no shell
            [
                *(sys.executable, "-m", "hypercorn", application),
                *(f"--bind={host}:{port}" for host in ("127.0.0.1", address) if host),
                *("--keep-alive", "75", "--workers", "0", "--log-level", "WARNING"),
            ],
            cwd=ROOT,
            env=_environment(folder, port),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent if sys.platform == "linux" else None,
        )
    try:
        emulator = Emulator(f"http://127.0.0.1:{port}", folder)
        _await_health(emulator, process, log)
        yield emulator
    finally:
        _stop(process)


def _environment(folder: Path, port: int) -> dict[str, str]:
    temporary = folder / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(temporary),
        "TZ": "UTC",  # as in Athena and Lambda
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_REGION": REGION,
        "STATE_DIR": str(folder / "state"),
        "S3_DATA_DIR": str(folder / "s3"),
        "S3_PERSIST": "1",  # a laptop has more disk than memory
        "LAMBDA_RUNTIME_PYTHON": str(ROOT / ".venv-lambda" / "bin" / "python"),
        "LAMBDA_ACCOUNT_CONCURRENCY": "0",  # events wait instead, see emulated_aws
        "AUTH": "true",
        "LOG_LEVEL": "INFO",
    } | _OPERATOR


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_health(emulator: Emulator, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise EmulatorError(f"the emulator ended with exit code {process.returncode}; its log is {log}")
        try:
            if httpx.get(f"{emulator.endpoint_url}/_ministack/health", timeout=2).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise EmulatorError(f"the emulator did not answer within {START_SECONDS} s; its log is {log}")


def _descends(process: psutil.Process, ancestor: int) -> bool:
    """Whether a process is of the session, or a child of a child; who outlives its parent keeps its session."""
    try:
        return os.getsid(process.pid) == ancestor or ancestor in (parent.pid for parent in process.parents())
    except (OSError, psutil.Error):
        return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the emulator, then whatever function processes it leaves behind."""
    family = [one for one in psutil.process_iter() if one.pid != process.pid and _descends(one, process.pid)]
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in family:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=STOP_SECONDS)
