"""Whatever fails is reported, at least once: with answers lost, and with a death after each step.

The real workflow with its real functions, and the real `reconcile`, on stores in process.
"""

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer
from moto.s3.models import s3_backends

from functions.publish_outcomes.app import handler as publish_outcomes
from functions.reconcile.app import handler as reconcile
from functions.write_catalog.app import handler as write_catalog
from imagelake.keys import ArrivalHour, RawKey
from imagelake.model import Arrival, DeadLetter, ImageRecord
from imagelake.process import reconciliation
from imagelake.stores import images_table, ingest_workflow
from imagelake.values import to_iso
from local.samples import make_samples
from tests.application import WORKFLOW, event
from tests.integration.call_faults import Died
from tests.integration.conftest import (
    IMAGES_TABLE,
    RAW_BUCKET,
    Context,
    client,
    created,
    dead_letters_sent,
    rejections_told,
    stream_of,
)
from tests.workflow import StateError, Workflow

NOTES = next(sample for sample in make_samples() if sample.filename == "notes.jpg")
ARRIVED = datetime.now(UTC) - timedelta(minutes=30)
KEY = RawKey(ArrivalHour.of(ARRIVED), str(uuid.uuid4()))


class LostError(Exception):
    """What a function says of a fault."""


class Losing:
    """A client whose answers to some operations are lost, once each, after the work was done."""

    def __init__(self, service: str, doomed: set[str]) -> None:
        self._service, self._doomed = service, doomed

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            answer = getattr(client(self._service), operation)(**arguments)
            if (name := f"{self._service}.{operation}") in self._doomed:
                self._doomed.discard(name)
                raise StateError("DynamoDB.SdkClientException", "the answer is lost")
            return answer

        return call


@pytest.fixture
def run(workflow: Workflow, tell: Callable[[str], Context]) -> Callable[[str], list[str]]:
    """Runs the workflow for an image that will be `rejected` or `failed`; the states it went through."""
    tell("open_image")
    client("s3").put_object(
        Bucket=RAW_BUCKET,
        Key=str(KEY),
        Body=NOTES.content,
        ContentType="image/jpeg",
        Metadata=Arrival(source="api").to_metadata(),
    )
    (in_moto,) = (account["aws"] for account in s3_backends.values() if RAW_BUCKET in account["aws"].buckets)
    in_moto.buckets[RAW_BUCKET].keys[str(KEY)].last_modified = ARRIVED.replace(tzinfo=None)

    def run(status: str) -> list[str]:
        if status == "failed":
            workflow.functions = dict(workflow.functions) | {"close_image": _fault}
        return workflow.run(created(str(KEY)))

    return run


def _fault(_: Any) -> Any:
    raise LostError("of the test")


def item() -> dict[str, Any]:
    stored = client("dynamodb").get_item(TableName=IMAGES_TABLE, Key={"image_id": {"S": KEY.image_id}}).get("Item", {})
    return {name: TypeDeserializer().deserialize(value) for name, value in stored.items()}


def reported() -> list[dict[str, str]]:
    """The messages of the image, each of which says why."""
    letters = dead_letters_sent()
    for letter in letters:
        assert (letter["image_id"], letter["status"], letter["key"]) == (KEY.image_id, "failed", str(KEY))
        assert letter["code"] == letter["reason"].partition(":")[0] == "fault"
        assert letter["step"] == "Close image"
        DeadLetter.model_validate(letter)
    return letters


def dying_at(state: str) -> Callable[[str], None]:
    def before(name: str) -> None:
        if name == state:
            raise Died

    return before


def search(tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch, later: timedelta) -> dict[str, int]:
    """Run `reconcile` as if it were later; it starts nothing, since every image here has an outcome."""
    with monkeypatch.context() as patch:
        patch.setattr(reconciliation, "PATIENCE", reconciliation.PATIENCE - later)
        patch.setattr(ingest_workflow, "_step_functions", lambda: pytest.fail("an image was started again"))
        return reconcile(event("reconcile"), tell("reconcile"))


