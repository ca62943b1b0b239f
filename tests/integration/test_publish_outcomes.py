"""Outcomes become events on the bus: what each says, at least once each, and what is left to the next delivery."""

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from unittest.mock import MagicMock

import pytest

from functions.publish_outcomes.app import handler as publish_outcomes
from functions.write_catalog.app import handler as write_catalog
from imagelake import events
from imagelake.engine.reason_codes import Reason
from imagelake.errors import Fault
from imagelake.keys import ArrivalHour
from imagelake.model import BOOKKEEPING, ImageRecord, Tombstone
from imagelake.process import publication
from imagelake.retention.purge import Work
from imagelake.settings import load
from imagelake.stores import event_bus, images_table
from imagelake.stores.event_bus import ENTRIES, EventBus
from imagelake.stores.images_table import ImagesTable
from tests.application import event
from tests.integration.conftest import (
    EVENT_BUS,
    IMAGES_TABLE,
    Context,
    client,
    events_put,
    refusing_events,
    stream_of,
)

NOW = datetime.now(UTC)
HOUR = ArrivalHour.of(NOW - timedelta(hours=2))
PERSONAL = {"uploader": "subject-of-a-caller", "tags": {"filename": "eva.jpg"}, "camera_make": "Eva's", "gps_lat": 52.5}


def item(status: str = "processed", **more: Any) -> dict[str, Any]:
    """An item with an outcome."""
    arrived = HOUR.start + timedelta(minutes=5)
    record = ImageRecord(
        image_id=str(uuid.uuid4()),
        status=status,
        source="api",
        source_ref="a-request",
        received_at=arrived,
        processed_at=None if status == "failed" else arrived + timedelta(seconds=2),
        expires_at=arrived + timedelta(days=7),
        bytes=1234,
        reason=None if status == "processed" else "script_error: describe: ValueError in line 7 for eva.jpg",
        ingest_date=HOUR.ingest_date,
        hour=HOUR.hour,
        **PERSONAL,
    )
    failed_at = {"failed_at": (arrived + timedelta(seconds=3)).isoformat(timespec="milliseconds")}
    return record.to_item() | (failed_at if status == "failed" else {}) | more


def tombstone(**more: Any) -> dict[str, Any]:
    """A tombstone as it is put."""
    made = Tombstone(
        image_id=str(uuid.uuid4()),
        erased_at=NOW,
        expires_at=NOW + timedelta(days=7),
        asked_by="subject-of-a-caller",
        unsettled_since="2026-11-28T12:00:00.000Z",
        ingest_date=HOUR.ingest_date,
        hour=HOUR.hour,
    )
    return made.to_item() | more


@pytest.fixture
def context(tell: Callable[[str], Context]) -> Context:
    return tell("publish_outcomes")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


def publish(*changed: dict[str, Any], context: Context) -> list[str]:
    """The sequence numbers of the records that have to come again."""
    answer = publish_outcomes(stream_of(*changed), context)
    return [one["itemIdentifier"] for one in answer["batchItemFailures"]]


# What they say


@pytest.mark.parametrize(
    ("status", "name"), [("processed", "ImageProcessed"), ("rejected", "ImageRejected"), ("failed", "ImageFailed")]
)
def test_each_outcome_has_its_event_with_what_a_sender_needs(status: str, name: str, context: Context) -> None:
    known = item(status)

    assert publish(known, context=context) == []

    [told] = events_put()
    assert (told["source"], told["detail-type"]) == (events.SOURCE, name)
    detail = told["detail"]
    assert (detail["version"], detail["status"], detail["image_id"]) == ("1", status, known["image_id"])
    assert (detail["source"], detail["source_ref"]) == ("api", "a-request")
    assert detail.get("reason_code") == (None if status == "processed" else "script_error")
    assert detail["received_at"] < detail["ended_at"] < detail["expires_at"]
    assert (detail["ingest_date"], detail["hour"]) == (HOUR.ingest_date, HOUR.hour)


@pytest.mark.parametrize("status", ["processed", "rejected", "failed"])
def test_no_event_has_anything_of_a_person_or_a_sentence(status: str, context: Context) -> None:
    publish(item(status), context=context)

    text = json.dumps([one["detail"] for one in events_put()])

    assert not re.search(r"eva|subject-of-a-caller|52\.5|line 7", text, re.IGNORECASE)


