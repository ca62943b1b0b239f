"""What `imagelake events publish` accepts, asks of the function, says, and ends with; the function is a stand-in."""

import io
import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from imagelake_cli import connection
from imagelake_cli.main import app
from imagelake_cli.publishing import Publishing


class Function:
    """What answers instead of the stack's function, in its order; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803  # boto3's names
        assert FunctionName == "function"
        request = json.loads(Payload)
        self.asked.append(request)
        answer = self.answers.pop(0) if self.answers else {"published": 3, "after": None}
        failed = {"FunctionError": "Unhandled"} if "errorMessage" in answer else {}
        return {"Payload": io.BytesIO(json.dumps({"hour": request["hour"]} | answer).encode())} | failed


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> Function:
    made = Function()
    monkeypatch.setattr(connection, "publishing", lambda *_: Publishing(made, "function"))  # type: ignore[arg-type]  # as much of a client as is called
    return made


def publish(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["events", "publish", *arguments])


def test_one_hour_is_asked_for_as_keys_name_it(function: Function) -> None:
    result = publish("--hour", "2026-11-22T09")

    assert function.asked == [{"hour": "ingest_date=2026-11-22/hour=09", "after": ""}]
    assert result.exit_code == 0
    assert "3 events put, of 1 hours" in result.stderr


def test_an_hour_is_asked_for_until_there_is_no_more(function: Function) -> None:
    function.answers = [{"published": 2, "after": "an-image"}, {"published": 1, "after": None}]

    result = publish("--hour", "2026-11-22T09", "--json")

    assert [one["after"] for one in function.asked] == ["", "an-image"]
    assert json.loads(result.stdout) == {"hour": "ingest_date=2026-11-22/hour=09", "published": 3}


def test_a_span_is_every_hour_of_it(function: Function) -> None:
    assert publish("--from", "2026-11-22T22", "--to", "2026-11-23T00").exit_code == 0

    assert [one["hour"][-2:] for one in function.asked] == ["22", "23", "00"]


def test_a_function_that_fails_says_why_and_what_to_do(function: Function) -> None:
    function.answers = [{"errorMessage": "ThrottlingException on PutEvents"}]

    result = publish("--hour", "2026-11-22T09")

    assert result.exit_code == 1
    assert "ThrottlingException on PutEvents. Run the command again" in " ".join(result.stderr.split())