PAST_PATIENCE = timedelta(minutes=16)


def test_a_failure_is_reported_once_and_the_report_closed(run: Callable[[str], list[str]]) -> None:
    states = run("failed")

    assert states[-3:] == ["Report to dead-letter queue", "Close report", "Fail"]
    assert len(reported()) == 1
    assert item()["status"] == "failed"
    assert "reported_at" in item()
    assert "unsettled_since" not in item()


def test_a_failure_whose_commit_was_not_answered_is_reported(
    workflow: Workflow, run: Callable[[str], list[str]]
) -> None:
    lost = {"dynamodb.update_item"}
    workflow.clients = lambda service: Losing(service, lost)

    states = run("failed")

    assert not lost
    assert "Read item" in states, "the retry has met the row of its own"
    assert states[-1] == "Fail"
    assert len(reported()) == 1
    assert "unsettled_since" not in item()


def test_a_rejection_whose_commit_was_not_answered_is_a_duplicate_that_its_stream_tells(
    workflow: Workflow, run: Callable[[str], list[str]], tell: Callable[[str], Context]
) -> None:
    lost = {"dynamodb.put_item"}
    workflow.clients = lambda service: Losing(service, lost)

    states = run("rejected")
    publish_outcomes(stream_of(*json_like([item()])), tell("publish_outcomes"))

    assert not lost
    assert states[-3:] == ["Read item", "Check item", "Skip duplicate"]
    assert dead_letters_sent() == []
    assert [(one["image_id"], one["reason_code"]) for one in rejections_told()] == [(KEY.image_id, "not_an_image")]


def test_a_report_that_was_not_answered_is_sent_again(workflow: Workflow, run: Callable[[str], list[str]]) -> None:
    lost = {"sqs.send_message"}
    workflow.clients = lambda service: Losing(service, lost)

    run("failed")

    assert not lost
    assert len(reported()) == 2
    assert "unsettled_since" not in item()


