"""Rebuilding on stores in process; readers, writers, erasers, compaction and interruptions come between its calls."""

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from functions.rebuild_catalog.app import handler as rebuild_catalog
from functions.write_catalog.app import handler as write_catalog
from imagelake.catalog import compaction, parquet
from imagelake.catalog import rebuild as rebuilding
from imagelake.catalog.rebuild import Rebuilder, Rebuilt
from imagelake.errors import InvalidKeyError
from imagelake.ingest.kept_records import KeptRecords
from imagelake.keys import ArrivalHour, catalog_prefix, compaction_prefix
from imagelake.model import ImageRecord
from imagelake.retention.erasure import Caller, Erasure
from imagelake.stores import images_table
from imagelake.stores.buckets import Bucket
from imagelake.stores.event_bus import EventBus
from imagelake.stores.images_table import ImagesTable
from tests.application import event, physical_name
from tests.integration.call_faults import Died
from tests.integration.conftest import EVENT_BUS, IMAGES_TABLE, LAKE_BUCKET, RAW_BUCKET, Context, client, stream_of
from tests.integration.test_compact_catalog import (
    HOUR,
    NOW,
    RUNS,
    SETTINGS,
    WRITER,
    Query,
    between_calls,
    clear,
    keys,
    kill,
    row,
    run,
    stored,
)

REBUILD = Rebuilder(WRITER, ImagesTable(IMAGES_TABLE), 7)
ERASE = Erasure(
    Bucket(RAW_BUCKET),
    Bucket(LAKE_BUCKET),
    Bucket(physical_name("AuditBucket")),
    ImagesTable(IMAGES_TABLE),
    EventBus(EVENT_BUS),
    KeptRecords(Bucket(""), ""),
    7,
)


@pytest.fixture(autouse=True)
def _one_call_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "DOWNLOADS", 1)
    monkeypatch.setattr(parquet, "DOWNLOADS", 1)
    monkeypatch.setattr(rebuilding, "READERS", 1)


def cataloged(files: int = 2) -> list[ImageRecord]:
    """Images with their items and rows, two rows to a file."""
    records = [row() for _ in range(2 * files)]
    for number, record in enumerate(records):
        client("dynamodb").put_item(TableName=IMAGES_TABLE, Item=images_table.serialize(record.to_item()))
        if number % 2:
            parquet.write(records[number - 1 : number + 1], f"{number:032x}", WRITER)
    return records


def lose(count: int = 1) -> None:
    """Somebody deletes files of the hour."""
    for key in keys(catalog_prefix(HOUR))[:count]:
        client("s3").delete_object(Bucket=LAKE_BUCKET, Key=key)


def ids(records: list[ImageRecord]) -> list[str]:
    return sorted(record.image_id for record in records)


def rebuild(now: datetime = NOW, **options: Any) -> Rebuilt:
    return REBUILD.run(HOUR, now, 60, **options)


def settle(first: datetime = NOW) -> None:
    """Compaction comes by."""
    run(RUNS, first + timedelta(hours=1))


def test_answers_its_sample(tell: Callable[[str], Context]) -> None:
    answer = rebuild_catalog(event("rebuild_catalog"), tell("rebuild_catalog"))

    assert (answer["hour"], answer["missing"], answer["finished"]) == ("ingest_date=2026-11-22/hour=09", 0, True)


@pytest.mark.parametrize("hour", ["2026-11-22T09", "ingest_date=2026-13-45/hour=09", ""])
def test_an_hour_that_is_none_is_refused(hour: str, tell: Callable[[str], Context]) -> None:
    with pytest.raises(InvalidKeyError, match="not an hour of arrival"):
        rebuild_catalog({"hour": hour}, tell("rebuild_catalog"))


@pytest.mark.parametrize("lost", [1, 3])
def test_rows_of_deleted_files_come_back_and_the_hour_settles_where_its_keys_say(lost: int) -> None:
    records = cataloged(3)
    lose(lost)

    result = rebuild()

    assert result == Rebuilt(HOUR.path, "rebuilt", items=6, rows=6 - 2 * lost, missing=2 * lost, restored=2 * lost)
    assert Query().read() == ids(records)
    settle()
    assert Query().read() == ids(records)
    assert [key.rpartition("/")[0] + "/" for key in keys()] == [catalog_prefix(HOUR)]


def test_a_row_comes_back_as_it_was() -> None:
    [first, *_] = cataloged(1)
    [key] = keys()
    before = parquet_rows(key)
    lose()

    rebuild()

    [copy] = [key for key in keys() if key.endswith(".parquet")]
    assert parquet_rows(copy) == before
    assert first.image_id in {line[0] for line in before}


