"""Compaction on stores in process; readers, writers, erasers, other runs and interruptions come between its calls."""

import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from botocore.exceptions import ClientError

from functions.compact_catalog.app import handler as compact_catalog
from imagelake.catalog import compaction, parquet
from imagelake.catalog.compaction import GRACE, Compaction, Compactor
from imagelake.errors import Fault
from imagelake.keys import ArrivalHour, catalog_prefix, compaction_prefix
from imagelake.model import ImageRecord
from imagelake.retention.purge import Purge, Work
from imagelake.schema import HIVE_COLUMNS
from imagelake.stores import buckets, catalog_table
from imagelake.stores.buckets import Bucket
from imagelake.stores.catalog_table import CatalogTable
from imagelake.stores.event_bus import EventBus
from imagelake.stores.images_table import ImagesTable
from tests.application import event, physical_name
from tests.integration.call_faults import Died
from tests.integration.conftest import (
    DATABASE,
    EVENT_BUS,
    IMAGES_TABLE,
    LAKE_BUCKET,
    RAW_BUCKET,
    TABLE,
    Context,
    client,
)

NOW = datetime.now(UTC)
HOUR = ArrivalHour.of(NOW - timedelta(days=2))
SETTINGS = Compactor(CatalogTable(DATABASE, TABLE, Bucket(LAKE_BUCKET)), 7)
WRITER = CatalogTable(DATABASE, TABLE, Bucket(LAKE_BUCKET))
RUNS = 3
"""So many, an hour apart, see a compaction through, whatever came between."""

pytestmark = pytest.mark.usefixtures("_one_call_after_another")

type Action = Callable[[], object]


@pytest.fixture
def _one_call_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "DOWNLOADS", 1)


def row(hour: ArrivalHour = HOUR, **changes: Any) -> ImageRecord:
    arrived = hour.start + timedelta(minutes=10)
    fields = {
        "image_id": str(uuid.uuid4()),
        "status": "processed",
        "received_at": arrived,
        "processed_at": arrived + timedelta(seconds=2),
        "expires_at": arrived + timedelta(days=7),
        "tags": {"album": "holiday"},
        "ingest_date": hour.ingest_date,
        "hour": hour.hour,
    }
    return ImageRecord.model_validate(fields | changes)


def fragment(hour: ArrivalHour = HOUR, files: int = 2) -> list[str]:
    """Several small files in an hour; returns the image_ids in them."""
    rows = [[row(hour), row(hour)] for _ in range(files)]
    for batch in rows:
        parquet.write(batch, uuid.uuid4().hex, WRITER)
    return sorted(one.image_id for batch in rows for one in batch)


class Query:
    """What Athena does: find the files of the partitions first, read them later, pass over names with an underscore."""

    def __init__(self, hour: ArrivalHour = HOUR) -> None:
        values = [hour.ingest_date, hour.hour]
        found = client("glue").get_partition(DatabaseName=DATABASE, TableName=TABLE, PartitionValues=values)
        prefix = found["Partition"]["StorageDescriptor"]["Location"].removeprefix(f"s3://{LAKE_BUCKET}/")
        self.keys = [key for key in keys(prefix) if not key.rpartition("/")[2].startswith("_")]

    def read(self) -> list[str]:
        """The image_ids of all rows; raises when a file is gone."""
        return sorted(image_id for key in self.keys for image_id in image_ids(key))


def keys(prefix: str = "") -> list[str]:
    listed = client("s3").list_objects_v2(Bucket=LAKE_BUCKET, Prefix=prefix).get("Contents", [])
    return [entry["Key"] for entry in listed]


def image_ids(key: str) -> list[str]:
    content = client("s3").get_object(Bucket=LAKE_BUCKET, Key=key)["Body"].read()
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content)
        return [one for (one,) in duckdb.read_parquet(file.name).project("image_id").fetchall()]


def stored(image_id: str) -> list[str]:
    """The files that have rows of an image, whoever can see them."""
    return [key for key in keys() if key.endswith(".parquet") and image_id in image_ids(key)]


def run(times: int = RUNS, first: datetime = NOW) -> list[Compaction]:
    return [SETTINGS.run(first + number * timedelta(hours=1), 60) for number in range(times)]


