"""An image's arrival survives the way through S3 metadata; a record survives the way through the images table."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from imagelake import schema
from imagelake.engine.columns import HEADER_COLUMNS, SCRIPT_COLUMNS, HeaderColumns, ScriptColumns
from imagelake.model import MAX_TAGS, MAX_TAGS_BYTES, TENANT, Arrival, Derivative, ImageRecord
from imagelake.stores.images_table import serialize

RECEIVED = datetime(2026, 11, 22, 9, 30, 15, 250_000, tzinfo=UTC)
RECORD: dict[str, Any] = {
    "image_id": "01999f5c-7a2e-7c11-9d0a-5b1f3c2e4d6f",
    "status": "processed",
    "received_at": RECEIVED,
    "expires_at": datetime(2026, 11, 29, 9, 30, 15, tzinfo=UTC),
    "ingest_date": "2026-11-22",
    "hour": "09",
}

printable = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)
tags = st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=8)
arrivals = st.builds(
    Arrival,
    source=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True),
    source_ref=st.none() | printable,
    uploader=st.none() | printable,
    sha256=st.none() | st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    tenant=st.none() | st.from_regex(TENANT, fullmatch=True),
    tags=tags,
).filter(lambda arrival: arrival.source != "direct")


@given(arrivals)
def test_an_arrival_reads_back_from_its_metadata(arrival: Arrival) -> None:
    metadata = arrival.to_metadata()

    assert Arrival.from_metadata(metadata | {"something-else": "ignored"}) == arrival
    assert all(value.isascii() and value.isprintable() and value == value.strip() for value in metadata.values())


FULL = {"a": "v" * 256, "b": "v" * 256, "c": "v" * 256, "d": "v" * 227}
"""Tags that take exactly `MAX_TAGS_BYTES`."""


def test_the_largest_arrival_fits_into_the_2_kb_of_metadata_s3_allows() -> None:
    metadata = Arrival(
        source="s" * 64, source_ref="r" * 300, uploader="u" * 128, sha256="f" * 64, tenant="t" * 63, tags=FULL
    ).to_metadata()

    assert len(metadata["tags"]) == MAX_TAGS_BYTES
    assert sum(len(name) + len(value) for name, value in metadata.items()) <= 2048


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("source", ""),
        ("source", "-camera"),
        ("source", "camera 1"),
        ("source", "camera\n"),
        ("source", "s" * 65),
        ("source_ref", "größe/0/1"),
        ("source_ref", "r" * 301),
        ("uploader", ""),
        ("uploader", "two words"),
        ("uploader", "u" * 129),
        ("tags", {str(number): "" for number in range(MAX_TAGS + 1)}),
        ("tags", {"": "no name"}),
        ("tags", {"n" * 65: ""}),
        ("tags", {"note": "v" * 257}),
        ("tags", FULL | {"d": FULL["d"] + "v"}),
        ("tags", {"note": "é" * 200}),
        ("tags", {"number": 1}),
    ],
)
def test_rejects_an_arrival_that_metadata_could_not_carry(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as rejection:
        Arrival.model_validate({"source": "api", field: value})

    assert rejection.value.errors()[0]["loc"][0] == field


@pytest.mark.parametrize("metadata", [{}, {"source": "direct"}])
def test_an_object_put_by_hand_belongs_to_no_tenant(metadata: dict[str, str]) -> None:
    assert Arrival.from_metadata(metadata | {"tenant": "acme"}).tenant is None
    assert Arrival.from_metadata(metadata | {"tenant": "of nobody"}).tenant is None


@pytest.mark.parametrize(
    "metadata",
    [
        {"source": "two words"},
        {"source": "api", "tenant": "Acme"},
        {"source": "api", "tags": "{"},
        {"source": "api", "tags": "[" * 2000},
        {"source": "api", "tags": "[]"},
    ],
)
def test_rejects_metadata_that_none_of_our_doors_wrote(metadata: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Arrival.from_metadata(metadata)


def test_an_item_has_iso_times_an_epoch_expiry_and_no_nulls() -> None:
    item = ImageRecord.model_validate(RECORD).to_item()

    assert item == {
        "image_id": RECORD["image_id"],
        "status": "processed",
        "received_at": "2026-11-22T09:30:15.250Z",
        "expires_at": 1_795_944_615,
        "expiry_shard": RECORD["image_id"][-1],
        "tags": {},
        "derivatives": [],
        "ingest_date": "2026-11-22",
        "hour": "09",
    }


def _to_the_millisecond(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@given(
    st.builds(
        ImageRecord,
        image_id=st.just("an-id"),
        status=st.sampled_from(["processed", "rejected", "failed"]),
        received_at=st.datetimes(timezones=st.just(UTC)).map(_to_the_millisecond),
        expires_at=st.integers(1_700_000_000, 2_000_000_000),
        width=st.none() | st.integers(1, 100_000),
        gps_lat=st.none() | st.floats(-90, 90).map(lambda degrees: round(degrees, 7)),
        tags=tags,
        derivatives=st.lists(st.builds(Derivative, width=st.integers(1, 9), height=st.integers(1, 9)), max_size=3),
        reason=st.none() | st.text(max_size=100),
        ingest_date=st.just("2026-11-22"),
        hour=st.just("09"),
    )
)
def test_a_record_reads_back_from_its_item(record: ImageRecord) -> None:
    assert ImageRecord.model_validate(json.loads(json.dumps(record.to_item()))) == record


def test_keeps_times_in_utc() -> None:
    in_india = RECEIVED.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert ImageRecord.model_validate(RECORD | {"received_at": in_india}).received_at.tzinfo is UTC


@pytest.mark.parametrize(
    "change",
    [
        {"status": "processing"},
        {"received_at": RECEIVED.replace(tzinfo=None)},
        {"expires_at": None},
        {"received_at": 1_795_341_600},
        {"taken_at": "1795341600"},
        {"filename": "holiday.jpg"},
        {"width": 1 << 31},
        {"width": "1600"},
        {"width": True},
        {"frames": 1.5},
        {"bytes": 1 << 63},
        {"bytes": True},
        {"brightness": "0.5"},
        {"sharpness": True},
        {"gps_lat": 90.1},
        {"camera_make": 7},
    ],
)
def test_rejects_a_record_the_catalog_has_no_place_for(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ImageRecord.model_validate(RECORD | change)


@pytest.mark.parametrize("name", SCRIPT_COLUMNS)
def test_a_column_that_scripts_fill_is_of_one_type_in_engine_and_record(name: str) -> None:
    returned, recorded = ScriptColumns.model_fields[name], ImageRecord.model_fields[name]

    assert (returned.annotation, returned.metadata) == (recorded.annotation, recorded.metadata)
    assert returned.default is recorded.default is None


@pytest.mark.parametrize("name", HEADER_COLUMNS)
def test_a_column_of_the_header_is_of_the_type_of_the_catalog(name: str) -> None:
    """The engine always knows it, and may narrow it."""
    assert schema.hive_type(HeaderColumns.model_fields[name].annotation) == schema.HIVE_COLUMNS[name]


@pytest.mark.parametrize("annotation", [int, float, bool, int | None, bytes])
def test_a_column_says_its_range(annotation: object) -> None:
    with pytest.raises(TypeError, match="no column of the catalog can be"):
        schema.hive_type(annotation)


@given(
    st.builds(
        HeaderColumns,
        format=st.just("JPEG"),
        width=st.integers(1, (1 << 31) - 1),
        height=st.integers(1, (1 << 31) - 1),
        mode=st.just("RGB"),
        frames=st.integers(1, (1 << 31) - 1),
        orientation=st.integers(1, 8),
    ),
    st.builds(
        ScriptColumns,
        gps_lat=st.none() | st.integers(-90, 90) | st.floats(-90, 90).map(lambda degrees: round(degrees, 7)),
        gps_lon=st.none() | st.integers(-180, 180),
        sharpness=st.none() | st.integers(0, 1 << 53),
        brightness=st.none() | st.sampled_from([0, 1, 0.25]),
        taken_at=st.none() | st.datetimes(timezones=st.just(UTC)).map(_to_the_millisecond),
    ),
)
def test_what_the_engine_fills_is_in_item_and_row_as_it_was(header: HeaderColumns, script: ScriptColumns) -> None:
    filled = header.model_dump(mode="json") | script.model_dump(mode="json")
    record = ImageRecord.model_validate(RECORD | filled)
    read_back = ImageRecord.model_validate(TypeDeserializer().deserialize({"M": serialize(record.to_item())}))

    for row in (record.to_row(), read_back.to_row()):
        assert {name: row[name] for name in filled} == filled
        assert [type(row[name]) for name in filled] == [type(value) for value in filled.values()]