def parquet_rows(key: str) -> list[tuple[Any, ...]]:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(client("s3").get_object(Bucket=LAKE_BUCKET, Key=key)["Body"].read())
        return duckdb.read_parquet(file.name).order("image_id").fetchall()


def test_a_deleted_partition_comes_back_with_and_without_its_files() -> None:
    for lost in (0, 2):
        clear()
        records = cataloged()
        WRITER.unregister(HOUR)
        lose(lost)

        assert rebuild().state == "rebuilt"

        assert set(ids(records)) <= set(seen := Query().read())
        assert len(seen) == len(set(seen))


def test_a_second_run_finds_nothing_and_writes_nothing() -> None:
    cataloged()
    lose()
    rebuild()

    with between_calls(lambda: None) as made:
        result = rebuild()

    assert (result.state, result.missing) == ("complete", 0)
    assert not {name for name in made if not name.startswith(("Get", "List"))}


def test_a_dry_run_counts_and_changes_nothing() -> None:
    cataloged(3)
    lose(2)

    with between_calls(lambda: None) as made:
        result = rebuild(dry_run=True)

    assert result == Rebuilt(HOUR.path, "incomplete", items=6, rows=2, missing=4)
    assert not {name for name in made if not name.startswith(("Get", "List"))}


def test_an_open_hour_and_one_about_to_be_purged_are_left_alone() -> None:
    assert REBUILD.run(ArrivalHour.of(NOW), NOW, 60).state == "open"
    assert REBUILD.run(HOUR, HOUR.closed_at - timedelta(seconds=1), 60).state == "open"
    assert REBUILD.run(HOUR, HOUR.start + timedelta(days=7, hours=-4), 60).state == "due"


def test_what_nobody_uploaded_and_what_was_erased_is_not_missing() -> None:
    [erased, *others] = cataloged()
    client("dynamodb").put_item(
        TableName=IMAGES_TABLE,
        Item=images_table.serialize(row().to_item() | {"status": "awaiting_upload"}),
    )
    erase(erased.image_id)

    assert rebuild().state == "complete"
    assert Query().read() == ids(others)


def erase(image_id: str) -> None:
    tombstone = ERASE.bury(image_id, Caller("operator", is_operator=True), datetime.now(UTC))
    assert tombstone is not None
    ERASE.erase(tombstone, datetime.now(UTC))


def test_an_item_that_nobody_can_read_is_said_to_be_missing_and_keeps_no_other() -> None:
    records = cataloged()
    lose()
    broken = records[0].to_item() | {"width": "wide"}
    client("dynamodb").put_item(TableName=IMAGES_TABLE, Item=images_table.serialize(broken))

    assert (rebuild().missing, Query().read()) == (2, ids(records[1:]))
    assert (rebuild().state, rebuild().missing, rebuild().restored) == ("incomplete", 1, 0)


def test_a_run_out_of_time_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    records = cataloged(3)
    lose(3)
    monkeypatch.setattr(rebuilding, "SLICE_ROWS", 2)

    results = [REBUILD.run(HOUR, NOW, -1)]
    while not results[-1].finished:
        assert len(results) < 9
        results.append(REBUILD.run(HOUR, NOW, -1))

    assert sum(result.restored for result in results) == 6
    assert len(results) > 2
    assert Query().read() == ids(records)
    assert not keys(f"{compaction_prefix(HOUR)}rebuild/")


def moments() -> int:
    """How many calls a rebuild makes."""
    cataloged()
    lose()
    with between_calls(lambda: None) as made:
        rebuild()
    assert {"PutObject", "BatchUpdatePartition", "DeleteObjects"} <= set(made)
    clear()
    return len(made)


def test_a_query_sees_the_hour_as_it_was_or_whole_whenever_it_begins_and_however_long_it_reads() -> None:
    records, begun = cataloged(), list[Query]()
    lose()
    before = Query().read()

    def look() -> None:
        begun.append(Query())
        assert begun[-1].read() in (before, ids(records))

    with between_calls(look):
        rebuild()

    assert Query().read() == ids(records)
    assert all(query.read() in (before, ids(records)) for query in begun)


def test_a_run_that_is_killed_before_any_call_is_made_good_by_the_next() -> None:
    for call in range(moments()):
        clear()
        records = cataloged()
        lose()

        with between_calls(kill, {call}), pytest.raises(Died):
            rebuild()
        rebuild()

        assert set(ids(records)) <= set(seen := Query().read()), call
        assert len(seen) == len(set(seen)), call
        drop_items()