@contextmanager
def between_calls(action: Action, calls: set[int] | None = None) -> Iterator[list[str]]:
    """Do something before calls to S3 and Glue, by number or before all; gives the names of the calls."""
    made: list[str] = []
    acting = threading.Lock()

    def before(model: Any, **_: Any) -> None:
        if not acting.acquire(blocking=False):  # a call of the action's own
            return
        try:
            made.append(model.name)
            if calls is None or len(made) - 1 in calls:
                action()
        finally:
            acting.release()

    clients: tuple[Any, ...] = (buckets.s3_client(), catalog_table._glue())
    for one in clients:
        one.meta.events.register("before-call", before)
    try:
        yield made
    finally:
        for one in clients:
            one.meta.events.unregister("before-call", before)


def moments() -> Iterator[int]:
    """The calls of a compaction of `fragment`'s files, by number; the hour is empty again before each."""
    fragment()
    with between_calls(lambda: None) as made:
        run()
    assert {"PutObject", "CopyObject", "DeleteObjects", "BatchUpdatePartition"} <= set(made)
    for call in range(len(made)):
        clear()
        yield call


def clear() -> None:
    Bucket(LAKE_BUCKET).delete(keys())
    WRITER.unregister(HOUR)


def test_answers_its_sample(tell: Callable[[str], Context]) -> None:
    answer = compact_catalog(event("compact_catalog"), tell("compact_catalog"))

    assert answer["hours"] == {"merged": 0, "replaced": 0, "cleaned": 0}
    assert answer["faults"] == {}


def test_many_small_files_become_one_in_three_runs_and_nothing_is_left_over() -> None:
    expected = fragment(files=6)

    results = run(RUNS + 1)

    assert [result.hours for result in results] == [
        {"merged": 1, "replaced": 0, "cleaned": 0},
        {"merged": 0, "replaced": 1, "cleaned": 0},
        {"merged": 0, "replaced": 0, "cleaned": 1},
        {"merged": 0, "replaced": 0, "cleaned": 0},
    ]
    assert (results[1].files_before, results[1].files_after) == (6, 1)
    (file,) = keys()
    assert file.startswith(catalog_prefix(HOUR))
    assert Query().read() == expected


def test_a_query_sees_every_row_once_whenever_it_begins_and_however_long_it_reads() -> None:
    expected, begun = fragment(), list[Query]()

    def look() -> None:
        assert Query().read() == expected
        begun.append(Query())

    for number in range(RUNS):
        with between_calls(look):
            SETTINGS.run(NOW + number * timedelta(hours=1), 60)
        assert all(query.read() == expected for query in begun)
        begun.clear()

    assert len(keys()) == 1


def test_a_query_that_read_across_two_runs_would_miss_files() -> None:
    fragment()
    query = Query()

    run(2)

    with pytest.raises(ClientError, match="NoSuchKey"):  # which is why runs wait for GRACE
        query.read()


def test_nothing_is_done_to_an_hour_that_moved_less_than_the_grace_ago() -> None:
    expected = fragment()
    run(1)
    query = Query()

    results = [SETTINGS.run(NOW + GRACE - timedelta(seconds=1), 60), *run(1, NOW + timedelta(minutes=1))]

    assert all(sum(result.hours.values()) == 0 for result in results)
    assert query.read() == Query().read() == expected


def test_a_run_that_is_killed_before_any_call_is_made_good_by_the_next() -> None:
    for call in moments():
        expected = fragment()

        with between_calls(kill, {call}), pytest.raises(Died):
            run()
        assert Query().read() == expected
        run(RUNS + 1, NOW + timedelta(hours=RUNS))

        assert Query().read() == expected
        assert len(keys(catalog_prefix(HOUR))) == 1, call
        assert keys(compaction_prefix(HOUR)) == []


def kill() -> None:
    raise Died


def test_a_row_that_is_erased_before_any_call_stays_erased() -> None:
    for call in moments():
        doomed, *others = fragment()
        erasures: list[int] = []

        def erase(doomed: str = doomed, erasures: list[int] = erasures) -> None:
            erasures.append(parquet.erase(Bucket(LAKE_BUCKET), HOUR, {doomed}))

        with between_calls(erase, {call}):
            for number in range(RUNS):
                run(1, NOW + number * timedelta(hours=1))
                assert not erasures or stored(doomed) == [], (call, number)

        assert erasures
        assert Query().read() == others
        assert len(keys(catalog_prefix(HOUR))) == 1


