"""`python -m kafka_poller send` with a broker, without one, and with one that stops to answer."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from typer.testing import CliRunner, Result

from kafka_poller import __main__ as command
from kafka_poller import broker

NOWHERE = "127.0.0.1:9"


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    with broker.running() as address:
        for topic in ("images", "one"):
            broker.create_topic(address, topic, partitions=1)
        yield address


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(b"a picture")
    return picture


def send(*arguments: object) -> Result:
    return CliRunner().invoke(command.app, ["send", *map(str, arguments)])


def test_a_picture_is_sent_with_its_headers(servers: str, picture: Path) -> None:
    result = send(picture, "-b", servers, "-t", "one", "--source", "me")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "1 of 1 sent\n", "")
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "reader", "auto.offset.reset": "earliest"})
    consumer.subscribe(["one"])
    message = consumer.poll(30)
    consumer.close()
    assert message is not None
    assert (message.value(), message.headers()) == (b"a picture", [("source", b"me")])


def test_what_is_too_large_is_named_and_the_others_are_sent(servers: str, picture: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(broker.MESSAGE_LIMIT + 1))

    result = send(large, picture, "-b", servers, "-t", "images")

    assert (result.exit_code, result.stdout) == (1, "1 of 2 sent\n")
    assert result.stderr.startswith(f"{large}: ")
    assert "large" in result.stderr.removeprefix(str(large))


def test_a_topic_that_is_not_there_is_said_and_not_made(servers: str, picture: Path) -> None:
    for _ in range(2):
        result = send(picture, "-b", servers, "-t", "image")

        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == "There is no topic image; there are: images, one.\n"


@pytest.mark.parametrize("address", [NOWHERE, "no port:at all"])
def test_a_broker_that_is_not_there_is_said_soon(
    address: str, picture: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "METADATA_SECONDS", 0.5)

    result = send(picture, "-b", address, "-t", "images")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"No broker answers at {address}: ")
    assert capfd.readouterr().err == ""


def test_what_no_broker_confirms_is_not_sent(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "FLUSH_SECONDS", 0.5)
    silent = Producer({"bootstrap.servers": NOWHERE, "log_level": 0})
    monkeypatch.setattr(command, "_producer", lambda *_: silent)

    result = send(picture, "-b", NOWHERE, "-t", "images")

    assert (result.exit_code, result.stdout) == (1, "0 of 1 sent\n")
    assert result.stderr == "1 not confirmed within 0.5 s\n"
