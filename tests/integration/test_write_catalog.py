"""From the stream of the images table to Parquet that analysts can query."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock
from uuid import UUID

import duckdb
import pytest
from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.write_catalog.app import handler
from imagelake import schema
from imagelake.catalog import parquet
from imagelake.errors import Fault
from imagelake.keys import ArrivalHour, catalog_prefix
from imagelake.model import Derivative, ImageRecord, Tombstone
from imagelake.stores import buckets, catalog_table, functions
from imagelake.stores.buckets import Bucket
from imagelake.stores.catalog_table import CatalogTable
from tests.application import event
from tests.duckdb_catalog import catalog_over, parquet_under
from tests.integration.conftest import (
    DATABASE,
    LAKE_BUCKET,
    TABLE,
    Context,
    Invoke,
    client,
    dead_letters_sent,
    stream_of,
)
from tests.integration.stand_ins import StartedErasures
from tools.sql import to_duckdb

RECEIVED = datetime(2026, 11, 22, 9, 30, 15, tzinfo=UTC)
HIVE_TO_DUCKDB = {
    "string": "VARCHAR",
    "timestamp": "TIMESTAMP",
    "bigint": "BIGINT",
    "int": "INTEGER",
    "double": "DOUBLE",
    "map<string,string>": "MAP(VARCHAR, VARCHAR)",
    "array<string>": "VARCHAR[]",
}


@pytest.fixture
def write(tell: Callable[[str], Context], logs: StringIO) -> Invoke:  # noqa: ARG001  # not for the terminal
    context = tell("write_catalog")
    return lambda batch: dict(json.loads(json.dumps(handler(batch, context))))


def _record(number: int, received_at: datetime = RECEIVED, **changes: Any) -> ImageRecord:
    partition = ArrivalHour.of(received_at)
    return ImageRecord.model_validate(
        {
            "image_id": str(UUID(int=number)),
            "status": "processed",
            "received_at": received_at,
            "expires_at": datetime(2100, 1, 1, tzinfo=UTC),  # what has expired is not written
            "ingest_date": partition.ingest_date,
            "hour": partition.hour,
        }
        | changes
    )


def _batch_of(*records: ImageRecord) -> dict[str, Any]:
    return stream_of(*(record.to_item() for record in records))


def _files() -> dict[str, bytes]:
    listed = client("s3").list_objects_v2(Bucket=LAKE_BUCKET).get("Contents", [])
    return {
        entry["Key"]: client("s3").get_object(Bucket=LAKE_BUCKET, Key=entry["Key"])["Body"].read() for entry in listed
    }


def _query(query: str, folder: Path) -> list[tuple[Any, ...]]:
    """The answer to a query of Athena's over all Parquet files of the lake bucket."""
    for key, content in _files().items():
        file = folder / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    with catalog_over(parquet_under(folder)) as database:
        return database.sql(to_duckdb(query)).fetchall()


def _partitions() -> list[list[str]]:
    found = client("glue").get_partitions(DatabaseName=DATABASE, TableName=TABLE)["Partitions"]
    return sorted(partition["Values"] for partition in found)


def test_writes_its_sample(write: Invoke, tmp_path: Path) -> None:
    answer = write(event("write_catalog"))

    assert answer["records"] == 1
    assert answer["files"] == list(_files())
    [row] = _query("SELECT image_id, width, tags['trip'], len(derivatives), ingest_date, hour FROM images", tmp_path)
    assert row == ("01a20297-8952-7c11-9d0a-5b1f3c2e4d6f", 1600, "north", 2, "2026-11-22", "09")


def test_writes_one_file_for_each_hour_and_registers_it(write: Invoke, tmp_path: Path) -> None:
    hours = [RECEIVED, RECEIVED + timedelta(hours=1), RECEIVED + timedelta(hours=15)]

    answer = write(_batch_of(*(_record(number, hours[number % 3]) for number in range(7))))

    assert len(answer["files"]) == 3
    assert {key.rpartition("/")[0] + "/" for key in answer["files"]} == {
        catalog_prefix(ArrivalHour.of(hour)) for hour in hours
    }
    assert len({key.rpartition("/")[2].partition(".")[0] for key in answer["files"]}) == 1
    assert _partitions() == [["2026-11-22", "09"], ["2026-11-22", "10"], ["2026-11-23", "00"]]
    counts = _query("SELECT ingest_date, hour, count(*) FROM images GROUP BY 1, 2 ORDER BY 1, 2", tmp_path)
    assert counts == [("2026-11-22", "09", 3), ("2026-11-22", "10", 2), ("2026-11-23", "00", 2)]


