"""What `imagelake redrive` accepts, asks of the function, says, and ends with; the function is a stand-in."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner, Result

from imagelake.process import redrive as domain
from imagelake_cli import connection, redrive, redriving
from imagelake_cli.main import app
from imagelake_cli.redriving import ImageRedriving
from tests.unit.stack_function import StackFunction


class Function(StackFunction):
    """It has some images, and a result for each."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.images: dict[str, str] = {}
        self.pages: list[dict[str, Any]] = []

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "hour" in request:
            return self.pages.pop(0) if self.pages else found()
        done = "redrivable" if request["dry_run"] else "redriven"
        return {
            "images": [
                {"image_id": one, "result": self.images.get(one, done), "status": "rejected", "code": "script_error"}
                for one in request["image_ids"]
            ]
        }


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> Function:
    made = Function()
    monkeypatch.setattr(connection, "image_redriving", lambda *_: ImageRedriving(made, made.NAME))  # type: ignore[arg-type]  # as much of a client as is called
    return made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["redrive", *arguments])


def found(*image_ids: str, after: str | None = None, final: int = 0) -> dict[str, Any]:
    images = [{"image_id": one, "status": "rejected", "code": "script_error"} for one in image_ids]
    return {"images": images, "final": final, "after": after}


def test_images_are_redriven_by_id_each_once(function: Function) -> None:
    result = run("one", "two", "one")

    assert function.asked == [{"image_ids": ["one", "two"], "dry_run": False}]
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "one  rejected  script_error  started again",
        "two  rejected  script_error  started again",
    ]
    assert "2 images started again" in result.stderr


def test_an_hour_is_searched_to_its_end_and_what_is_found_is_redriven(function: Function) -> None:
    function.pages = [found("one", "two", after="two", final=1), found("three", final=2)]

    result = run("--hour", "2026-11-22T09", "--code", "script_error", "--json")

    hour = {"hour": "ingest_date=2026-11-22/hour=09", "code": "script_error"}
    assert function.asked == [
        hour | {"after": ""},
        {"image_ids": ["one", "two"], "dry_run": False},
        hour | {"after": "two"},
        {"image_ids": ["three"], "dry_run": False},
    ]
    assert [json.loads(line)["image_id"] for line in result.stdout.splitlines()] == ["one", "two", "three"]
    assert "3 images started again; another try cannot change 3 others" in result.stderr
    assert result.exit_code == 0


def test_many_images_are_redriven_some_at_a_time(function: Function) -> None:
    function.pages = [found(*map(str, range(60)))]

    assert run("--from", "2026-11-22T09", "--to", "2026-11-22T10").exit_code == 0

    assert [len(one["image_ids"]) for one in function.asked if "image_ids" in one] == [25, 25, 10]
    assert [one["hour"][-2:] for one in function.asked if "hour" in one] == ["09", "10"]


def test_a_dry_run_says_what_can_be_redriven(function: Function) -> None:
    function.pages = [found("one")]

    result = run("--hour", "2026-11-22T09", "--dry-run")

    assert function.asked[-1] == {"image_ids": ["one"], "dry_run": True}
    assert "1 image can be redriven" in result.stderr
    assert result.exit_code == 0
    function.pages = [found()]
    assert "0 images can be redriven" in run("--hour", "2026-11-22T09", "--dry-run").stderr


@pytest.mark.parametrize("result", ["final", "processed", "waiting", "changed", "unknown", "gone"])
def test_an_image_that_is_not_redriven_is_said_in_a_sentence_and_ends_with_a_code_of_its_own(
    result: str, function: Function
) -> None:
    function.images = {"two": result}

    ended = run("one", "two")

    assert "two  rejected  script_error  not redriven: " in ended.stdout
    assert "1 image started again, 1 not" in ended.stderr
    assert ended.exit_code == 3


def test_command_and_function_know_the_same_results_and_sizes() -> None:
    results = set(domain.Result.__value__.__args__)

    assert set(redrive.SAID) == results
    assert set(redriving.Redriven.model_fields["result"].annotation.__args__) == results  # type: ignore[union-attr]  # a Literal
    assert redriving.AT_ONCE <= domain.AT_ONCE


def test_a_function_that_fails_is_said_with_its_reason(function: Function) -> None:
    function.answer = lambda _: {"errorMessage": "AccessDenied on Query"}

    result = run("--hour", "2026-11-22T09")

    assert result.exit_code == 1
    assert "AccessDenied on Query. Run the command again" in result.stderr


def test_what_aws_refuses_is_said(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not yours"}}, "Invoke")

    monkeypatch.setattr(function, "invoke", refuse)

    assert "not yours" in run("one").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give one of image ids, --hour"),
        (["one", "--hour", "2026-11-22T09"], "not both"),
        (["one", "--all"], "not both"),
        (["one", "--code", "script_error"], "goes with hours"),
        (["--hour", "2026-11-22T09", "--all"], "give one of"),
        (["--hour", "yesterday"], "is not an hour"),
        (["--to", "2026-11-22T09", "--all"], "needs --from"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_asked(arguments: list[str], said: str, function: Function) -> None:
    result = run(*arguments)

    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert function.asked == []
