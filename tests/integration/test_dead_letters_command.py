"""What `imagelake dead-letters` shows of a queue, and that it leaves everything there."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from imagelake.model import DeadLetter
from imagelake.stores import dead_letters
from imagelake_cli import connection
from imagelake_cli.dead_letter_queue import DeadLetterQueue
from imagelake_cli.main import app
from tests.integration.conftest import QUEUE_URL, client


@pytest.fixture(autouse=True)
def _queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "dead_letter_queue", lambda *_: DeadLetterQueue(client("sqs"), QUEUE_URL))


def send(*letters: DeadLetter) -> None:
    for letter in letters:
        dead_letters.DeadLetterQueue(QUEUE_URL).report(letter)


def letter(number: int, code: str = "script_error") -> DeadLetter:
    return DeadLetter(image_id=f"image-{number:02}", status="rejected", reason=f"{code}: as the test says")


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(app, ["dead-letters", *arguments])
    assert result.exit_code == 0, result.stderr
    return result


def listed(*arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(*arguments, "--json").stdout.splitlines()]


def test_an_empty_queue_has_no_messages() -> None:
    assert listed() == []
    assert "0 messages" in run().stderr


def test_every_message_is_listed_and_stays_to_be_listed_again() -> None:
    send(*(letter(number) for number in range(25)))

    first, second = listed(), listed()

    assert first == second
    assert sorted(one["image_id"] for one in first) == [f"image-{number:02}" for number in range(25)]
    assert first[0].keys() == {"sent_at", "image_id", "status", "code", "message"}
    assert {(one["status"], one["code"]) for one in first} == {("rejected", "script_error")}
    assert first[0]["message"]["reason"] == "script_error: as the test says"


def test_a_code_chooses_among_them() -> None:
    send(letter(1), letter(2, "corrupt"), letter(3))

    assert sorted(one["image_id"] for one in listed("--code", "script_error")) == ["image-01", "image-03"]
    assert "1 message\n" in run("--code", "corrupt").stderr


EVENTS = {
    json.dumps({"detail-type": "Object Created", "source": "aws.s3"}): "Object Created",
    json.dumps({"source": "aws.scheduler"}): "aws.scheduler",
    json.dumps({"version": "1.0", "DDBStreamBatchInfo": {}}): "version, DDBStreamBatchInfo",
    "{}": "an event that says nothing",
    "[1]": "an event that says nothing",
    "no JSON": "an event that says nothing",
}


def test_an_event_that_is_no_message_of_ours_is_listed_as_what_it_is() -> None:
    for body in EVENTS:
        client("sqs").send_message(QueueUrl=QUEUE_URL, MessageBody=body)

    lines = run().stdout.splitlines()

    assert sorted(line.partition("  ")[2] for line in lines) == sorted(f"-  -  {shown}" for shown in EVENTS.values())
    assert {(one["image_id"], one["code"]) for one in listed()} == {(None, None)}
