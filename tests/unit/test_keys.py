"""The layout of the stores: fixed by contract, read back exactly."""

import re
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagelake.errors import InvalidKeyError
from imagelake.keys import ArrivalHour, ImageVersion, RawKey, catalog_file, catalog_prefix, may_hold

IMAGE_ID = "01999f5c-7a2e-7c11-9d0a-5b1f3c2e4d6f"
HOUR = ArrivalHour("2026-11-22", "09")

zones = st.integers(-14 * 4, 14 * 4).map(lambda quarters: timezone(quarters * timedelta(minutes=15)))
moments = st.builds(datetime.fromtimestamp, st.integers(0, 4_000_000_000), zones)
raw_keys = st.builds(RawKey, moments.map(ArrivalHour.of), st.uuids().map(str))


def test_keys_follow_the_contract() -> None:
    key = RawKey(HOUR, IMAGE_ID)

    assert str(key) == f"raw/ingest_date=2026-11-22/hour=09/{IMAGE_ID}"
    version = ImageVersion(key, "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrH")
    folder = f"derived/ingest_date=2026-11-22/hour=09/{IMAGE_ID}/3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrH"
    assert version.derived("thumb_256", "jpg") == f"{folder}/thumb_256.jpg"
    assert (version.order, version.result) == (f"{folder}/order.json", f"{folder}/result.json")
    assert catalog_prefix(HOUR) == "catalog/ingest_date=2026-11-22/hour=09/"


@given(raw_keys)
def test_reads_back_every_key_it_makes(key: RawKey) -> None:
    assert RawKey.parse(str(key)) == key


@given(raw_keys, st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_reads_back_the_image_of_every_result_and_keeps_it_in_its_folder(key: RawKey, version_id: str) -> None:
    version = ImageVersion(key, version_id)

    found, spelled = ImageVersion.parse_result(version.result)

    assert found == key
    assert version.prefix == f"{key.derived_prefix}{spelled}/"


@given(st.text() | st.from_regex(re.compile(r"raw/ingest_date=\d{4}-\d\d-\d\d/hour=\d\d/[0-9a-f-]{36}\n?")))
def test_accepts_no_key_it_would_not_make(text: str) -> None:
    try:
        key = RawKey.parse(text)
    except InvalidKeyError:
        return
    assert str(key) == text
    assert ArrivalHour.of(datetime.fromisoformat(f"{key.hour.ingest_date}T{key.hour.hour}Z")) == key.hour
    assert str(UUID(key.image_id)) == key.image_id


@pytest.mark.parametrize(
    "key",
    [
        "",
        f"raw/ingest_date=2026-11-22/hour=24/{IMAGE_ID}",
        f"raw/ingest_date=2026-02-30/hour=09/{IMAGE_ID}",
        f"raw/ingest_date=٢٠٢٦-11-22/hour=09/{IMAGE_ID}",
        f"raw/ingest_date=2026-11-22/hour=09/{IMAGE_ID.upper()}",
        f"raw/ingest_date=2026-11-22/hour=09/{IMAGE_ID}/holiday.jpg",
        f"raw/ingest_date=2026-11-22/hour=09/../{IMAGE_ID}",
        f"raw/ingest_date=2026-11-22/hour=09/{IMAGE_ID}\n",
        f"/raw/ingest_date=2026-11-22/hour=09/{IMAGE_ID}",
        f"derived/ingest_date=2026-11-22/hour=09/{IMAGE_ID}",
    ],
)
def test_rejects_a_key_outside_the_layout(key: str) -> None:
    with pytest.raises(InvalidKeyError):
        RawKey.parse(key)


@pytest.mark.parametrize(
    "name", ["result.json", "1/result.json/", "1/result.jpg", "1/2/result.json", "1/result.json\n", "1/order.json"]
)
def test_rejects_a_key_that_is_of_no_result(name: str) -> None:
    with pytest.raises(InvalidKeyError):
        ImageVersion.parse_result(f"{RawKey(HOUR, IMAGE_ID).derived_prefix}{name}")


def test_partitions_by_the_hour_in_utc() -> None:
    just_after_midnight_in_india = datetime(2026, 11, 23, 0, 10, tzinfo=timezone(timedelta(hours=5, minutes=30)))

    assert ArrivalHour.of(just_after_midnight_in_india) == ArrivalHour("2026-11-22", "18")


@given(moments, moments)
def test_partitions_sort_like_the_hours_they_stand_for(one: datetime, other: datetime) -> None:
    hours = [moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0) for moment in (one, other)]

    assert (ArrivalHour.of(one) < ArrivalHour.of(other)) == (hours[0] < hours[1])


@given(st.sets(st.uuids().map(str), min_size=1, max_size=400))
def test_the_name_of_a_file_never_denies_an_image_that_it_has(image_ids: set[str]) -> None:
    key = catalog_file(HOUR, "0" * 32, image_ids)

    assert all(may_hold(key, {image_id}) for image_id in image_ids)
    assert catalog_file(HOUR, "0" * 32, sorted(image_ids, reverse=True)) == key, "a retry writes the same file"


@pytest.mark.parametrize("rows", [1, 50, 300])
def test_the_name_of_a_file_denies_nearly_all_images_that_it_does_not_have(rows: int) -> None:
    key = catalog_file(HOUR, "0" * 32, {str(UUID(int=number)) for number in range(rows)})

    assert sum(may_hold(key, {str(UUID(int=number))}) for number in range(10_000, 20_000)) < 150
    assert not may_hold(key, {str(UUID(int=10_000)), str(UUID(int=10_001))})


@pytest.mark.parametrize("rows", [320, 1_800, 1_801, 10_000])
def test_a_file_of_any_number_of_rows_has_a_key_that_s3_takes(rows: int) -> None:
    key = catalog_file(HOUR, "0" * 32, {str(UUID(int=number)) for number in range(rows)})

    assert len(key) < 900
    assert may_hold(key, {str(UUID(int=rows - 1))})


def test_a_file_without_a_filter_may_hold_any_image() -> None:
    assert may_hold("catalog/ingest_date=2026-11-22/hour=09/0a1b.parquet", {IMAGE_ID})