def test_a_partition_says_where_its_files_are_and_what_is_in_them(write: Invoke) -> None:
    [key] = write(_batch_of(_record(1)))["files"]

    [partition] = client("glue").get_partitions(DatabaseName=DATABASE, TableName=TABLE)["Partitions"]
    table = client("glue").get_table(DatabaseName=DATABASE, Name=TABLE)["Table"]["StorageDescriptor"]
    storage = partition["StorageDescriptor"]
    assert storage["Location"] == f"s3://{LAKE_BUCKET}/{key.rpartition('/')[0]}/"
    assert storage["Location"].startswith(table["Location"])
    for part in ("InputFormat", "OutputFormat", "SerdeInfo"):
        assert storage[part] == table[part]
    assert [(column["Name"], column["Type"]) for column in storage["Columns"]] == list(schema.HIVE_COLUMNS.items())


def test_the_same_batch_again_gives_the_same_files_and_no_row_twice(write: Invoke, tmp_path: Path) -> None:
    batch = _batch_of(*(_record(number, RECEIVED + timedelta(minutes=20 * number)) for number in range(5)))

    assert write(batch) == write(batch)
    assert _query("SELECT count(*), count(DISTINCT image_id) FROM images", tmp_path) == [(5, 5)]


def test_another_batch_of_the_same_hour_adds_a_file_and_tolerates_the_known_partition(
    write: Invoke, tmp_path: Path
) -> None:
    first, second = _batch_of(_record(1)), _batch_of(_record(2))
    second["Records"][0]["dynamodb"]["SequenceNumber"] = "9"

    assert write(first)["files"] != write(second)["files"]
    assert _partitions() == [["2026-11-22", "09"]]
    assert _query("SELECT count(*) FROM images", tmp_path) == [(2,)]


def test_registers_more_hours_than_glue_takes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    create = catalog_table._glue().batch_create_partition

    def counted(**request: Any) -> Any:
        sizes.append(len(request["PartitionInputList"]))
        return create(**request)

    monkeypatch.setattr(catalog_table._glue(), "batch_create_partition", counted)
    hours = [ArrivalHour.of(RECEIVED + timedelta(hours=number)) for number in range(101)]

    CatalogTable(DATABASE, TABLE, Bucket(LAKE_BUCKET)).register(hours)

    assert max(sizes) <= 100
    assert len(_partitions()) == 101


UNREADABLE = {
    "a status nobody knows": {"status": "lost"},
    "a column nobody knows": {"filename": "private-holiday.jpg"},
    "text for a number": {"width": "private-holiday.jpg"},
    "a number no column holds": {"width": 1 << 40},
    "no expiry": {"expires_at": None},
}


