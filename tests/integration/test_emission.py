"""What functions emit of an image on its way, and that its id and where it came from are in their logs.

The lake as a whole is asked in `tests/e2e/test_alarms.py`.
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import UUID

import pytest

from functions.http_api.app import handler as http_api
from functions.publish_outcomes.app import handler as publish_outcomes
from functions.write_catalog.app import handler as write_catalog
from imagelake.engine.contract import MAX_MEMORY_MB, MAX_SECONDS
from imagelake.ingest.kafka_record import lag_of
from imagelake.model import ImageRecord
from imagelake.stores.images_table import serialize
from local.emulator.datapoints import Datapoint, in_logs
from tests.application import as_caller, event, resources
from tests.integration.conftest import CALLER, IMAGES_TABLE, RAW_BUCKET, Context, client, created, stream_of
from tests.integration.test_forged_answers import KEY, forged, item, put, setting
from tests.workflow import StateError, Workflow

type Read = Callable[[], list[Datapoint]]


@pytest.fixture
def emitted(capsys: pytest.CaptureFixture[str]) -> Read:
    """What was emitted since the last call."""
    return lambda: list(in_logs(capsys.readouterr().out.splitlines()))


def named(found: list[Datapoint], name: str) -> list[float]:
    return [one.value for one in found if one.name == name]


def lines_of(logs: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in logs.getvalue().splitlines()]


def test_an_image_is_counted_where_it_is_received_and_timed_in_each_step(workflow: Workflow, emitted: Read) -> None:
    put(KEY)
    workflow.run(created(str(KEY)))

    found = emitted()
    assert named(found, "ImagesReceived") == [1]
    assert named(found, "DuplicatesAbsorbed") == []
    assert {one.of("step") for one in found if one.name == "StepLatency"} == {"start", "process"}
    [milliseconds] = named(found, "ScriptTime")
    [megabytes] = named(found, "ScriptMemory")
    [process] = [one.value for one in found if one.of("step") == "process"]
    assert 0 < milliseconds < process
    assert 10 < megabytes < 2000

    workflow.run(created(str(KEY)))

    assert (named(again := emitted(), "ImagesReceived"), named(again, "DuplicatesAbsorbed")) == ([], [1])


def test_a_file_that_needs_no_process_has_no_script_time(workflow: Workflow, emitted: Read) -> None:
    client("s3").put_object(Bucket=RAW_BUCKET, Key=str(KEY), Body=b"no image", ContentType="image/png")
    workflow.run(created(str(KEY)))

    assert item(KEY.image_id)["status"] == "rejected"
    assert named(emitted(), "ScriptTime") == []


@pytest.mark.parametrize(
    "forge",
    [
        setting("seconds", to=MAX_SECONDS + 1),
        setting("seconds", to=-1),
        setting("seconds", to=float("nan")),
        setting("peak_memory_mb", to=MAX_MEMORY_MB + 1),
        setting("peak_memory_mb", to=float("inf")),
        setting("peak_memory_mb", to="1"),
    ],
)
def test_a_measure_that_no_engine_has_is_not_counted(forge: Any, workflow: Workflow, emitted: Read) -> None:
    put(KEY)
    forged(workflow, forge)

    found = emitted()
    assert item(KEY.image_id)["reason"].startswith("engine_answer_invalid")
    assert (named(found, "ScriptTime"), named(found, "EngineAnswersInvalid")) == ([], [1])


@pytest.mark.parametrize("name", ["seconds", "peak_memory_mb"])
def test_an_engine_of_an_earlier_version_that_does_not_measure_is_believed(
    name: str, workflow: Workflow, emitted: Read
) -> None:
    put(KEY)
    forged(workflow, lambda answer: {field: value for field, value in answer.items() if field != name})

    assert item(KEY.image_id)["status"] == "processed"
    assert named(emitted(), "ScriptTime") == []


def test_each_form_of_a_batch_is_a_requested_upload(
    tell: Callable[[str], Context], emitted: Read, logs: StringIO
) -> None:
    body = json.dumps({"uploads": [{"content_type": "image/png"}] * 3})
    request = as_caller(event("http_api"), CALLER, "uploaders") | {"body": body}
    answer = json.loads(http_api(request, tell("http_api"))["body"])

    assert named(emitted(), "UploadsRequested") == [3]
    [line] = lines_of(logs)
    assert line["image_ids"] == [one["image_id"] for one in answer["uploads"]]
    assert line["correlation_id"] == request["requestContext"]["requestId"]


def test_a_row_is_timed_from_its_arrival_and_from_its_outcome(
    tell: Callable[[str], Context], workflow: Workflow, emitted: Read, logs: StringIO
) -> None:
    put(KEY)
    workflow.run(created(str(KEY)))
    made = item(KEY.image_id)
    emitted()

    batch = stream_of(ImageRecord.model_validate(made).to_item())
    batch["Records"][0]["dynamodb"]["ApproximateCreationDateTime"] = datetime.now(UTC).timestamp() - 20
    write_catalog(batch, tell("write_catalog"))

    found = emitted()
    [since_arrival], [since_outcome] = named(found, "ArrivalToCatalog"), named(found, "StepLatency")
    age = datetime.now(UTC) - datetime.fromisoformat(made["received_at"])
    assert since_arrival == pytest.approx(age.total_seconds() * 1000, abs=10_000)
    assert since_outcome == pytest.approx(20_000, abs=10_000)

    # What the saved queries ask for is there; Lambda adds what begins with @.
    logged = {field for line in lines_of(logs) for field in line} | {"reason"}
    for query in resources("AWS::Logs::QueryDefinition").values():
        text = re.sub(r'#.*|"[^"]*"', "", query["Properties"]["QueryString"])
        own = set(re.findall(r"(?<![@\w])[a-z_]+(?![\w(])", text)) - WORDS_OF_QUERIES
        assert own <= logged, "a query asks for a field that nobody logs"

    # The image's id, and that of the request it came by, find it in the logs of all these functions.
    for wanted in (KEY.image_id, made["source_ref"]):
        told = {line["message"] for line in lines_of(logs) if wanted in json.dumps(line)}
        assert told >= {"image open", "image processed", "rows written"}


BEFORE: dict[str, tuple[dict[str, Any], bool]] = {
    "nothing": ({}, True),
    "its form": ({"status": "awaiting_upload"}, True),
    "a start by reconcile": ({"status": "awaiting_upload", "attempts": 1}, False),
    "a failure": ({"status": "failed", "reason": "fault: of a test"}, False),
    "a rejection, redriven": ({"status": "rejected", "reason": "script_error: of a test", "redriven_at": "now"}, False),
}


@pytest.mark.parametrize("before", BEFORE)
def test_only_the_first_attempt_says_how_long_an_image_waits_for_its_answer(
    before: str, workflow: Workflow, tell: Callable[[str], Context], emitted: Read
) -> None:
    attributes, is_first = BEFORE[before]
    if attributes:
        place = {"image_id": KEY.image_id, "ingest_date": KEY.hour.ingest_date, "hour": KEY.hour.hour}
        client("dynamodb").put_item(TableName=IMAGES_TABLE, Item=serialize(place | attributes))
    put(KEY)
    workflow.run(created(str(KEY)))
    publish_outcomes(stream_of(plain(item(KEY.image_id))), tell("publish_outcomes"))

    found = emitted()
    assert named(found, "ImagesProcessed") == [1]
    assert len(named(found, "ArrivalToAnswer")) == is_first
    assert len([one for one in found if one.of("step") == "start"]) == is_first


@pytest.mark.parametrize(("attempts", "is_first"), [(0, True), (3, False)])
def test_a_failure_at_the_first_attempt_is_an_answer_too(
    attempts: int, is_first: bool, workflow: Workflow, tell: Callable[[str], Context], emitted: Read
) -> None:
    started = {"status": "awaiting_upload", "attempts": attempts} if attempts else {"status": "awaiting_upload"}
    place = {"image_id": KEY.image_id, "ingest_date": KEY.hour.ingest_date, "hour": KEY.hour.hour}
    client("dynamodb").put_item(TableName=IMAGES_TABLE, Item=serialize(place | started))
    put(KEY)

    def refuse(_payload: Any) -> Any:
        raise StateError("Fault", json.dumps({"errorMessage": "AccessDenied on GetObject"}))

    replace(workflow, functions={**workflow.functions, "open_image": refuse}).run(created(str(KEY)))
    failed = plain(item(KEY.image_id))
    del failed["reported_at"]  # as the stream brings it first
    publish_outcomes(stream_of(failed), tell("publish_outcomes"))

    assert (failed["status"], failed["attempts"]) == ("failed", attempts)
    assert len(named(emitted(), "ArrivalToAnswer")) == is_first


def plain(stored: dict[str, Any]) -> dict[str, Any]:
    """An item with numbers as JSON has them."""
    return dict(json.loads(json.dumps(stored, default=float)))


def test_a_batch_names_its_images_in_lines_of_a_hundred(tell: Callable[[str], Context], logs: StringIO) -> None:
    arrived = {"status": "processed", "received_at": NOW, "expires_at": datetime(2100, 1, 1, tzinfo=UTC)}
    arrived |= {"ingest_date": "2026-11-28", "hour": "12"}
    records = [
        ImageRecord.model_validate(arrived | {"image_id": str(UUID(int=number))}).to_item() for number in range(201)
    ]

    write_catalog(stream_of(*records), tell("write_catalog"))

    named = [line["image_ids"] for line in lines_of(logs) if line["message"] == "rows written"]
    assert [len(some) for some in named] == [100, 100, 1]
    assert {one for some in named for one in some} == {record["image_id"] for record in records}
    [written] = [line for line in lines_of(logs) if line["message"] == "catalog written"]
    assert (written["records"], "image_ids" in written) == (201, False)


WORDS_OF_QUERIES = {"fields", "filter", "sort", "stats", "by", "as", "asc", "desc", "limit", "like", "in"}
WORDS_OF_QUERIES |= {"images", "for_example"}  # names that a query gives itself
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def at(**ago: float) -> dict[str, Any]:
    return {"timestamp": int((NOW - timedelta(**ago)).timestamp() * 1000)}


@pytest.mark.parametrize(
    ("partitions", "seconds"),
    [
        ([[at(seconds=90), at(seconds=60)]], 60),
        ([[at(seconds=2)], [at(seconds=600), at(seconds=500)]], 500),
        ([[at(days=20_000), at(seconds=1)]], 1),
        ([[at(seconds=5), {}, "text", {"timestamp": -1}, {"timestamp": True}]], 5),
        ([[{"timestamp": None}]], None),
        ([], None),
    ],
)
def test_the_lag_is_that_of_the_partition_that_is_furthest_behind(partitions: Any, seconds: float | None) -> None:
    lag = lag_of(partitions, NOW)

    assert (lag and lag.total_seconds()) == seconds
