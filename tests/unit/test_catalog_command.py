"""What `imagelake catalog rebuild` accepts, asks of the function, says, and ends with; the function is a stand-in."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner, Result

from imagelake_cli import connection
from imagelake_cli.main import app
from imagelake_cli.rebuilding import CatalogRebuilding
from tests.unit.stack_function import StackFunction

COMPLETE = {"state": "complete", "items": 9, "rows": 9, "missing": 0, "restored": 0, "finished": True}
REBUILT = {"state": "rebuilt", "items": 9, "rows": 6, "missing": 3, "restored": 3, "finished": True}


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> StackFunction:
    made = StackFunction(lambda _: COMPLETE)
    monkeypatch.setattr(connection, "catalog_rebuilding", lambda *_: CatalogRebuilding(made, made.NAME))  # type: ignore[arg-type]  # as much of a client as is called
    return made


def rebuild(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["catalog", "rebuild", *arguments])


def test_one_hour_is_asked_for_as_keys_name_it(function: StackFunction) -> None:
    result = rebuild("--hour", "2026-11-22T09")

    assert function.asked == [{"hour": "ingest_date=2026-11-22/hour=09", "dry_run": False}]
    assert result.exit_code == 0
    assert "0 of 0 missing rows restored; 1 hour complete" in result.stderr


def test_a_span_is_every_hour_of_it_in_any_order(function: StackFunction) -> None:
    assert rebuild("--from", "2026-11-22T22", "--to", "2026-11-23T01", "--dry-run").exit_code == 0

    hours = [
        f"ingest_date=2026-11-{day}/hour={hour}"
        for day, hour in (("22", "22"), ("22", "23"), ("23", "00"), ("23", "01"))
    ]
    assert sorted(one["hour"] for one in function.asked) == hours
    assert all(one["dry_run"] for one in function.asked)


def test_all_hours_end_with_those_that_are_purged(function: StackFunction) -> None:
    now = datetime.now(UTC)
    due = f"{now - timedelta(days=2):ingest_date=%Y-%m-%d/hour=%H}"
    function.answer = lambda asked: COMPLETE | ({"state": "due"} if asked["hour"] < due else {})

    assert rebuild("--all").exit_code == 0

    assert 49 <= len(function.asked) < 80


def test_an_hour_is_asked_for_until_it_is_finished(function: StackFunction) -> None:
    answers = iter([REBUILT | {"state": "incomplete", "restored": 2, "finished": False}, REBUILT | {"restored": 1}])
    function.answer = lambda _: next(answers)

    result = rebuild("--hour", "2026-11-22T09", "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"hour": "ingest_date=2026-11-22/hour=09"} | {
        name: REBUILT[name] for name in ("state", "items", "rows", "missing", "restored")
    }


def test_the_table_shows_hours_with_a_loss(function: StackFunction) -> None:
    function.answer = lambda asked: REBUILT if asked["hour"].endswith("10") else COMPLETE

    result = rebuild("--from", "2026-11-22T09", "--to", "2026-11-22T11")

    [_, line] = result.stdout.splitlines()
    assert line.split() == ["ingest_date=2026-11-22/hour=10", "rebuilt", "9", "6", "3", "3"]
    assert "3 of 3 missing rows restored; 2 hours complete" in result.stderr


def test_rows_that_stay_missing_end_it_with_a_code_of_their_own(function: StackFunction) -> None:
    function.answer = lambda _: REBUILT | {"state": "incomplete", "restored": 0}

    assert rebuild("--hour", "2026-11-22T09", "--dry-run").exit_code == 3


def test_a_function_that_fails_is_said_with_its_reason(function: StackFunction) -> None:
    function.answer = lambda _: {"errorMessage": "AccessDenied on Query"}

    result = rebuild("--hour", "2026-11-22T09")

    assert result.exit_code == 1
    assert "AccessDenied on Query. Run the command again" in result.stderr


def test_a_function_that_gets_nowhere_is_not_asked_forever(function: StackFunction) -> None:
    function.answer = lambda _: REBUILT | {"state": "incomplete", "restored": 0, "finished": False}

    result = rebuild("--hour", "2026-11-22T09")

    assert (result.exit_code, len(function.asked)) == (1, 3)
    assert "keep changing" in result.stderr


def test_what_aws_refuses_is_said(function: StackFunction) -> None:
    def refuse(_: dict[str, Any]) -> dict[str, Any]:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not yours"}}, "Invoke")

    function.answer = refuse

    assert "not yours" in rebuild("--hour", "2026-11-22T09").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give one of"),
        (["--hour", "2026-11-22T09", "--all"], "give one of"),
        (["--to", "2026-11-22T09", "--all"], "needs --from"),
        (["--hour", "yesterday"], "is not an hour"),
        (["--hour", "2026-13-45T09"], "is not an hour"),
        (["--from", "2026-11-22T09", "--to", "2026-11-22T08"], "must not be after"),
        (["--from", "2020-11-22T09"], "31 days"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_asked(
    arguments: list[str], said: str, function: StackFunction
) -> None:
    result = rebuild(*arguments)

    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert function.asked == []
