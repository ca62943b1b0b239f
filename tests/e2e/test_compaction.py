"""Compaction by the deployed function, with its own role, while an analyst asks without pause."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from imagelake.catalog import parquet
from imagelake.catalog.compaction import GRACE
from imagelake.keys import ArrivalHour, catalog_prefix, compaction_prefix
from imagelake.model import ImageRecord
from imagelake.stores.buckets import Bucket
from imagelake.stores.catalog_table import CatalogTable
from local.lake import Lake
from tests.e2e.conftest import invoke

FILES, ROWS = 5, 20


def plant(lake: Lake, hour: ArrivalHour) -> None:
    """Some small files in an hour, with every image in two of them: once as failed, once as processed."""
    outputs = lake.stack.outputs
    settings = CatalogTable(outputs["CatalogDatabase"], outputs["CatalogTable"], Bucket(outputs["LakeBucketName"]))
    arrived = hour.start + timedelta(minutes=30)
    processed = [
        ImageRecord(
            image_id=str(uuid.uuid4()),
            status="processed",
            source="compaction",
            received_at=arrived,
            processed_at=arrived + timedelta(seconds=number),
            expires_at=arrived + timedelta(days=7),
            ingest_date=hour.ingest_date,
            hour=hour.hour,
        )
        for number in range(ROWS)
    ]
    failed = [one.model_copy(update={"status": "failed", "processed_at": None}) for one in processed]
    for number in range(FILES):
        parquet.write(failed[number::FILES] + processed[(number + 1) % FILES :: FILES], uuid.uuid4().hex, settings)


def table(lake: Lake) -> CatalogTable:
    outputs = lake.stack.outputs
    return CatalogTable(outputs["CatalogDatabase"], outputs["CatalogTable"], Bucket(outputs["LakeBucketName"]))


@contextmanager
def let_time_pass(lake: Lake, hour: ArrivalHour) -> Iterator[None]:
    """Afterwards the hour has moved, and its copies were made, longer ago than the grace."""
    yield
    before = datetime.now(UTC) - GRACE - timedelta(minutes=1)
    (registered,) = [one for one in table(lake).registered(hour) if one.hour == hour]
    table(lake).move(hour, registered.prefix, before)
    s3, bucket = lake.client("s3"), lake.stack.outputs["LakeBucketName"]
    s3.meta.events.register(
        "before-sign.s3.PutObject",
        lambda request, **_: request.headers.add_header("X-Emulated-Time", f"{before:%Y-%m-%dT%H:%M:%S.000Z}"),
    )
    for key in Bucket(bucket).keys(compaction_prefix(hour)):
        s3.put_object(Bucket=bucket, Key=key, Body=s3.get_object(Bucket=bucket, Key=key)["Body"].read())


@pytest.mark.usefixtures("domain")
def test_an_hour_is_compacted_and_every_query_meanwhile_counts_every_row_once(lake: Lake) -> None:
    hour = ArrivalHour.of(datetime.now(UTC) - timedelta(days=3))
    plant(lake, hour)
    bucket = lake.stack.outputs["LakeBucketName"]
    where = f"WHERE ingest_date = '{hour.ingest_date}' AND hour = '{hour.hour}'"
    question = f"""
        SELECT (SELECT count(*) FROM images {where}), (SELECT count(*) FROM current_images {where}),
          (SELECT count(*) FROM current_images {where} AND status = 'processed')
    """  # noqa: S608  # an hour of ours
    expected = [[2 * ROWS, ROWS, ROWS]]
    answers, done = [lake.analysts.ask(question).rows], threading.Event()

    def ask() -> None:
        while not done.is_set():
            answers.append(lake.analysts.ask(question).rows)

    analyst = threading.Thread(target=ask)
    analyst.start()
    try:
        steps = []
        for _ in range(3):
            with let_time_pass(lake, hour):
                steps.append(invoke(lake, "CompactCatalogFunction", {})["hours"])
                steps_since = len(answers)
                while len(answers) < steps_since + 3 and analyst.is_alive():
                    done.wait(0.05)
    finally:
        done.set()
        analyst.join()

    assert all(answer == expected for answer in answers), answers
    assert [[step for step, hours in taken.items() if hours] for taken in steps] == [
        ["merged"],
        ["replaced"],
        ["cleaned"],
    ]
    assert len(Bucket(bucket).keys(catalog_prefix(hour))) == 1
    assert Bucket(bucket).keys(compaction_prefix(hour)) == []