def test_the_same_outcome_has_the_same_id_and_another_one_another(context: Context) -> None:
    known = item("rejected")
    other = known | {"processed_at": "2026-11-28T12:00:00.000Z"}

    for change in (known, known, other):
        publish(change, context=context)

    first, again, later = (one["detail"]["id"] for one in events_put())
    assert first == again != later


@pytest.mark.parametrize("code", [*Reason, "fault", "lost"])
def test_every_reason_that_there_is_has_its_code_in_the_event(code: str, context: Context) -> None:
    publish(item("rejected", reason=f"{code}: in some words"), context=context)

    assert [one["detail"]["reason_code"] for one in events_put()] == [code]


@pytest.mark.parametrize("reason", ["Eva has sent it", "", "eva@example.org: no", "x" * 65 + ": too long"])
def test_a_reason_that_begins_with_no_code_is_not_told(reason: str, context: Context) -> None:
    publish(item("failed", reason=reason), context=context)

    assert [one["detail"]["reason_code"] for one in events_put()] == ["unknown"]


def test_an_item_of_an_earlier_version_is_told_as_far_as_it_is_known(context: Context) -> None:
    known = item("failed")
    for name in ("failed_at", "source", "source_ref", "expires_at"):
        del known[name]

    publish(known, context=context)

    [told] = events_put()
    assert not {"ended_at", "source", "source_ref", "expires_at"} & told["detail"].keys()


# What is news


@pytest.mark.parametrize("note", ["reported_at", "redriven_at"])
def test_a_note_at_an_outcome_is_no_other_outcome(note: str, context: Context) -> None:
    assert note in BOOKKEEPING

    publish(item("failed", **{note: "2026-11-28T12:00:00.000Z"}), context=context)

    assert events_put() == []


def test_what_is_a_row_is_an_event(tell: Callable[[str], Context]) -> None:
    changed = [item(), item("rejected"), item("failed"), item("failed", reported_at="2026-11-28T12:00:00.000Z")]

    written = write_catalog(stream_of(*changed), tell("write_catalog"))
    publish(*changed, context=tell("publish_outcomes"))

    assert written["records"] == len(events_put()) == 3


def test_an_item_that_nobody_can_read_keeps_no_other_from_its_event(context: Context) -> None:
    good = item()

    assert publish(item(received_at="yesterday"), good, context=context) == []

    assert [one["detail"]["image_id"] for one in events_put()] == [good["image_id"]]


def test_the_function_takes_its_sample(context: Context) -> None:
    assert publish_outcomes(event("publish_outcomes"), context) == {"batchItemFailures": []}

    assert [one["detail-type"] for one in events_put()] == ["ImageProcessed"]


# At least once