def drop_items() -> None:
    for item in client("dynamodb").scan(TableName=IMAGES_TABLE)["Items"]:
        client("dynamodb").delete_item(TableName=IMAGES_TABLE, Key={"image_id": item["image_id"]})


def test_an_image_that_is_erased_before_any_call_stays_erased() -> None:
    for call in range(moments()):
        clear()
        drop_items()
        doomed = (records := cataloged())[0].image_id
        lose()

        with between_calls(lambda doomed=doomed: erase(doomed), {call}):  # type: ignore[misc]  # mypy infers no lambda with defaults
            rebuild()
        rebuild()

        assert stored(doomed) == [], call
        assert Query().read() == [one for one in ids(records) if one != doomed], call


@pytest.mark.parametrize("step", range(RUNS))
def test_what_was_rebuilt_before_any_call_of_a_compaction_is_there_in_the_end(step: int) -> None:
    now = NOW + step * timedelta(hours=1)

    def lacking() -> list[ImageRecord]:
        """An hour that lacks rows, and in which compaction has got so far."""
        clear()
        drop_items()
        records = cataloged(3)
        lose()
        run(step)
        return records

    lacking()
    with between_calls(lambda: None) as made:
        SETTINGS.run(now, 60)
    for call in range(len(made)):
        records = lacking()
        states = list[str]()

        with between_calls(lambda states=states: states.append(rebuild(now).state), {call}):  # type: ignore[misc]  # mypy infers no lambda with defaults
            SETTINGS.run(now, 60)

        assert states == ["rebuilt"], call
        assert Query().read() == ids(records), call
        settle(now)
        assert Query().read() == ids(records), call
        assert len(keys()) == 1, call


def test_a_row_that_the_stream_brings_before_any_call_is_seen_once(tell: Callable[[str], Context]) -> None:
    """The stream was behind: the row that is missing was on its way."""
    context = tell("write_catalog")
    for call in range(moments() + 1):
        clear()
        drop_items()
        records = cataloged()
        lose()
        begun = list[bool]()

        def write(records: list[ImageRecord] = records, begun: list[bool] = begun) -> None:
            begun.append(True)
            write_catalog(on_the_stream(records[0], age=timedelta()), context)

        with between_calls(write, {call}):
            rebuild()
        if not begun:
            write()

        seen = Query().read()
        assert len(seen) == len(set(seen)), call
        settle()
        assert Query().read() == ids(records), call


def on_the_stream(record: ImageRecord, age: timedelta) -> dict[str, Any]:
    batch = stream_of(record.to_item())
    batch["Records"][0]["dynamodb"]["ApproximateCreationDateTime"] = (datetime.now(UTC) - age).timestamp()
    return batch


@pytest.mark.parametrize("steps", range(4))
def test_a_row_that_the_stream_brings_hours_later_is_left_out(steps: int, tell: Callable[[str], Context]) -> None:
    records = cataloged()
    lose()
    rebuild()
    for number in range(steps):
        SETTINGS.run(NOW + (number + 1) * timedelta(hours=1), 60)

    written = write_catalog(on_the_stream(records[0], age=timedelta(hours=9)), tell("write_catalog"))

    assert written["files"] == []
    assert Query().read() == ids(records)


def test_a_late_row_that_is_nowhere_is_written_beside_one_that_is_known(tell: Callable[[str], Context]) -> None:
    [known, *_] = records = cataloged()
    lose()
    rebuild()
    settle()
    late = row()
    batch = on_the_stream(known, age=timedelta(hours=9))
    batch["Records"] += on_the_stream(late, age=timedelta(hours=9))["Records"]

    write_catalog(batch, tell("write_catalog"))

    assert Query().read() == sorted([*ids(records), late.image_id])


def test_a_file_that_is_lost_while_its_hour_is_moved_is_missing_only_if_queries_miss_it() -> None:
    records = cataloged()
    run(1)
    lose()
    assert rebuild().state == "complete", "queries read the copy"
    for key in keys(compaction_prefix(HOUR)):
        client("s3").delete_object(Bucket=LAKE_BUCKET, Key=key)

    assert rebuild().missing == 4

    assert Query().read() == ids(records)
    settle()
    assert Query().read() == ids(records)


def test_an_image_that_failed_and_was_redriven_keeps_its_rows() -> None:
    [redriven, *_] = records = cataloged()
    failed = redriven.model_copy(update={"status": "failed", "processed_at": None, "reason": "fault: x on y"})
    parquet.write([failed], "f" * 32, WRITER)
    lose()

    rebuild()

    assert Query().read() == sorted([*ids(records), redriven.image_id])
