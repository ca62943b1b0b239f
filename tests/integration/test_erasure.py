"""Erasure on request where it is slow, interrupted or asked for twice, and where records of Kafka are kept."""

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine

from functions.consume_image_topic.app import handler as consume_image_topic
from functions.erase_image import app
from functions.erase_image.app import handler as erase_image
from functions.reconcile.app import handler as reconcile
from imagelake.catalog import parquet
from imagelake.errors import Fault, OutOfTime
from imagelake.ingest.kafka_record import Position
from imagelake.keys import ImageVersion, RawKey, catalog_prefix
from imagelake.model import Tombstone
from imagelake.process import ordering, reconciliation
from imagelake.retention import erasure as erasing
from imagelake.retention import receipts as receipt_writing
from imagelake.retention.erasure import Caller, Erasure
from imagelake.settings import load
from imagelake.stores import buckets, event_bus, images_table
from imagelake.stores.buckets import Bucket, Version
from imagelake.stores.images_table import ImagesTable
from local.emulator.datapoints import in_logs
from local.samples import make_samples
from tests.application import event, physical_name, translated
from tests.integration.conftest import (
    CALLER,
    IMAGES_TABLE,
    LAKE_BUCKET,
    RAW_BUCKET,
    Context,
    client,
    created,
    events_put,
    refusing_events,
)
from tests.integration.test_retention import (
    RECENT,
    WRITER,
    cataloged,
    item,
    kept,
    receipts,
    request,
    rows,
)
from tests.workflow import Workflow

FAILED_RECORDS = physical_name("FailedRecordsBucket")
CLUSTER = "warehouse"


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """The requests to S3, by operation."""
    made = Counter[str]()
    events = buckets.s3_client().meta.events

    def count(model: Any, **_: Any) -> None:
        made[model.name] += 1

    events.register("before-call", count)
    try:
        yield made
    finally:
        events.unregister("before-call", count)


def erase(image_id: str, context: Context, reason: str | None = None, group: str = "uploaders") -> int:
    """The status of a DELETE."""
    asked = request(image_id, CALLER, group)
    if reason is not None:
        asked["queryStringParameters"] = {"reason": reason}
        asked["multiValueQueryStringParameters"] = {"reason": [reason]}
    return int(erase_image(asked, context)["statusCode"])


def put_item(item: dict[str, Any]) -> None:
    client("dynamodb").put_item(TableName=IMAGES_TABLE, Item=images_table.serialize(item))


def tombstone_of(image_id: str) -> dict[str, Any]:
    found = ImagesTable(IMAGES_TABLE).get_even_erased(image_id)
    assert found is not None
    return found


def test_the_file_of_a_row_is_found_by_its_name_among_many(tell: Callable[[str], Context], tmp_path: Path) -> None:
    records = [cataloged(RECENT) for _ in range(80)]
    for record in records:
        parquet.write([record], uuid.uuid4().hex, WRITER)
    before = {key: client("s3").head_object(Bucket=LAKE_BUCKET, Key=key)["ETag"] for key in kept(LAKE_BUCKET, "cat")}

    with counted() as made:
        assert erase(records[7].image_id, tell("erase_image")) == 204

    after = {key: client("s3").head_object(Bucket=LAKE_BUCKET, Key=key)["ETag"] for key in kept(LAKE_BUCKET, "cat")}
    assert sum(before[key] != after[key] for key in before) == 1
    assert made["GetObject"] < 12
    assert sum(made.values()) < 25
    assert records[7].image_id not in rows(RECENT, tmp_path)
    assert len(rows(RECENT, tmp_path)) == 79


def test_files_without_a_filter_are_looked_into_and_those_without_the_row_are_left(
    tell: Callable[[str], Context], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "SLICE_FILES", 3)
    monkeypatch.setattr(parquet, "catalog_file", lambda hour, batch, _: f"{catalog_prefix(hour)}{batch}.parquet")
    records = [cataloged(RECENT) for _ in range(8)]
    for record in records:
        parquet.write([record], uuid.uuid4().hex, WRITER)

    with counted() as made:
        assert erase(records[5].image_id, tell("erase_image")) == 204

    assert made["PutObject"] == 2, "a file and the receipt"
    assert records[5].image_id not in rows(RECENT, tmp_path)


