"""What `imagelake events publish` accepts, asks of the function, says, and ends with; the function is a stand-in."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from imagelake_cli import connection
from imagelake_cli.main import app
from imagelake_cli.publishing import Publishing
from tests.unit.stack_function import StackFunction


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> StackFunction:
    made = StackFunction(lambda _: {"published": 3, "after": None})
    monkeypatch.setattr(connection, "publishing", lambda *_: Publishing(made, made.NAME))  # type: ignore[arg-type]  # as much of a client as is called
    return made


def publish(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["events", "publish", *arguments])


def test_one_hour_is_asked_for_as_keys_name_it(function: StackFunction) -> None:
    result = publish("--hour", "2026-11-22T09")

    assert function.asked == [{"hour": "ingest_date=2026-11-22/hour=09", "after": ""}]
    assert result.exit_code == 0
    assert "3 events of 1 hour published" in result.stderr


def test_an_hour_is_asked_for_until_there_is_no_more(function: StackFunction) -> None:
    answers: Iterator[dict[str, Any]] = iter([{"published": 2, "after": "an-image"}, {"published": 1, "after": None}])
    function.answer = lambda _: next(answers)

    result = publish("--hour", "2026-11-22T09", "--json")

    assert [one["after"] for one in function.asked] == ["", "an-image"]
    assert json.loads(result.stdout) == {"hour": "ingest_date=2026-11-22/hour=09", "published": 3}


def test_a_span_is_every_hour_of_it(function: StackFunction) -> None:
    assert publish("--from", "2026-11-22T22", "--to", "2026-11-23T00").exit_code == 0

    assert [one["hour"][-2:] for one in function.asked] == ["22", "23", "00"]


def test_a_function_that_fails_says_why_and_what_to_do(function: StackFunction) -> None:
    function.answer = lambda _: {"errorMessage": "ThrottlingException on PutEvents"}

    result = publish("--hour", "2026-11-22T09")

    assert result.exit_code == 1
    assert "ThrottlingException on PutEvents. Run the command again" in " ".join(result.stderr.split())