@pytest.mark.parametrize("change", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_item_is_reported_and_its_neighbours_are_written(
    change: dict[str, Any], write: Invoke, tmp_path: Path
) -> None:
    unreadable = _record(2).to_item() | change

    answer = write(stream_of(_record(1).to_item(), unreadable, _record(3).to_item()))

    assert answer["records"] == 2
    assert _query("SELECT image_id FROM images ORDER BY 1", tmp_path) == [(str(UUID(int=1)),), (str(UUID(int=3)),)]
    [message] = dead_letters_sent()
    assert message["image_id"] == str(UUID(int=2))
    assert message["reason"] == f"unreadable_item: {next(iter(change))}"
    assert "private-holiday" not in str(message)


def test_an_unreadable_tombstone_is_reported_once_and_its_neighbours_are_written(write: Invoke) -> None:
    tombstone = _record(2).to_item() | {"status": "erased", "erased_at": "yesterday"}

    assert write(stream_of(_record(1).to_item(), tombstone, _record(3).to_item()))["records"] == 2

    [message] = dead_letters_sent()
    assert (message["image_id"], message["reason"]) == (str(UUID(int=2)), "unreadable_item: erased_at")


def _tombstone(number: int, **more: Any) -> dict[str, Any]:
    made = Tombstone(
        image_id=str(UUID(int=number)),
        erased_at=RECEIVED,
        expires_at=RECEIVED + timedelta(days=7),
        unsettled_since="2026-11-22T10:00:00.000Z",
        ingest_date="2026-11-22",
        hour="09",
    )
    return made.to_item() | more


def test_a_tombstone_has_its_image_erased_until_it_is_settled(write: Invoke, erasures: StartedErasures) -> None:
    settled = _tombstone(2, repeated_at="2026-11-28T12:40:00.000Z")
    del settled["unsettled_since"]

    write(stream_of(_tombstone(1), settled, _tombstone(3, returned_at="2026-11-28T13:00:00.000Z")))

    assert erasures.take() == [str(UUID(int=1)), str(UUID(int=3))]


def test_an_erasure_that_cannot_be_started_comes_again(write: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = MagicMock()
    refused.invoke.side_effect = Fault("TooManyRequestsException on Invoke")
    monkeypatch.setattr(functions, "_lambda", lambda: refused)

    with pytest.raises(Fault, match="TooManyRequests"):
        write(stream_of(_record(1).to_item(), _tombstone(2)))


def test_a_batch_of_nothing_readable_writes_no_file(write: Invoke) -> None:
    assert write(stream_of(_record(1).to_item() | {"status": "lost"})) == {"records": 0, "files": []}
    assert _files() == {}
    assert _partitions() == []


def test_glue_failing_raises_so_that_the_batch_comes_again(write: Invoke, tmp_path: Path) -> None:
    batch = _batch_of(_record(1))
    with Stubber(catalog_table._glue()) as glue:
        glue.add_client_error("batch_create_partition", "InternalServiceException")
        with pytest.raises(Fault, match=r"^InternalServiceException on BatchCreatePartition$"):
            write(batch)

    write(batch)

    assert _partitions() == [["2026-11-22", "09"]]
    assert _query("SELECT count(*) FROM images", tmp_path) == [(1,)]


def test_a_partition_that_glue_refuses_raises(write: Invoke) -> None:
    refused = {"PartitionValues": ["2026-11-22", "09"], "ErrorDetail": {"ErrorCode": "ResourceNumberLimitExceeded"}}
    with Stubber(catalog_table._glue()) as glue:
        glue.add_response("batch_create_partition", {"Errors": [refused]})
        with pytest.raises(Fault, match=r"^ResourceNumberLimitExceeded on BatchCreatePartition$"):
            write(_batch_of(_record(1)))


def test_s3_failing_registers_nothing(write: Invoke) -> None:
    batch = _batch_of(_record(1))
    batch["Records"][0]["dynamodb"]["ApproximateCreationDateTime"] = datetime.now(UTC).timestamp()
    with Stubber(buckets.s3_client()) as s3:
        s3.add_client_error("put_object", "AccessDenied")
        with pytest.raises(Fault, match=r"^AccessDenied on PutObject$"):
            write(batch)

    assert _partitions() == []


def test_a_dead_letter_queue_that_is_gone_raises(write: Invoke) -> None:
    client("sqs").delete_queue(QueueUrl=client("sqs").list_queues()["QueueUrls"][0])

    with pytest.raises(Fault, match=r"on SendMessage$") as raised:
        write(stream_of(_record(1).to_item() | {"status": "lost"}))

    assert isinstance(raised.value.__cause__, ClientError)


def test_logs_no_personal_data(write: Invoke, logs: StringIO) -> None:
    personal = _record(1, uploader="ada", gps_lat=52.5163, gps_lon=13.3777, tags={"filename": "holiday.jpg"})

    write(stream_of(personal.to_item(), personal.to_item() | {"status": "lost"}))

    said = [json.loads(line)["message"] for line in logs.getvalue().splitlines()]
    assert said == ["rows written", "catalog written"]
    assert not [word for word in ("ada", "52.5", "13.3", "holiday") if word in logs.getvalue()]


# The file


def test_a_file_has_the_types_of_the_contract(tmp_path: Path) -> None:
    file = tmp_path / "images.parquet"
    file.write_bytes(parquet.to_parquet([_record(1)]))

    with duckdb.connect() as database:
        described = database.read_parquet(str(file))
        columns = dict(zip(described.columns, map(str, described.types), strict=True))
        physical = database.execute(
            "SELECT name, type, converted_type FROM parquet_schema(?) WHERE type IS NOT NULL", [str(file)]
        ).fetchall()
        compressions = database.execute("SELECT DISTINCT compression FROM parquet_metadata(?)", [str(file)]).fetchall()

    assert list(columns.items()) == [(name, HIVE_TO_DUCKDB[kind]) for name, kind in schema.HIVE_COLUMNS.items()]
    times = {name for name, kind in schema.HIVE_COLUMNS.items() if kind == "timestamp"}
    assert [row for row in physical if row[0] in times] == [
        (name, "INT64", "TIMESTAMP_MICROS") for name in columns if name in times
    ]
    assert compressions == [("ZSTD",)]


def test_a_file_is_sorted_by_arrival(tmp_path: Path) -> None:
    file = tmp_path / "images.parquet"
    records = [_record(number, RECEIVED + timedelta(seconds=number * 7 % 5)) for number in range(20)]
    file.write_bytes(parquet.to_parquet(records))

    with duckdb.connect() as database:
        rows = database.read_parquet(str(file)).select("received_at", "image_id").fetchall()

    assert rows == sorted(rows)


def test_a_file_has_statistics_of_every_column_but_those_of_many_values(tmp_path: Path) -> None:
    file = tmp_path / "images.parquet"
    [template] = (stored["dynamodb"]["NewImage"] for stored in event("write_catalog")["Records"])
    whole = ImageRecord.model_validate(
        {name: TypeDeserializer().deserialize(value) for name, value in template.items()}
    )
    records = [whole.model_copy(update={"width": width}) for width in (640, 1600, 4000)]
    file.write_bytes(parquet.to_parquet([*records, whole.model_copy(update={"width": None})]))

    with duckdb.connect() as database:
        statistics = {
            name: found
            for name, *found in database.execute(
                "SELECT path_in_schema, stats_min_value, stats_max_value, stats_null_count FROM parquet_metadata(?)",
                [str(file)],
            ).fetchall()
        }

    assert statistics["width"] == ["640", "4000", 1]
    assert statistics["received_at"][0] == statistics["received_at"][1] == "2026-11-22 09:30:15"
    flat = [name for name in schema.HIVE_COLUMNS if name not in ("tags", "derivatives")]
    assert [name for name in flat if None in statistics[name][:2]] == ["reason"], "which is null in every row"


def _read(content: bytes, folder: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet file as `ImageRecord.to_row` gives them, but with times as times."""
    file = folder / "rows.parquet"
    file.write_bytes(content)
    with duckdb.connect() as database:
        answer = database.read_parquet(str(file))
        return [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]


def _expected(record: ImageRecord) -> dict[str, Any]:
    moments = {name: moment.replace(tzinfo=None) for name, moment in record if isinstance(moment, datetime)}
    return record.to_row() | moments


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parquet")


texts = st.text(st.characters(codec="utf-8"), max_size=12)
moments = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(  # noqa: DTZ001  # Hypothesis wants naive bounds
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
)
floats = st.floats(-90, 90).filter(lambda value: not value or abs(value) >= 1e-130)
int32 = st.integers(-(1 << 31), (1 << 31) - 1)
optional: dict[str, st.SearchStrategy[Any]] = {
    name: st.none() | {"string": texts, "timestamp": moments, "int": int32, "double": floats}[kind]
    for name, kind in schema.HIVE_COLUMNS.items()
    if kind in ("string", "timestamp", "int", "double") and name not in ("image_id", "status")
}
records = st.builds(
    ImageRecord,
    **optional
    | {
        "image_id": st.uuids().map(str),
        "status": st.sampled_from(["processed", "rejected", "failed"]),
        "received_at": moments,
        "expires_at": moments,
        "bytes": st.none() | st.integers(0, (1 << 63) - 1),
        "tags": st.dictionaries(texts, texts, max_size=3),
        "derivatives": st.lists(st.builds(Derivative, key=texts, width=st.just(1), height=st.just(1)), max_size=2),
        "ingest_date": st.just("2026-11-22"),
        "hour": st.just("09"),
    },
)


@settings(max_examples=40, deadline=None)
@given(st.lists(records, min_size=1, max_size=4, unique_by=lambda record: record.image_id))
def test_rows_read_back_from_a_file_equal_the_records(folder: Path, kept: Sequence[ImageRecord]) -> None:
    rows = _read(parquet.to_parquet(kept), folder)

    assert rows == [_expected(record) for record in sorted(kept, key=lambda one: (one.received_at, one.image_id))]