def test_an_erasure_without_time_for_rows_has_erased_the_image_and_goes_on_by_the_stream(
    tell: Callable[[str], Context], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, stays = cataloged(RECENT), cataloged(RECENT)
    parquet.write([gone, stays], "batch", WRITER)
    monkeypatch.setattr(app, "ANSWER_SECONDS", -1.0)
    context = tell("erase_image")

    assert erase(gone.image_id, context) == 202

    assert kept(RAW_BUCKET) == [str(RawKey(RECENT, stays.image_id))]
    assert kept(LAKE_BUCKET, "derived/") == [stays.derivatives[0].key]
    assert ImagesTable(IMAGES_TABLE).get(gone.image_id) is None
    assert erase_image({"image_id": gone.image_id}, context) == {"image_id": gone.image_id, "erased": True}
    assert rows(RECENT, tmp_path) == [stays.image_id]
    first, second = sorted(receipts("erasures"), key=lambda one: one["state"], reverse=True)
    assert (first["state"], first["versions"], first["derivatives"], first["rows"]) == ("to be continued", 1, 1, 0)
    assert (second["state"], second["versions"], second["derivatives"], second["rows"]) == ("completed", 0, 0, 1)


def test_an_erasure_that_runs_out_of_time_is_tried_again(
    tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = cataloged(RECENT)
    parquet.write([gone], "batch", WRITER)
    monkeypatch.setattr(app, "ANSWER_SECONDS", -1.0)
    monkeypatch.setattr(app, "MARGIN_SECONDS", 1000.0)
    context = tell("erase_image")
    erase(gone.image_id, context)

    for _ in range(2):
        with pytest.raises(OutOfTime):
            erase_image({"image_id": gone.image_id}, context)

    assert {one["state"] for one in receipts("erasures")} == {"to be continued"}
    assert len(receipts("erasures")) == 2


def test_whoever_asks_while_the_first_request_is_at_work_is_told_so(tell: Callable[[str], Context]) -> None:
    gone = cataloged(RECENT)
    context = tell("erase_image")
    buried_by_another_request(gone.image_id)

    assert erase(gone.image_id, context) == 202

    assert kept(RAW_BUCKET) == [str(RawKey(RECENT, gone.image_id))], "left to the first"


def buried_by_another_request(image_id: str, seconds_ago: float = 1) -> None:
    erasure = load(Erasure)
    assert erasure.bury(image_id, Caller(CALLER, is_operator=False), datetime.now(UTC) - timedelta(seconds=seconds_ago))


def test_the_stream_waits_for_the_request_and_one_receipt_counts_everything(
    tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, context = cataloged(RECENT), tell("erase_image")
    buried_by_another_request(gone.image_id)
    buried = Tombstone.model_validate(tombstone_of(gone.image_id))
    waited = list[float]()

    def request_ends(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            load(Erasure).erase(buried, datetime.now(UTC))

    monkeypatch.setattr(time, "sleep", request_ends)
    erase_image({"image_id": gone.image_id}, context)

    assert len(waited) == 3
    [receipt] = receipts("erasures")
    assert (receipt["versions"], receipt["derivatives"]) == (1, 1)


def test_a_request_that_died_is_finished_by_the_stream(tell: Callable[[str], Context]) -> None:
    gone, context = cataloged(RECENT), tell("erase_image")
    buried_by_another_request(gone.image_id, seconds_ago=31)

    erase_image({"image_id": gone.image_id}, context)

    assert kept(RAW_BUCKET) == []
    [receipt] = receipts("erasures")
    assert (receipt["state"], receipt["asked_by"], receipt["versions"]) == ("completed", CALLER, 1)


def test_an_erasure_that_the_stream_has_lost_is_finished_by_whoever_asks_again(tell: Callable[[str], Context]) -> None:
    gone, context = cataloged(RECENT), tell("erase_image")
    buried_by_another_request(gone.image_id)
    assert erase(gone.image_id, context) == 202

    with time_machine.travel(datetime.now(UTC) + timedelta(hours=25), tick=False):
        assert erase(gone.image_id, context) == 204

    assert kept(RAW_BUCKET) == []


def test_what_an_engine_stores_after_the_erasure_is_erased_when_its_form_has_ended(
    tell: Callable[[str], Context],
) -> None:
    record = cataloged(RECENT)
    client("s3").put_object(Bucket=RAW_BUCKET, Key=str(record_key := RawKey(RECENT, record.image_id)), Body=b"image")
    assert erase(record.image_id, tell("erase_image")) == 204
    late = ImageVersion(record_key, "1").derived("thumb_256", "jpg")
    client("s3").put_object(Bucket=LAKE_BUCKET, Key=late, Body=b"by an engine that dies before it answers")
    asked = tell("reconcile")
    erased_at = datetime.fromisoformat(tombstone_of(record.image_id)["erased_at"])

    with time_machine.travel(erased_at + timedelta(minutes=34), tick=False):
        assert reconcile({}, asked)["erased_again"] == 0
    with time_machine.travel(erased_at + timedelta(minutes=36), tick=False):
        assert [reconcile({}, asked)["erased_again"] for _ in range(2)] == [1, 1], "until it is done"
        erase_image({"image_id": record.image_id}, tell("erase_image"))
        assert reconcile({}, tell("reconcile"))["erased_again"] == 0
        # The image comes back, and the workflow moves its tombstone.
        client("s3").put_object(Bucket=LAKE_BUCKET, Key=late, Body=b"of a record that was redelivered")
        returned_at = {"returned_at": "2026-11-28T12:00:00.000Z", "unsettled_since": "2026-11-28T12:00:00.000Z"}
        put_item(tombstone_of(record.image_id) | returned_at)
        erase_image({"image_id": record.image_id}, tell("erase_image"))

    assert not kept(LAKE_BUCKET, "derived")
    assert [receipt["derivatives"] for receipt in receipts("erasures")] == [1, 1, 1]


def test_an_image_that_is_erased_while_it_is_processed_stays_erased_without_an_alarm(
    workflow: Workflow, tell: Callable[[str], Context], capsys: pytest.CaptureFixture[str]
) -> None:
    record, sample = cataloged(RECENT, versions=0, status="failed"), make_samples()[0]
    key = RawKey(RECENT, record.image_id)
    client("s3").put_object(Bucket=RAW_BUCKET, Key=str(key), Body=sample.content, ContentType=sample.content_type)
    context = tell("erase_image")
    statuses: list[int] = []

    def before(state: str) -> None:
        if state == "Close image":
            statuses.append(erase(record.image_id, context))

    workflow.before = before

    entered = workflow.run(created(str(key)))

    assert statuses == [204]
    assert entered[-5:] == ["Record failure", "Read item", "Check item", "Move tombstone", "Finish"]
    assert tombstone_of(record.image_id)["status"] == "erased"
    assert not kept(LAKE_BUCKET, "derived")
    assert "EngineAnswersInvalid" not in capsys.readouterr().out


def test_forms_have_ended_when_an_image_is_erased_again() -> None:
    longest = timedelta(seconds=max(ordering.ORDER_SECONDS, ordering.TASK_ORDER_SECONDS))

    assert longest < reconciliation.FORMS_END <= longest + timedelta(minutes=10)


def test_two_requests_at_once_leave_one_tombstone(
    tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, context = cataloged(RECENT), tell("erase_image")
    read = ImagesTable.get_even_erased

    def read_and_be_overtaken(table: ImagesTable, image_id: str) -> dict[str, Any] | None:
        found = read(table, image_id)
        monkeypatch.setattr(ImagesTable, "get_even_erased", read)
        buried_by_another_request(image_id)
        return found

    monkeypatch.setattr(ImagesTable, "get_even_erased", read_and_be_overtaken)

    assert erase(gone.image_id, context, "legal_order") == 202

    assert Tombstone.model_validate(tombstone_of(gone.image_id)).reason == "unspecified", "that of the first"
    assert kept(RAW_BUCKET) == [str(RawKey(RECENT, gone.image_id))]


def test_a_fault_leaves_a_receipt_of_what_is_gone_and_the_next_run_counts_the_rest(
    tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, context = cataloged(RECENT), tell("erase_image")
    parquet.write([gone], "batch", WRITER)
    with monkeypatch.context() as patch:
        patch.setattr(parquet, "without_rows", _fault)
        assert erase(gone.image_id, context) == 500
    [receipt] = receipts("erasures")
    assert (receipt["state"], receipt["versions"], receipt["rows"]) == ("interrupted", 1, 0)

    assert erase(gone.image_id, context) == 204

    assert sum(one["versions"] for one in receipts("erasures")) == 1
    assert sum(one["rows"] for one in receipts("erasures")) == 1


def _fault(*_: object) -> None:
    raise Fault("SlowDown on PutObject", "SlowDown")


def test_the_receipt_says_who_asked_and_why(tell: Callable[[str], Context]) -> None:
    gone = cataloged(RECENT)

    assert erase(gone.image_id, tell("erase_image"), "data_subject_request") == 204

    [receipt] = receipts("erasures")
    assert (receipt["asked_by"], receipt["reason"]) == (CALLER, "data_subject_request")
    stored = item(gone.image_id)
    assert stored is not None
    assert stored["reason"]["S"] == "data_subject_request"


@pytest.mark.parametrize(
    ("parameters", "named"), [({"reason": "Ada asked"}, "reason"), ({"raeson": "legal_order"}, "raeson")]
)
def test_a_reason_that_is_none_is_refused_and_nothing_is_erased(
    parameters: dict[str, str], named: str, tell: Callable[[str], Context]
) -> None:
    record = cataloged(RECENT)
    asked = request(record.image_id) | {"queryStringParameters": parameters}

    answer = erase_image(asked, tell("erase_image"))

    assert answer["statusCode"] == 400
    assert [error["parameter"] for error in json.loads(answer["body"])["errors"]] == [named]
    assert "Ada" not in answer["body"]
    assert kept(RAW_BUCKET)


def test_receipts_of_the_same_deletions_have_the_same_name_and_are_one(tell: Callable[[str], Context]) -> None:
    gone, context = cataloged(RECENT), tell("erase_image")
    erase(gone.image_id, context)
    tombstone = Tombstone.model_validate(tombstone_of(gone.image_id))
    tally = receipt_writing.ErasureTally(rows=1)

    tally.add([Version("raw/x", "1", datetime.now(UTC), 1, is_marker=False)], [])

    for seconds in range(2):
        now = datetime.now(UTC) + timedelta(seconds=seconds)
        receipt_writing.erasure(load(Erasure).audit_bucket, tombstone, tally, "completed", now)

    assert len(receipts("erasures")) == 2
    versions = client("s3").list_object_versions(Bucket=load(Erasure).audit_bucket.name)["Versions"]
    assert len(versions) == 2


def test_runs_that_have_each_deleted_a_row_have_a_receipt_each(tell: Callable[[str], Context]) -> None:
    gone, context = cataloged(RECENT), tell("erase_image")
    erase(gone.image_id, context)
    tombstone = Tombstone.model_validate(tombstone_of(gone.image_id))

    for seconds in range(2):
        now, tally = datetime.now(UTC) + timedelta(seconds=seconds), receipt_writing.ErasureTally(rows=1)
        receipt_writing.erasure(load(Erasure).audit_bucket, tombstone, tally, "to be continued", now)

    assert sum(receipt["rows"] for receipt in receipts("erasures")) == 2


def test_derivatives_that_cannot_be_deleted_keep_the_file_in_its_receipt(
    tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, context, real = cataloged(RECENT), tell("erase_image"), Bucket.delete_versions

    def delete(bucket: Bucket, doomed: Sequence[Version]) -> None:
        if bucket.name == LAKE_BUCKET:
            raise Fault("AccessDenied on DeleteObjects", "AccessDenied")
        real(bucket, doomed)

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "delete_versions", delete)
        assert erase(gone.image_id, context) == 500
    assert erase(gone.image_id, context) == 204

    counted = [(one["state"], one["versions"], one["derivatives"]) for one in receipts("erasures")]
    assert sorted(counted) == [("completed", 0, 1), ("interrupted", 1, 0)]


def test_a_tombstone_that_nobody_can_read_is_left_to_whoever_reports_it(tell: Callable[[str], Context]) -> None:
    gone, context = cataloged(RECENT), tell("erase_image")
    buried_by_another_request(gone.image_id, 60)
    put_item(tombstone_of(gone.image_id) | {"erased_at": "yesterday"})

    assert erase_image({"image_id": gone.image_id}, context) == {"image_id": gone.image_id, "erased": False}

    assert kept(RAW_BUCKET)


def test_an_image_that_is_not_erased_is_left_alone(tell: Callable[[str], Context]) -> None:
    record, context = cataloged(RECENT), tell("erase_image")

    assert erase_image({"image_id": record.image_id}, context) == {"image_id": record.image_id, "erased": False}

    assert kept(RAW_BUCKET)


# Events


def test_an_erasure_that_has_finished_is_told_once_and_once_more_when_it_is_repeated(
    tell: Callable[[str], Context],
) -> None:
    gone, context = cataloged(RECENT), tell("erase_image")

    erase(gone.image_id, context, reason="legal_order")
    erase_image({"image_id": gone.image_id}, context)
    [told] = events_put()

    assert told["detail-type"] == "ImageErased"
    assert told["detail"]["image_id"] == gone.image_id
    assert told["detail"]["reason_code"] == "legal_order"
    put_item(tombstone_of(gone.image_id) | {"repeated_at": "2026-11-28T12:00:00.000Z"})
    erase_image({"image_id": gone.image_id}, context)
    [again] = events_put()
    assert again["detail"] == told["detail"], "so whoever is told twice can see it"


def test_an_erasure_that_cannot_be_told_is_not_settled_and_is_told_by_the_next_run(
    tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, context = cataloged(RECENT), tell("erase_image")
    with monkeypatch.context() as patch:
        patch.setattr(event_bus, "_events", refusing_events)
        patch.setattr(time, "sleep", lambda _: None)
        assert erase(gone.image_id, context) >= 500
    assert not events_put()
    assert "unsettled_since" in tombstone_of(gone.image_id)
    put_item(tombstone_of(gone.image_id) | {"repeated_at": "2026-11-28T12:00:00.000Z"})

    erase_image({"image_id": gone.image_id}, context)

    assert [one["detail"]["image_id"] for one in events_put()] == [gone.image_id]
    assert "unsettled_since" not in tombstone_of(gone.image_id)


def test_an_erasure_without_time_for_rows_is_not_told_before_it_has_finished(
    tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = cataloged(RECENT)
    parquet.write([gone], "batch", WRITER)
    monkeypatch.setattr(app, "ANSWER_SECONDS", -1.0)
    context = tell("erase_image")

    assert erase(gone.image_id, context) == 202
    assert not events_put()
    erase_image({"image_id": gone.image_id}, context)

    assert len(events_put()) == 1


def test_an_erasure_is_not_settled_where_the_image_came_back_meanwhile(tell: Callable[[str], Context]) -> None:
    gone = cataloged(RECENT)
    erase(gone.image_id, tell("erase_image"))
    repeated = tombstone_of(gone.image_id) | {"repeated_at": "2026-11-28T12:00:00.000Z"}
    put_item(repeated | {"returned_at": "2026-11-28T12:00:01.000Z"})

    assert not ImagesTable(IMAGES_TABLE).settle_erasure(Tombstone.model_validate(repeated), datetime.now(UTC))

    assert "unsettled_since" in tombstone_of(gone.image_id)


def test_an_erasure_is_counted_once_and_when_it_is_settled(
    tell: Callable[[str], Context], capsys: pytest.CaptureFixture[str]
) -> None:
    def counted() -> list[float]:
        return [one.value for one in in_logs(capsys.readouterr().out.splitlines()) if one.name == "ImagesErased"]

    gone, context = cataloged(RECENT), tell("erase_image")

    assert erase(gone.image_id, context) == 204
    erase_image({"image_id": gone.image_id}, context)
    assert counted() == [], "something on its way may still be stored"
    put_item(tombstone_of(gone.image_id) | {"repeated_at": "2026-11-28T12:00:00.000Z"})
    erase_image({"image_id": gone.image_id}, context)
    assert counted() == [1]
    erase_image({"image_id": gone.image_id}, context)
    returned = {"returned_at": "2026-11-28T13:00:00.000Z", "unsettled_since": "2026-11-28T13:00:00.000Z"}
    put_item(tombstone_of(gone.image_id) | returned | {"repeated_at": "2026-11-28T14:00:00.000Z"})
    erase_image({"image_id": gone.image_id}, context)

    assert "unsettled_since" not in tombstone_of(gone.image_id)
    assert counted() == [], "it has come back, and is the same erasure"


# Kept records of Kafka


@pytest.fixture
def with_kafka(tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch) -> Context:
    """The context of erase_image in a stack with Kafka."""
    context = tell("erase_image")
    monkeypatch.setenv("FAILED_RECORDS_BUCKET", FAILED_RECORDS)
    monkeypatch.setenv("KAFKA_CLUSTER_NAME", CLUSTER)
    return context


def refused_record(tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch, offset: int) -> str:
    """A record that the Kafka door has refused; its image_id."""
    sample = event("consume_image_topic_self_managed")
    [(place, [record, *_])] = list(sample["records"].items())[:1]
    refused = record | {"offset": offset, "headers": [{"source": list(b"no source!")}]}
    context = tell("consume_image_topic")
    monkeypatch.setenv("KAFKA_CLUSTER_NAME", CLUSTER)
    consume_image_topic(sample | {"records": {place: [refused]}}, context)
    return Position.of(refused).image_id(CLUSTER)


def given_up_records(offsets: range, key: str = "aws/lambda/uuid/images-0/2026/11/22/record") -> list[str]:
    """Records that Lambda has given up; their image_ids."""
    sample = event("consume_image_topic_self_managed")
    [(place, [record, *_])] = list(sample["records"].items())[:1]
    records = [record | {"offset": offset} for offset in offsets]
    envelope = {"version": "1.0", "payload": json.dumps(sample | {"records": {place: records}})}
    client("s3").put_object(Bucket=FAILED_RECORDS, Key=key, Body=json.dumps(envelope).encode())
    return [Position.of(one).image_id(CLUSTER) for one in records]


def test_a_refused_record_is_erased_and_does_not_come_back(
    tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id, other = (refused_record(tell, monkeypatch, offset) for offset in (7, 8))
    context = tell("erase_image")
    monkeypatch.setenv("FAILED_RECORDS_BUCKET", FAILED_RECORDS)

    assert erase(image_id, context) == 404, "an owner is nobody's"
    assert erase(image_id, context, group="operators") == 204

    [left] = kept(FAILED_RECORDS)
    assert left.endswith(f"/{other}.json")
    assert tombstone_of(image_id)["status"] == "erased"
    [receipt] = receipts("erasures")
    assert (receipt["records"], receipt["versions"]) == (1, 0)


def test_a_record_is_taken_out_of_those_that_lambda_gave_up_with_it(with_kafka: Context) -> None:
    first, second, third = given_up_records(range(3))
    client("s3").put_object(Bucket=FAILED_RECORDS, Key="aws/lambda/uuid/note", Body=b"no record")

    assert erase(second, with_kafka, group="operators") == 204

    left = client("s3").get_object(Bucket=FAILED_RECORDS, Key="aws/lambda/uuid/images-0/2026/11/22/record")
    envelope = json.loads(left["Body"].read())
    [records] = json.loads(envelope["payload"])["records"].values()
    assert [Position.of(one).image_id(CLUSTER) for one in records] == [first, third]
    assert envelope["version"] == "1.0"
    assert erase(first, with_kafka, group="operators") == 204
    assert erase(third, with_kafka, group="operators") == 204
    assert kept(FAILED_RECORDS) == ["aws/lambda/uuid/note"]


def test_records_that_were_given_up_over_a_day_ago_go_together_since_they_may_not_grow_young_again(
    with_kafka: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id, _ = given_up_records(range(2))
    monkeypatch.setattr("imagelake.ingest.kept_records.MAY_BE_RENEWED", timedelta(seconds=-1))

    assert erase(image_id, with_kafka, group="operators") == 204

    assert kept(FAILED_RECORDS) == []
    [receipt] = receipts("erasures")
    assert receipt["records"] == 2


def test_records_that_nobody_has_looked_through_in_time_are_left_to_the_stream(
    with_kafka: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id, _ = given_up_records(range(2))
    with monkeypatch.context() as patch:
        patch.setattr(erasing, "LOOK_SECONDS", -1.0)
        patch.setattr(app, "ANSWER_SECONDS", -1.0)
        assert erase(image_id, with_kafka, group="operators") == 202
    [receipt] = receipts("erasures")
    assert (receipt["state"], receipt["records"]) == ("to be continued", 0)

    erase_image({"image_id": image_id}, with_kafka)

    assert sum(receipt["records"] for receipt in receipts("erasures")) == 1


NOBODYS_IDS = ["019ab3c1-0000-4000-8000-000000000000", str(uuid.uuid5(uuid.NAMESPACE_URL, "x")), "no id", "..", "A"]


@pytest.mark.parametrize("image_id", NOBODYS_IDS)
def test_an_operator_is_told_of_an_image_that_nobody_has(image_id: str, with_kafka: Context) -> None:
    given_up_records(range(2))

    assert erase(image_id, with_kafka, group="operators") == 404

    assert item(image_id) is None


def test_a_stack_with_kafka_lets_erasure_reach_kept_records() -> None:
    role = translated()["Resources"]["EraseImageRole"]["Properties"]
    [(condition, granted, otherwise)] = [one["Fn::If"] for one in role["Policies"] if "Fn::If" in one]

    assert (condition, otherwise) == ("HasKafka", {"Ref": "AWS::NoValue"})
    find, take_out = granted["PolicyDocument"]["Statement"]
    assert (find["Action"], find["Resource"]) == ("s3:ListBucket", {"Fn::GetAtt": ["FailedRecordsBucket", "Arn"]})
    assert take_out["Action"] == ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    assert take_out["Resource"] == {"Fn::Sub": "${FailedRecordsBucket.Arn}/*"}