@pytest.mark.parametrize("state", ["Report to dead-letter queue", "Close report"])
def test_an_execution_that_dies_after_its_commit_is_reported_by_reconcile_once(
    state: str,
    workflow: Workflow,
    run: Callable[[str], list[str]],
    tell: Callable[[str], Context],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workflow.before = dying_at(state)
    with pytest.raises(Died):
        run("failed")
    assert item()["status"] == "failed"
    before = len(reported())

    young = search(tell, monkeypatch, timedelta())
    answers = [search(tell, monkeypatch, PAST_PATIENCE) for _ in range(2)]

    assert young["reported"] == 0
    assert [answer["reported"] for answer in answers] == [1, 0]
    assert before == (state == "Close report")
    assert len(reported()) == 1, "of reconcile"
    assert "unsettled_since" not in item()
    assert item()["status"] == "failed"


def test_a_report_that_the_queue_refuses_stays_open_until_reconcile(
    workflow: Workflow,
    run: Callable[[str], list[str]],
    tell: Callable[[str], Context],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Refusing:
        def send_message(self, **_: Any) -> None:
            raise StateError("Sqs.SdkClientException", "refused")

    workflow.clients = lambda service: Refusing() if service == "sqs" else client(service)
    with pytest.raises(StateError, match="refused"):
        run("failed")
    assert reported() == []

    assert search(tell, monkeypatch, PAST_PATIENCE)["reported"] == 1

    assert len(reported()) == 1


def test_what_another_execution_has_committed_since_is_not_closed_with_the_first_report(
    workflow: Workflow, run: Callable[[str], list[str]], tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure is reported, another execution commits a rejection, and the first one goes on."""
    real = workflow.functions

    def before(state: str) -> None:
        if state == "Close report":
            workflow.before = lambda _: None
            workflow.functions = real
            workflow.run(created(str(KEY)))

    workflow.before = before
    run("failed")

    assert len(reported()) == 1
    assert item()["status"] == "rejected"
    assert not {"reported_at", "unsettled_since"} & item().keys()
    assert search(tell, monkeypatch, PAST_PATIENCE)["reported"] == 0


def test_outcomes_of_earlier_versions_are_not_reported_again(
    run: Callable[[str], list[str]], tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a failure without a mark, nor a rejection that an earlier workflow has marked: its event tells it."""
    run("failed")
    assert len(reported()) == 1
    of_image = {"TableName": IMAGES_TABLE, "Key": {"image_id": {"S": KEY.image_id}}}
    client("dynamodb").update_item(**of_image, UpdateExpression="REMOVE reported_at")
    assert search(tell, monkeypatch, PAST_PATIENCE)["reported"] == 0

    marked = item() | {"status": "rejected", "reason": "truncated: ends early", "unsettled_since": to_iso(ARRIVED)}
    images_table._resource(IMAGES_TABLE).put_item(Item=marked)

    assert search(tell, monkeypatch, PAST_PATIENCE)["reported"] == 0
    assert dead_letters_sent() == []


def test_an_item_that_nobody_can_read_keeps_no_other_from_being_reported(
    run: Callable[[str], list[str]], workflow: Workflow, tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow.before = dying_at("Report to dead-letter queue")
    with pytest.raises(Died):
        run("failed")
    changes: list[dict[str, Any]] = [
        *({"hour": "9"}, {"reason": None}, {"reason": 5}, {"status": "erased"}, {"status": "odd"}, {"status": None}),
        *({"status": "erased", "erased_at": "2026-11-01T10:00:00"}, {"status": "erased", "erased_at": "yesterday"}),
        *({"expires_at": None}, {"expires_at": "soon"}),
    ]
    for digit, change in enumerate(changes):
        malformed = {name: value for name, value in (item() | change).items() if value is not None}
        images_table._resource(IMAGES_TABLE).put_item(
            Item=malformed | {"image_id": str(uuid.uuid4()), "expiry_shard": str(digit)}
        )

    assert search(tell, monkeypatch, PAST_PATIENCE)["reported"] == 1

    assert len(reported()) == 1


def test_a_report_adds_no_row(workflow: Workflow, run: Callable[[str], list[str]], tell: Any) -> None:
    versions = []
    workflow.before = lambda _: versions.append(item())
    run("failed")
    versions.append(item())
    changes = [new for old, new in zip([{}, *versions], versions, strict=False) if new != old]
    assert [("unsettled_since" in one, "reported_at" in one) for one in changes] == [(True, False), (False, True)]

    written = [write_catalog(stream_of(one), tell("write_catalog"))["records"] for one in json_like(changes)]

    assert written == [1, 0]
    assert write_catalog(stream_of(*json_like(changes)), tell("write_catalog"))["records"] == 1
    assert ImageRecord.model_validate(json_like(changes)[1]).status == "failed", "a rebuild makes a row of it"


def json_like(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [json.loads(json.dumps(one, default=float)) for one in items]


@pytest.mark.parametrize("function", ["open_image", "process_image", "close_image"])
def test_an_image_that_lambda_has_no_room_for_has_no_outcome(
    function: str, workflow: Workflow, run: Callable[[str], list[str]]
) -> None:
    throttled = type("Lambda.TooManyRequestsException", (Exception,), {})
    calls = []

    def refuse(_: Any) -> Any:
        calls.append(function)
        raise throttled("Rate Exceeded.")

    workflow.functions = dict(workflow.functions) | {function: refuse}

    states = run("rejected")

    state = WORKFLOW["States"][function.replace("_", " ").capitalize()]
    assert states[-1] == "Leave to reconcile"
    assert len(calls) == 1 + state["Retry"][-2]["MaxAttempts"]
    assert item() == {}
    assert dead_letters_sent() == []