def _some_refused(refused: Iterator[set[int]]) -> Any:
    """A client that refuses some entries of each call, and hands the others on."""
    real: Any = event_bus._events()

    def put_events(Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        numbers = next(refused, set())
        taken = [entry for number, entry in enumerate(Entries) if number not in numbers]
        if taken:
            real.put_events(Entries=taken)
        answers = [
            {"ErrorCode": "InternalFailure", "ErrorMessage": "Of a test."} if number in numbers else {"EventId": "1"}
            for number in range(len(Entries))
        ]
        return {"FailedEntryCount": len(numbers), "Entries": answers}

    return MagicMock(put_events=put_events)


def test_entries_that_the_bus_refuses_are_tried_again_and_no_others(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [item() for _ in range(4)]
    partly = _some_refused(iter([{1, 3}, {0}]))
    monkeypatch.setattr(event_bus, "_events", lambda: partly)

    assert publish(*known, context=context) == []

    assert sorted(one["detail"]["image_id"] for one in events_put()) == sorted(one["image_id"] for one in known)


def test_what_the_bus_does_not_take_comes_again_from_there_on(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [item() for _ in range(3 * ENTRIES)]
    never = _some_refused(iter([set(), *[{0}] * event_bus.TRIES]))
    monkeypatch.setattr(event_bus, "_events", lambda: never)

    assert publish(*known, context=context) == [str(4421584 + ENTRIES)]

    told = [one["detail"]["image_id"] for one in events_put()]
    assert set(told) >= {one["image_id"] for one in known[:ENTRIES]}
    assert not {one["image_id"] for one in known[2 * ENTRIES :]} & set(told)


def test_a_bus_that_takes_nothing_leaves_all_to_the_next_delivery(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_bus, "_events", refusing_events)

    assert publish(item(), item(), context=context) == ["4421584"]


def test_ten_of_the_longest_events_fit_into_a_call() -> None:
    longest = {"source": "s" * 64, "source_ref": "r" * 300, "reason": "c" * 64 + ": x", "bytes": 2**62}
    entry = EventBus(EVENT_BUS)._entry(events.of_outcome(item("rejected") | longest))

    assert ENTRIES * len(json.dumps(entry)) < 256 * 1024


# What a stream has lost


def put(*items: dict[str, Any]) -> None:
    """Items of the images table."""
    for one in items:
        client("dynamodb").put_item(TableName=IMAGES_TABLE, Item=images_table.serialize(one))


def test_an_hour_that_the_stream_has_lost_is_told_again(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Context, "get_remaining_time_in_millis", lambda _: 300_000)
    lost = [item(), item("rejected", redriven_at="2026-11-28T12:00:00.000Z"), item("failed", reported_at="x")]
    put(*lost, tombstone(), item(status="processed") | {"hour": "00", "ingest_date": "2026-01-01"})

    answer = publish_outcomes({"hour": HOUR.path}, context)

    assert answer == {"hour": HOUR.path, "published": 3, "after": None}
    told = {one["detail"]["image_id"]: one["detail"]["id"] for one in events_put()}
    assert told.keys() == {one["image_id"] for one in lost}
    publish(lost[0], context=context)
    assert events_put()[0]["detail"]["id"] == told[lost[0]["image_id"]], "as the stream would have told it"


@pytest.mark.usefixtures("context")
def test_an_hour_for_which_there_is_no_time_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publication, "BATCH_ITEMS", 2)
    lost = sorted((item() for _ in range(5)), key=lambda one: str(one["image_id"]))
    put(*lost)
    clock = iter([0.0, 1.0, 200.0])
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: next(clock))
        answer = load(publication.Publication).publish_hour(HOUR, NOW, 100)

    assert (answer.published, answer.after) == (2, lost[1]["image_id"])
    answer = load(publication.Publication).publish_hour(HOUR, NOW, 100, answer.after or "")
    assert (answer.published, answer.after) == (3, None)
    assert [one["detail"]["image_id"] for one in events_put()] == [one["image_id"] for one in lost]


def test_an_image_that_is_erased_while_its_hour_is_told_again_is_passed_over_in_silence(
    context: Context, logs: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Context, "get_remaining_time_in_millis", lambda _: 300_000)
    erased, other, read = item(), item(), ImagesTable.read
    put(erased, other)

    def read_late(table: ImagesTable, image_ids: Sequence[str]) -> list[dict[str, Any]]:
        put(tombstone(image_id=erased["image_id"]))
        return read(table, image_ids)

    monkeypatch.setattr(ImagesTable, "read", read_late)

    assert publish_outcomes({"hour": HOUR.path}, context)["published"] == 1

    assert [one["detail"]["image_id"] for one in events_put()] == [other["image_id"]]
    assert "unreadable item" not in logs.getvalue()


# The purge


def test_an_hour_that_is_purged_is_told_for_each_store(tell: Callable[[str], Context]) -> None:
    from functions.enforce_retention.app import handler as enforce_retention

    due = ArrivalHour.of(NOW - timedelta(days=7, hours=3))
    work = Work(store="raw", hour=due.path)

    answer = enforce_retention(
        {"as_of": NOW.isoformat(), "work": work.model_dump(exclude_none=True)}, tell("enforce_retention")
    )

    [told] = events_put()
    assert answer["finished"]
    assert told["detail-type"] == "HourPurged"
    assert (told["detail"]["store"], told["detail"]["ingest_date"], told["detail"]["hour"]) == (
        *("raw", due.ingest_date),
        due.hour,
    )


def test_a_purge_that_cannot_be_told_fails_and_is_told_by_its_next_try(
    tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    from functions.enforce_retention.app import handler as enforce_retention

    due = ArrivalHour.of(NOW - timedelta(days=7, hours=3))
    asked = {"as_of": NOW.isoformat(), "work": {"store": "raw", "hour": due.path}}
    with monkeypatch.context() as patch:
        patch.setattr(event_bus, "_events", refusing_events)
        with pytest.raises(Fault, match="ThrottlingException on PutEvents"):
            enforce_retention(asked, tell("enforce_retention"))

    enforce_retention(asked, tell("enforce_retention"))

    assert [one["detail"]["hour"] for one in events_put()] == [due.hour]
