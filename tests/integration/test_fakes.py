"""The stand-ins answer as moto does, call by call, for sequences of calls that Hypothesis makes up."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagelake.errors import Fault
from imagelake.keys import ArrivalHour, RawKey
from imagelake.model import ImageRecord, Tombstone
from imagelake.stores import buckets, images_table
from imagelake.stores.buckets import Bucket
from imagelake.stores.images_table import ImagesTable, OpenErasure, OpenReport
from imagelake.values import to_iso
from tests.integration.conftest import IMAGES_TABLE, LAKE_BUCKET, RAW_BUCKET
from tests.integration.fakes import Clock, FakeS3, FakeTable

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
KEYS = ("raw/a=1/x", "raw/a=1/y", "raw/a=2/x", "derived/a")

calls = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(KEYS), st.sampled_from([b"1", b"22"]), st.sampled_from(["", "*"])),
    st.tuples(st.just("replace"), st.sampled_from(KEYS), st.sampled_from([b"3", b"44"])),
    st.tuples(st.just("delete"), st.sampled_from(KEYS)),
    st.tuples(st.just("purge"), st.sampled_from(["raw/a=1/", "raw/", "derived/"])),
)


def _outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ClientError as error:
        return error.response["Error"]["Code"]


def _do(s3: Any, bucket: str, call: tuple[Any, ...]) -> Any:
    match call:
        case "put", key, body, condition:
            options = {"IfNoneMatch": condition} if condition else {}
            return _outcome(lambda: s3.put_object(Bucket=bucket, Key=key, Body=body, **options)["ETag"])
        case "replace", key, body:
            found = _outcome(lambda: s3.get_object(Bucket=bucket, Key=key))
            if isinstance(found, str):
                return found
            return _outcome(lambda: s3.put_object(Bucket=bucket, Key=key, Body=body, IfMatch=found["ETag"])["ETag"])
        case "delete", key:
            # AWS leaves a marker where nothing was, and so does the stand-in; moto does not.
            if Bucket(bucket).read(key):
                s3.delete_object(Bucket=bucket, Key=key)
        case "purge", prefix:
            for page in Bucket(bucket).versions(prefix):
                Bucket(bucket).delete_versions(page)
    return None


def _seen(bucket: str) -> Any:
    versions = [version for page in Bucket(bucket).versions("") for version in page]
    return (
        sorted((version.key, version.bytes, version.is_marker) for version in versions),
        Bucket(bucket).folders("raw/"),
        Bucket(bucket).keys("raw/"),
        Bucket(bucket).read(KEYS[0]),
        _measured(bucket),
        [Bucket(bucket).first_version(key) is None for key in KEYS],
    )


def _measured(bucket: str) -> object:
    try:
        return Bucket(bucket).measure(KEYS[0])
    except Fault as fault:
        return fault.code


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(calls, max_size=8), st.booleans())
def test_s3(sequence: list[tuple[Any, ...]], is_versioned: bool) -> None:  # Hypothesis passes it
    bucket = RAW_BUCKET if is_versioned else LAKE_BUCKET
    real, fake = buckets.s3_client(), FakeS3(Clock(NOW), {RAW_BUCKET})
    for page in Bucket(bucket).versions(""):
        Bucket(bucket).delete_versions(page)

    answers = [_do(real, bucket, call) for call in sequence]
    seen = _seen(bucket)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buckets, "s3_client", lambda: fake)
        assert [_do(fake, bucket, call) for call in sequence] == answers
        assert _seen(bucket) == seen


def _put(record: ImageRecord) -> str:
    images_table._resource(IMAGES_TABLE).put_item(Item=record.to_item())
    return "put"


def _erasure(key: RawKey, expires_at: datetime) -> list[Any]:
    table, later = ImagesTable(IMAGES_TABLE), NOW + timedelta(hours=1)
    tombstone = Tombstone(
        image_id=key.image_id,
        erased_at=NOW,
        expires_at=expires_at,
        unsettled_since=to_iso(NOW),
        ingest_date=key.hour.ingest_date,
        hour=key.hour.hour,
    )
    erasure = OpenErasure(key.image_id, NOW)
    return [
        table.bury(tombstone),
        list(table.unsettled(NOW)),
        table.settle_erasure(tombstone.model_copy(update={"repeated_at": to_iso(later)}), later),
        table.erase_again(erasure, later),
        table.settle_erasure(tombstone.model_copy(update={"repeated_at": to_iso(later)}), later),
        table.erase_again(erasure, later),
        list(table.unsettled(NOW)),
    ]


def test_table() -> None:
    def play() -> list[Any]:
        key = RawKey(ArrivalHour.of(NOW), "01a20297-8952-7c11-9d0a-5b1f3c2e4d6f")
        arguments = (key, NOW)
        report = OpenReport(key, "lost: for good", "reconcile", NOW)
        expires_at = datetime(2100, 1, 1, tzinfo=UTC)
        record = ImageRecord(
            image_id=key.image_id,
            status="processed",
            received_at=NOW,
            expires_at=datetime(2100, 1, 2, tzinfo=UTC),
            ingest_date=key.hour.ingest_date,
            hour=key.hour.hour,
        )
        return [
            ImagesTable(IMAGES_TABLE).get_even_erased(key.image_id),
            ImagesTable(IMAGES_TABLE).count_attempt(*arguments, NOW, expires_at),
            ImagesTable(IMAGES_TABLE).count_attempt(*arguments, NOW, expires_at),
            ImagesTable(IMAGES_TABLE).count_attempt(*arguments, NOW.replace(hour=11), expires_at),
            ImagesTable(IMAGES_TABLE).get_even_erased(key.image_id),
            ImagesTable(IMAGES_TABLE).statuses([key.image_id, "unknown"]),
            ImagesTable(IMAGES_TABLE).standing(key.image_id),
            ImagesTable(IMAGES_TABLE).standing("unknown"),
            ImagesTable(IMAGES_TABLE).give_up(key, report.reason, NOW, NOW, expires_at),
            ImagesTable(IMAGES_TABLE).give_up(key, report.reason, NOW, NOW, expires_at),
            list(ImagesTable(IMAGES_TABLE).unsettled(NOW - timedelta(milliseconds=1))),
            list(ImagesTable(IMAGES_TABLE).unsettled(NOW)),
            ImagesTable(IMAGES_TABLE).close_report(key.image_id, NOW - timedelta(milliseconds=1)),
            ImagesTable(IMAGES_TABLE).close_report(key.image_id, NOW),
            ImagesTable(IMAGES_TABLE).close_report(key.image_id, NOW),
            list(ImagesTable(IMAGES_TABLE).unsettled(NOW)),
            ImagesTable(IMAGES_TABLE).admit_again(key.image_id, "failed", "lost: otherwise", NOW),
            ImagesTable(IMAGES_TABLE).admit_again(key.image_id, "failed", report.reason, NOW),
            list(ImagesTable(IMAGES_TABLE).unsettled(NOW)),
            list(ImagesTable(IMAGES_TABLE).expired(NOW)),
            list(ImagesTable(IMAGES_TABLE).expired(expires_at)),
            _put(record),
            list(ImagesTable(IMAGES_TABLE).expired(expires_at)),
            ImagesTable(IMAGES_TABLE).delete_expired(key.image_id, expires_at),
            ImagesTable(IMAGES_TABLE).delete_expired(key.image_id, record.expires_at),
            ImagesTable(IMAGES_TABLE).delete_expired(key.image_id, record.expires_at),
            ImagesTable(IMAGES_TABLE).get_even_erased(key.image_id),
            *_erasure(key, expires_at),
        ]

    real = play()
    with pytest.MonkeyPatch.context() as patch:
        table = FakeTable(Clock(NOW))
        patch.setattr(images_table, "_resource", lambda _name: table)
        assert play() == real
