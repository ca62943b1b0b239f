"""Images go through the workflow again when an operator asks: real function and workflow, on stores in process."""

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from boto3.dynamodb.types import TypeDeserializer
from pydantic import ValidationError

from functions.publish_outcomes.app import handler as publish_outcomes
from functions.reconcile.app import handler as reconcile
from functions.redrive_images.app import handler as redrive_images
from functions.write_catalog.app import handler as write_catalog
from imagelake.engine.reason_codes import OF_THE_FILE, Reason
from imagelake.keys import ArrivalHour, RawKey
from imagelake.model import Arrival, AwaitedUpload, ImageRecord, Tombstone
from imagelake.process import redrive
from imagelake.stores import ingest_workflow
from imagelake.stores.images_table import ImagesTable, serialize
from local.samples import Sample, make_samples
from tests.application import event
from tests.conftest import GivePipelines
from tests.integration.conftest import (
    IMAGES_TABLE,
    RAW_BUCKET,
    Context,
    client,
    dead_letters_sent,
    rejections_told,
    stream_of,
)
from tests.workflow import StateError, Workflow

SAMPLES = {sample.filename: sample for sample in make_samples()}
HILLS, NOTES, ICON = SAMPLES["hills.jpg"], SAMPLES["notes.jpg"], SAMPLES["icon.bmp"]
NOW = datetime.now(UTC)
HOUR = ArrivalHour.of(NOW)
MARKS = {"redriven_at", "unsettled_since"}

type Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(tell: Callable[[str], Context]) -> Ask:
    """Asks the function."""

    def ask(**request: Any) -> dict[str, Any]:
        return redrive_images(request, tell("redrive_images"))

    return ask


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The inputs that the workflow was started with; nothing runs by itself."""
    inputs: list[dict[str, Any]] = []

    class StepFunctions:
        def start_execution(self, stateMachineArn: str, input: str) -> None:  # noqa: A002, ARG002, N803
            inputs.append(json.loads(input))

    monkeypatch.setattr(ingest_workflow, "_step_functions", StepFunctions)
    return inputs


def put(sample: Sample, key: RawKey | None = None) -> RawKey:
    key = key or RawKey(HOUR, str(uuid.uuid4()))
    client("s3").put_object(
        Bucket=RAW_BUCKET,
        Key=str(key),
        Body=sample.content,
        ContentType=sample.content_type,
        Metadata=Arrival(source="api", uploader="ada").to_metadata(),
    )
    return key


def arrive(workflow: Workflow, sample: Sample) -> RawKey:
    """An image that goes through the workflow."""
    key = put(sample)
    made = event("object_created")
    made["detail"]["object"] = {"key": str(key)}
    workflow.run(made)
    return key


def rejected(code: str, hour: ArrivalHour = HOUR, status: str = "rejected", expires_at: datetime | None = None) -> str:
    """An image with this outcome; its image_id."""
    record = ImageRecord(
        image_id=str(uuid.uuid4()),
        status=status,
        received_at=NOW,
        processed_at=NOW,
        expires_at=expires_at or hour.start + timedelta(days=7, minutes=10),
        reason=f"{code}: as the test says",
        ingest_date=hour.ingest_date,
        hour=hour.hour,
    )
    client("dynamodb").put_item(TableName=IMAGES_TABLE, Item=serialize(record.to_item()))
    put(ICON, RawKey(hour, record.image_id))
    return record.image_id


def item(image_id: str) -> dict[str, Any]:
    stored = client("dynamodb").get_item(TableName=IMAGES_TABLE, Key={"image_id": {"S": image_id}}).get("Item", {})
    found = {name: TypeDeserializer().deserialize(value) for name, value in stored.items()}
    return dict(json.loads(json.dumps(found, default=float)))


def results(answer: dict[str, Any]) -> list[str]:
    return [one["result"] for one in answer["images"]]


def test_a_rejection_by_a_limit_that_was_raised_is_processed(
    workflow: Workflow, ask: Ask, started: list[dict[str, Any]], give_pipelines: GivePipelines
) -> None:
    give_pipelines(limits={"max_pixels": 1_000})
    key = arrive(workflow, HILLS)
    assert item(key.image_id)["status"] == "rejected"
    before = item(key.image_id)
    give_pipelines(limits={"max_pixels": 50_000_000})

    answer = ask(image_ids=[key.image_id])

    assert answer["images"] == [
        {"image_id": key.image_id, "result": "redriven", "status": "rejected", "code": "too_many_pixels"}
    ]
    marked = item(key.image_id)
    assert {name: value for name, value in marked.items() if name not in MARKS} == before, "its outcome stays"
    (given,) = started
    assert workflow.run(given)[-1] == "Finish"
    after = item(key.image_id)
    assert (after["status"], after["content_type"]) == ("processed", "image/jpeg")
    assert not {"redriven_at", "reported_at", "unsettled_since", "reason"} & after.keys()
    assert workflow.run(given)[-1] == "Skip duplicate"


def test_the_first_version_is_processed_and_no_other_is_made(
    workflow: Workflow, ask: Ask, started: list[dict[str, Any]]
) -> None:
    image_id = rejected("script_error")
    key = str(RawKey(HOUR, image_id))
    listed = client("s3").list_object_versions(Bucket=RAW_BUCKET, Prefix=key)["Versions"]
    put(HILLS, RawKey(HOUR, image_id))

    ask(image_ids=[image_id])
    workflow.run(started[0])

    assert started[0]["detail"]["object"] == {"key": key, "version-id": listed[0]["VersionId"]}
    assert item(image_id)["content_type"] == "image/bmp"
    assert len(client("s3").list_object_versions(Bucket=RAW_BUCKET, Prefix=key)["Versions"]) == 2


@pytest.mark.parametrize("code", Reason)
def test_what_a_file_is_at_fault_for_is_refused_and_all_else_is_redriven(
    code: Reason, ask: Ask, started: list[dict[str, Any]]
) -> None:
    image_id = rejected(code)

    answer = ask(image_ids=[image_id])

    assert results(answer) == ["final" if code in OF_THE_FILE else "redriven"]
    assert len(started) == (code not in OF_THE_FILE)
    assert ("redriven_at" in item(image_id)) == (code not in OF_THE_FILE)


def test_what_has_no_outcome_or_a_good_one_or_is_erased_or_expired_or_unknown_is_left_alone(
    ask: Ask, started: list[dict[str, Any]]
) -> None:
    awaited = str(uuid.uuid4())
    place = {"ingest_date": HOUR.ingest_date, "hour": HOUR.hour}
    ImagesTable(IMAGES_TABLE).expect_uploads(
        [AwaitedUpload(
            image_id=awaited, uploader="ada", received_at=NOW, expires_at=NOW + timedelta(days=1),
            content_type="image/png", **place,
        )]
    )  # fmt: skip
    erased = rejected("script_error")
    tombstone = Tombstone(image_id=erased, erased_at=NOW, expires_at=NOW + timedelta(days=7), **place)
    assert ImagesTable(IMAGES_TABLE).bury(tombstone)
    gone = rejected("script_error")
    client("s3").delete_object(
        Bucket=RAW_BUCKET,
        Key=(key := str(RawKey(HOUR, gone))),
        VersionId=client("s3").list_object_versions(Bucket=RAW_BUCKET, Prefix=key)["Versions"][0]["VersionId"],
    )
    asked = {
        awaited: "waiting",
        rejected("none", status="processed"): "processed",
        erased: "unknown",
        rejected("script_error", expires_at=NOW - timedelta(seconds=1)): "unknown",
        str(uuid.uuid4()): "unknown",
        gone: "gone",
    }
    before = [item(image_id) for image_id in asked]

    answer = ask(image_ids=list(asked))

    assert {one["image_id"]: one["result"] for one in answer["images"]} == asked
    assert [item(image_id) for image_id in asked] == before
    assert started == []


def test_an_image_that_is_erased_while_it_is_redriven_stays_erased(
    workflow: Workflow, ask: Ask, started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id = rejected("script_error")
    tombstone = Tombstone(
        image_id=image_id, erased_at=NOW, expires_at=NOW + timedelta(days=7), ingest_date=HOUR.ingest_date,
        hour=HOUR.hour,
    )  # fmt: skip
    mark = ImagesTable.admit_again

    def erased_before(table: ImagesTable, *arguments: Any) -> bool:
        table.bury(tombstone)
        return mark(table, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ImagesTable, "admit_again", erased_before)
        assert results(ask(image_ids=[image_id])) == ["changed"]
    assert (started, item(image_id)["status"]) == ([], "erased")

    later = rejected("script_error")
    ask(image_ids=[later])

    def erase(state: str) -> None:
        if state == "Catalog image":
            ImagesTable(IMAGES_TABLE).bury(tombstone.model_copy(update={"image_id": later}))

    workflow.before = erase
    assert "Move tombstone" in workflow.run(started[0])
    assert item(later)["status"] == "erased"


def test_a_dry_run_changes_nothing(ask: Ask, started: list[dict[str, Any]]) -> None:
    image_id = rejected("script_error")
    before = item(image_id)

    assert results(ask(image_ids=[image_id], dry_run=True)) == ["redrivable"]

    assert (item(image_id), started) == (before, [])


def test_an_hour_is_searched_by_code(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    other = ArrivalHour.of(NOW - timedelta(hours=2))
    errors = sorted(rejected("script_error") for _ in range(5))
    failed = rejected("fault", status="failed")
    rejected("script_error", other)
    rejected("script_error", expires_at=NOW - timedelta(seconds=1))
    final = [rejected("corrupt") for _ in range(2)]
    rejected("none", status="processed")

    everything = ask(hour=HOUR.path)

    assert sorted(one["image_id"] for one in everything["images"]) == sorted([*errors, failed])
    assert (everything["final"], everything["after"]) == (len(final), None)
    assert {(one["status"], one["code"]) for one in everything["images"]} == {
        ("rejected", "script_error"),
        ("failed", "fault"),
    }
    monkeypatch.setattr(redrive, "CANDIDATES", 2)
    found, after = [], ""
    while after is not None:
        answer = ask(hour=HOUR.path, code="script_error", after=after)
        found.append([one["image_id"] for one in answer["images"]])
        after = answer["after"]
    assert found == [errors[:2], errors[2:4], errors[4:]]


def test_a_redrive_that_is_rejected_again_is_told_again_and_has_one_current_row(
    workflow: Workflow, ask: Ask, started: list[dict[str, Any]], give_pipelines: GivePipelines, tell: Any
) -> None:
    changes: list[dict[str, Any]] = []
    give_pipelines(limits={"max_pixels": 1_000})
    key = arrive(workflow, HILLS)
    changes.append(item(key.image_id))

    ask(image_ids=[key.image_id])
    changes.append(item(key.image_id))
    workflow.run(started[0])
    changes.append(item(key.image_id))

    written = [write_catalog(stream_of(one), tell("write_catalog"))["records"] for one in changes]
    assert written == [1, 0, 1], "committed, marked, and committed again"
    publish_outcomes(stream_of(*changes), tell("publish_outcomes"))
    told = rejections_told()
    assert [one["reason_code"] for one in told] == ["too_many_pixels"] * 2
    assert len({one["id"] for one in told}) == 2
    assert changes[2]["processed_at"] > changes[0]["processed_at"], "the later row is the current one"
    assert not {"redriven_at"} & changes[2].keys()


def test_a_mark_on_an_image_of_an_earlier_version_is_no_row(ask: Ask, tell: Any) -> None:
    image_id = rejected("script_error")
    assert write_catalog(stream_of(item(image_id)), tell("write_catalog"))["records"] == 1

    ask(image_ids=[image_id])

    assert write_catalog(stream_of(item(image_id)), tell("write_catalog"))["records"] == 0


@pytest.mark.parametrize("status", ["rejected", "failed"])
def test_a_redrive_that_fails_is_reported_and_leaves_the_outcome(
    status: str, workflow: Workflow, ask: Ask, started: list[dict[str, Any]]
) -> None:
    image_id = rejected("script_error" if status == "rejected" else "fault", status=status)
    real = workflow.functions

    def fault(_: Any) -> Any:
        raise StateError("Lambda.Unknown", "not this time")

    ask(image_ids=[image_id])
    workflow.functions = dict(real) | {"process_image": fault}
    states = workflow.run(started[0])

    assert states[-1] == "Fail"
    (letter,) = dead_letters_sent()
    assert (letter["image_id"], letter["status"]) == (image_id, "failed")
    assert item(image_id)["status"] == status
    ask(image_ids=[image_id])
    workflow.functions = real
    assert workflow.run(started[1])[-1] == "Finish"
    assert item(image_id)["status"] == "processed"


@pytest.mark.parametrize(
    "request_",
    [{}, {"hour": HOUR.path, "image_ids": ["a"]}, {"image_ids": []}, {"image_ids": ["a", "a"]}, {"image_id": "a"},
     {"image_ids": [str(number) for number in range(101)]}],
)  # fmt: skip
def test_a_request_that_makes_no_sense_is_refused(request_: dict[str, Any], ask: Ask) -> None:
    with pytest.raises(ValidationError):
        ask(**request_)


def test_the_sample_event_is_answered(tell: Callable[[str], Context]) -> None:
    answer = redrive_images(event("redrive_images"), tell("redrive_images"))

    assert answer == asdict(redrive.Candidates(event("redrive_images")["hour"], [], 0, None))


def test_an_arrival_without_an_outcome_is_started_by_the_key_of_its_object(
    workflow: Workflow, ask: Ask, started: list[dict[str, Any]]
) -> None:
    key = put(HILLS)

    assert ask(keys=[str(key)], dry_run=True)["images"] == [
        {"image_id": key.image_id, "result": "redrivable", "status": None, "code": None}
    ]
    assert started == []
    assert results(ask(keys=[str(key)])) == ["redriven"]

    (given,) = started
    assert workflow.run(given)[-1] == "Finish"
    assert item(key.image_id)["status"] == "processed"
    assert results(ask(keys=[str(key)])) == ["processed"]
    assert len(started) == 1


def test_an_arrival_whose_upload_is_awaited_is_started_where_its_object_is_there(
    ask: Ask, started: list[dict[str, Any]]
) -> None:
    awaited = AwaitedUpload(
        image_id=str(uuid.uuid4()), received_at=NOW, expires_at=NOW + timedelta(days=1), source="api", uploader="ada",
        ingest_date=HOUR.ingest_date, hour=HOUR.hour, content_type="image/jpeg",
    )  # fmt: skip
    client("dynamodb").put_item(TableName=IMAGES_TABLE, Item=serialize(awaited.to_item()))
    key = RawKey(HOUR, awaited.image_id)

    assert results(ask(keys=[str(key)])) == ["gone"]
    put(HILLS, key)
    assert results(ask(keys=[str(key)])) == ["redriven"]
    assert [one["detail"]["object"]["key"] for one in started] == [str(key)]


def test_an_arrival_with_an_outcome_is_redriven_as_by_its_image_id(ask: Ask, started: list[dict[str, Any]]) -> None:
    final, failed = rejected(Reason.CORRUPT), rejected("fault", status="failed")

    assert results(ask(keys=[str(RawKey(HOUR, one)) for one in (final, failed)])) == ["final", "redriven"]
    assert len(started) == 1


def crowded(workflow: Workflow, given: dict[str, Any]) -> None:
    """Lambda has no room while the workflow runs."""

    def refuse(_: Any) -> Any:
        raise type("Lambda.TooManyRequestsException", (Exception,), {})("Rate Exceeded.")

    real = workflow.functions
    workflow.functions = dict(real) | {"open_image": refuse}
    assert workflow.run(given)[-1] == "Leave to reconcile"
    workflow.functions = real


def search(later: timedelta, tell: Callable[[str], Context]) -> dict[str, int]:
    """`reconcile`, that much later."""
    with time_machine.travel(datetime.now(UTC) + later, tick=False):
        return reconcile(event("reconcile"), tell("reconcile"))


@pytest.mark.parametrize(("status", "code"), [("failed", "fault"), ("rejected", "script_error")])
def test_a_redrive_that_ends_without_an_outcome_is_reported_again_once(
    status: str, code: str, workflow: Workflow, ask: Ask, started: list[dict[str, Any]], tell: Any
) -> None:
    """Its message was deleted when it was started, so it needs another."""
    image_id = rejected(code, status=status)
    key = str(RawKey(HOUR, image_id))
    assert results(ask(keys=[key])) == ["redriven"]
    crowded(workflow, started[0])
    assert dead_letters_sent() == []

    answers = [search(later, tell)["reported"] for later in (timedelta(minutes=34), *[timedelta(minutes=36)] * 2)]

    assert answers == [0, 1, 0], "not while a task for it may be at work"
    (letter,) = dead_letters_sent()
    assert (letter["image_id"], letter["key"], letter["code"], letter["step"]) == (image_id, key, "lost", "reconcile")
    assert letter["reason"].endswith(f"the image stays {status}: {code}: as the test says")
    assert (item(image_id)["status"], "unsettled_since" in item(image_id)) == (status, False)
    assert results(ask(keys=[key])) == ["redriven"]
    assert workflow.run(started[-1])[-1] == "Finish"
    assert (item(image_id)["status"], "unsettled_since" in item(image_id)) == ("processed", False)
    assert search(timedelta(hours=1), tell)["reported"] == 0


def test_a_redrive_that_fails_is_reported_with_its_own_reason_and_no_second_time(
    workflow: Workflow, ask: Ask, started: list[dict[str, Any]], tell: Any
) -> None:
    image_id = rejected("fault", status="failed")

    def fault(_: Any) -> Any:
        raise StateError("Lambda.Unknown", "not this time")

    ask(image_ids=[image_id])
    workflow.functions = dict(workflow.functions) | {"process_image": fault}
    assert workflow.run(started[0])[-1] == "Fail"

    (letter,) = dead_letters_sent()
    assert (letter["reason"], letter["step"]) == ("fault: Lambda.Unknown: not this time", "Process image")
    assert search(timedelta(hours=1), tell)["reported"] == 0
    assert dead_letters_sent() == []


def test_a_redrive_after_the_message_of_another_was_sent_is_not_closed_with_it(
    workflow: Workflow, ask: Ask, started: list[dict[str, Any]], tell: Any
) -> None:
    image_id = rejected("fault", status="failed")

    def fault(_: Any) -> Any:
        raise StateError("Lambda.Unknown", "not this time")

    def before(state: str) -> None:
        if state == "Close report":
            workflow.before = lambda _: None
            time.sleep(0.01)
            assert results(ask(image_ids=[image_id])) == ["redriven"]

    ask(image_ids=[image_id])
    workflow.functions, workflow.before = dict(workflow.functions) | {"process_image": fault}, before
    workflow.run(started[0])
    assert len(dead_letters_sent()) == 1

    assert search(timedelta(hours=1), tell)["reported"] == 1
    assert len(dead_letters_sent()) == 1


@pytest.mark.parametrize("is_awaited", [False, True])
def test_an_old_arrival_that_was_started_and_lost_is_started_again_and_then_failed(
    is_awaited: bool, workflow: Workflow, ask: Ask, started: list[dict[str, Any]], tell: Any
) -> None:
    """Older than `reconcile` looks back by itself; nobody else would come across it."""
    long_ago = NOW - timedelta(days=2)
    with time_machine.travel(long_ago, tick=False):
        key = put(HILLS, RawKey(ArrivalHour.of(long_ago), str(uuid.uuid4())))
        if is_awaited:
            expires_at = long_ago + timedelta(days=7)
            ImagesTable(IMAGES_TABLE).count_attempt(key, long_ago, long_ago, expires_at)
    assert results(ask(keys=[str(key)])) == ["redriven"]
    crowded(workflow, started[0])

    runs = [search(timedelta(hours=hours), tell) for hours in range(1, 5)]

    assert [run["restarted"] for run in runs] == ([1, 1, 0, 0] if is_awaited else [1, 1, 1, 0])
    assert sum(run["given_up"] for run in runs) == 1
    (letter,) = dead_letters_sent()
    assert (letter["image_id"], letter["code"]) == (key.image_id, "lost")
    assert results(ask(keys=[str(key)])) == ["redriven"]
    assert workflow.run(started[-1])[-1] == "Finish"
    assert (item(key.image_id)["status"], "unsettled_since" in item(key.image_id)) == ("processed", False)


def test_an_arrival_whose_days_are_over_is_not_started(ask: Ask, started: list[dict[str, Any]]) -> None:
    long_ago = NOW - timedelta(days=8)
    with time_machine.travel(long_ago, tick=False):
        key = put(HILLS, RawKey(ArrivalHour.of(long_ago), str(uuid.uuid4())))

    assert results(ask(keys=[str(key)])) == ["unknown"]

    assert (started, item(key.image_id)) == ([], {})


def test_one_image_under_two_hours_keeps_no_other_from_being_started(ask: Ask, started: list[dict[str, Any]]) -> None:
    key, other = put(HILLS), put(ICON)
    elsewhere = put(HILLS, RawKey(ArrivalHour.of(NOW - timedelta(hours=1)), key.image_id))

    assert results(ask(keys=[str(one) for one in (key, elsewhere, other)])) == ["redriven"] * 3

    assert [one["detail"]["object"]["key"] for one in started] == [str(key), str(elsewhere), str(other)]