def test_a_copy_that_is_on_its_way_while_a_row_is_erased_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 reads what it copies before anybody can see the copy; here it does so before and after an erasure."""
    doomed, *others = fragment()
    copy = Bucket.copy

    def copy_slowly(bucket: Bucket, source: str, target: str, etag: str) -> bool:
        monkeypatch.setattr(Bucket, "copy", copy)
        content, _ = bucket.read(source) or (b"", "")
        parquet.erase(Bucket(LAKE_BUCKET), HOUR, {doomed})
        bucket.overwrite(target, content, parquet.PARQUET)
        assert stored(doomed) == [target]
        return etag != ""

    run(1)
    monkeypatch.setattr(Bucket, "copy", copy_slowly)
    run(1, NOW + timedelta(hours=1))

    assert stored(doomed) == []
    assert Query().read() == others


def test_an_erasure_that_is_overtaken_by_a_whole_run_at_any_of_its_calls_still_erases() -> None:
    for step in range(3):
        for call in range(12):
            clear()
            doomed, *others = fragment()
            run(step)

            with between_calls(lambda step=step: run(1, NOW + step * timedelta(hours=1)), {call}):  # type: ignore[misc]  # mypy infers no lambda with defaults
                parquet.erase(Bucket(LAKE_BUCKET), HOUR, {doomed})

            assert stored(doomed) == [], (step, call)
            assert Query().read() == others


def test_a_row_that_comes_before_any_call_is_seen_in_the_end_and_once() -> None:
    for call in moments():
        expected, late = fragment(), row()

        with between_calls(lambda late=late: parquet.write([late], uuid.uuid4().hex, WRITER), {call}):  # type: ignore[misc]  # mypy infers no lambda with defaults
            run()

        assert Query().read() == sorted([*expected, late.image_id]), call


def test_a_second_run_before_any_call_of_the_first_does_no_harm() -> None:
    for call in moments():
        expected = fragment()

        for number in range(RUNS + 1):
            now = NOW + number * timedelta(hours=1)
            with between_calls(lambda now=now: SETTINGS.run(now, 60), {call}):  # type: ignore[misc]  # mypy infers no lambda with defaults
                SETTINGS.run(now, 60)
            assert Query().read() == expected, (call, number)

        assert len(keys(catalog_prefix(HOUR))) == 1


def test_rows_of_a_batch_that_was_written_again_after_its_hour_was_compacted_become_one_again() -> None:
    batch = [row(), row()]
    parquet.write(batch, "again", WRITER)
    fragment()
    run()
    parquet.write(batch, "again", WRITER)
    assert len(set(Query().read())) < len(Query().read())

    run(first=NOW + timedelta(hours=RUNS))

    assert len(set(Query().read())) == len(Query().read())


def test_an_image_that_was_redriven_keeps_both_of_its_rows() -> None:
    failed = row(status="failed", processed_at=None, reason="fault: ThrottlingException on GetObject")
    parquet.write([failed], "first", WRITER)
    parquet.write([failed.model_copy(update={"status": "processed", "processed_at": NOW})], "second", WRITER)

    run()

    assert Query().read() == [failed.image_id] * 2


def test_large_files_are_several_and_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "FILE_BYTES", 20_000)
    rows = [row(script_output=f'"{uuid.uuid4().hex * 10}"') for _ in range(2_000)]
    for number in range(0, 2_000, 500):
        parquet.write(rows[number : number + 500], f"batch{number}", WRITER)

    run()
    files = keys()
    again = run(1, NOW + timedelta(days=1))

    assert len(files) > 1
    assert again[0].hours["merged"] == 0
    assert Query().read() == sorted(one.image_id for one in rows)


def test_an_hour_of_files_that_are_more_than_half_as_large_as_they_may_be_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(2):
        parquet.write([row(script_output=f'"{uuid.uuid4().hex * 10}"') for _ in range(500)], f"batch{number}", WRITER)
    smallest = min(file.bytes for file in Bucket(LAKE_BUCKET).objects(catalog_prefix(HOUR)))
    monkeypatch.setattr(compaction, "FILE_BYTES", 2 * smallest - 1)

    [result] = run(1)

    assert result.hours["merged"] == 0


def test_files_of_before_a_column_came_are_merged_with_those_that_have_it() -> None:
    [known] = fragment(files=1)[:1]
    [key] = keys("catalog/")
    content = client("s3").get_object(Bucket=LAKE_BUCKET, Key=key)["Body"].read()
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "before.parquet"), Path(folder, "after.parquet")
        before.write_bytes(content)
        duckdb.read_parquet(str(before)).project("* EXCLUDE tenant").write_parquet(str(after))
        client("s3").put_object(Bucket=LAKE_BUCKET, Key=key, Body=after.read_bytes())
    for _ in range(2):
        parquet.write([row(tenant="acme")], uuid.uuid4().hex, WRITER)

    run()

    [merged] = keys("catalog/")
    content = client("s3").get_object(Bucket=LAKE_BUCKET, Key=merged)["Body"].read()
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content)
        rows = duckdb.read_parquet(file.name)
        assert rows.columns == list(HIVE_COLUMNS)
        assert sorted(rows.project("tenant").fetchall(), key=str) == [("acme",), ("acme",), (None,), (None,)]
    assert known in image_ids(merged)


def test_an_hour_whose_rows_were_all_erased_is_compacted_too() -> None:
    doomed = fragment()
    parquet.erase(Bucket(LAKE_BUCKET), HOUR, {*doomed})

    results = run()

    assert [result.faults for result in results] == [{}] * RUNS
    assert Query().read() == []
    assert len(keys()) == 1


def test_hours_that_are_open_or_about_to_be_purged_are_left_alone() -> None:
    open_hour, due = ArrivalHour.of(NOW), ArrivalHour.of(NOW - timedelta(days=7) + timedelta(hours=3))
    fragment(open_hour)
    fragment(due)

    (result,) = run(1)

    assert sum(result.hours.values()) == 0


def test_without_time_an_hour_is_left_for_the_next_run() -> None:
    fragment()

    assert SETTINGS.run(NOW, -1).postponed == 1
    assert SETTINGS.run(NOW, 60).hours["merged"] == 1


def test_an_hour_that_fails_keeps_no_other_from_its_turn(
    monkeypatch: pytest.MonkeyPatch, tell: Callable[[str], Context]
) -> None:
    broken = ArrivalHour.of(HOUR.start - timedelta(hours=1))
    fragment()
    fragment(broken)
    move = CatalogTable.move

    def refuse(table: CatalogTable, partition: ArrivalHour, *arguments: Any) -> None:
        if partition == broken:
            raise Fault("AccessDenied on BatchUpdatePartition")
        move(table, partition, *arguments)

    monkeypatch.setattr(CatalogTable, "move", refuse)
    monkeypatch.setattr(Context, "get_remaining_time_in_millis", staticmethod(lambda: 900_000))

    with pytest.raises(Fault, match="AccessDenied on BatchUpdatePartition"):
        compact_catalog({}, tell("compact_catalog"))

    assert Query().keys[0].startswith("compaction/")
    assert Query(broken).keys[0].startswith("catalog/")


def test_an_hour_is_purged_wherever_it_is() -> None:
    due = ArrivalHour.of(NOW - timedelta(days=7, hours=3))
    settings = Purge(
        Bucket(RAW_BUCKET),
        Bucket(physical_name("AuditBucket")),
        ImagesTable(IMAGES_TABLE),
        EventBus(EVENT_BUS),
        CatalogTable(DATABASE, TABLE, Bucket(LAKE_BUCKET)),
        7,
    )
    fragment(due)
    run(1, due.closed_at)
    assert len(keys("compaction/")) == 2

    found = [work for work in settings.find_work(NOW) if work.hour]
    for work in found:
        settings.run(work, NOW, 60)

    assert found == [Work(store="catalog", hour=due.path), Work(store="compaction", hour=due.path)]
    assert keys() == []
    assert WRITER.registered(ArrivalHour.of(NOW)) == []
