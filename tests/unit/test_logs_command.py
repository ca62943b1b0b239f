"""`imagelake logs`: the lines of an image are found in every log group, with those of the same invocations."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner, Result

from imagelake_cli import connection, image_logs
from imagelake_cli.image_logs import ImageLogs
from imagelake_cli.main import app

ARRIVED = datetime(2026, 11, 22, 9, tzinfo=UTC)
IMAGE_ID = str(UUID(int=(int(ARRIVED.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62) | 1))
OTHER = IMAGE_ID[:-1] + "2"
OF_KAFKA = "d50db15e-7244-5087-8aaf-35c0a3d9b0c0"
EXECUTION = "arn:aws:states:us-east-1:123456789012:express:lake:a:b"


class Logs:
    """Log groups with lines, which are found by a text in quotes and by their time, as CloudWatch does."""

    def __init__(self) -> None:
        self.lines: dict[str, list[tuple[datetime, str]]] = {"open": [], "catalog": [], "workflow": []}
        self.asked: list[dict[str, Any]] = []

    def write(self, group: str, seconds: float, line: Any) -> None:
        text = line if isinstance(line, str) else json.dumps(line)
        self.lines[group].append((ARRIVED + timedelta(seconds=seconds), text))

    def get_paginator(self, operation: str) -> "Logs":
        assert operation == "filter_log_events"
        return self

    def paginate(self, **asked: Any) -> Iterator[dict[str, Any]]:
        self.asked.append(asked)
        for at, line in self.lines[asked["logGroupName"]]:
            milliseconds = int(at.timestamp() * 1000)
            if (
                asked["filterPattern"].strip('"') in line
                and asked["startTime"] <= milliseconds
                and milliseconds <= asked["endTime"]
            ):
                yield {"events": [{"timestamp": milliseconds, "logStreamName": "stream", "message": line}]}


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Logs:
    made = Logs()
    groups = {"OpenImage": "open", "WriteCatalog": "catalog", "IngestImage": "workflow"}
    monkeypatch.setattr(connection, "image_logs", lambda *_: ImageLogs(made, groups))  # type: ignore[arg-type]  # as much of a client as is called
    return made


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["logs", *arguments])
    assert result.exit_code == code, result.output
    return result


def test_lines_of_all_groups_are_printed_by_time_with_those_of_the_same_invocation(logs: Logs) -> None:
    logs.write("catalog", 9, {"message": "written", "image_ids": [OTHER, IMAGE_ID], "function_request_id": "r2"})
    logs.write("open", 1, "START RequestId: r1 Version: 3")
    logs.write("open", 1, {"level": "INFO", "message": "image open", "image_id": IMAGE_ID, "function_request_id": "r1"})
    logs.write("open", 1, {"type": "platform.report", "record": {"requestId": "r1", "status": "success"}})
    logs.write("open", 1, {"message": "of another invocation", "function_request_id": "r9"})
    logs.write("catalog", 8, {"message": "of another image", "image_id": OTHER, "function_request_id": "r2"})

    shown = run(IMAGE_ID).stdout.splitlines()

    assert [line.split("  ")[0] for line in shown] == ["09:00:01.000"] * 3 + ["09:00:09.000"]
    assert [" ".join(line.split()[1:4]) for line in shown] == [
        "OpenImage - START",
        "OpenImage INFO image",
        "OpenImage - platform.report",
        "WriteCatalog - written",
    ]
    assert shown[1].endswith(f"image open  image_id={IMAGE_ID}")
    assert shown[2].endswith("requestId=r1  status=success")


def test_json_has_the_whole_line(logs: Logs) -> None:
    line = {"level": "INFO", "message": "image open", "image_id": IMAGE_ID}
    logs.write("open", 1.5, line)
    logs.write("open", 2, f"no JSON of {IMAGE_ID}\n")

    told = [json.loads(one) for one in run(IMAGE_ID, "--json").stdout.splitlines()]

    assert told == [
        {"time": "2026-11-22T09:00:01.500+00:00", "source": "OpenImage", "stream": "stream", "line": line},
        {
            "time": "2026-11-22T09:00:02.000+00:00", "source": "OpenImage", "stream": "stream",
            "line": f"no JSON of {IMAGE_ID}",
        },
    ]  # fmt: skip


def test_lines_of_the_workflow_are_found_by_the_execution_that_a_function_names(logs: Logs) -> None:
    logs.write("open", 1, {"message": "image open", "image_id": IMAGE_ID, "execution": EXECUTION})
    logs.write("workflow", 3, {"type": "ExecutionTimedOut", "execution_arn": EXECUTION})

    assert [json.loads(one)["source"] for one in run(IMAGE_ID, "--json").stdout.splitlines()] == [
        "OpenImage",
        "IngestImage",
    ]


def test_only_the_time_since_the_image_came_is_searched_where_its_id_says_when_that_was(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_logs, "LONGEST", timedelta(days=36_500))
    run(IMAGE_ID, code=3)
    since = {one["startTime"] for one in logs.asked}
    assert since == {int((ARRIVED - image_logs.EARLIER).timestamp() * 1000)}

    monkeypatch.setattr(image_logs, "LONGEST", timedelta(days=18))
    logs.asked.clear()
    run(OF_KAFKA, code=3)
    [since_kafka] = {one["startTime"] for one in logs.asked}
    assert abs(since_kafka / 1000 - (datetime.now(UTC) - timedelta(days=18)).timestamp()) < 60


def test_nothing_logged_is_said_and_ends_with_3(logs: Logs) -> None:
    logs.write("open", 1, {"message": "image open", "image_id": OTHER})

    assert f"{IMAGE_ID}: nothing was logged" in run(IMAGE_ID, code=3).stderr


def test_what_is_no_image_id_is_refused(logs: Logs) -> None:
    assert "is no image_id" in run("photo.jpg", code=2).stderr
    assert logs.asked == []
