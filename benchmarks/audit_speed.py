"""What an audit takes in processor time, an object, an item and a row.

    python -m benchmarks.audit_speed [IMAGES]

The stores are those of the simulation (`tests/integration/fakes`), whose listings cost less than those of AWS; the
audit is the real one, and so are the Parquet files, one an hour.
"""

import gc
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from imagelake.audit import auditor
from imagelake.audit.findings import Audit
from imagelake.catalog import parquet
from imagelake.keys import ArrivalHour, ImageVersion, RawKey, catalog_prefix
from imagelake.model import Derivative, ImageRecord
from tests.integration.stand_ins import StandIns, install

IMAGES: Final = 100_000
HOURS: Final = 24 * 7 - 4
NOW: Final = datetime(2026, 11, 22, 5, 55, tzinfo=UTC)
RUNS: Final = 3


def main() -> int:
    """Measure and print; 1 when the audit finds anything in a lake that is as promised."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    with pytest.MonkeyPatch.context() as patch:
        stores = install(patch, NOW)
        _fill(stores, images)
        gc.collect()
        gc.freeze()
        best: dict[str, float] = {}
        for _ in range(RUNS):
            took, audit = _measure()
            best = {what: min(seconds, best.get(what, seconds)) for what, seconds in took.items()}
        gc.unfreeze()
    counts = {"object": 2 * images, "item": images, "row": images}
    for what, seconds in best.items():
        print(f"{what:>7}: {seconds * 1e6 / counts[what]:5.1f} µs")
    print(f"findings: {list(audit.findings)}")
    return int(bool(audit.findings))


def _measure() -> tuple[dict[str, float], Audit]:
    result, seen = Audit(NOW, 7), auditor._Seen()

    def list_objects() -> None:
        auditor._walk_bucket(result, seen, "raw", ("raw",))
        auditor._walk_bucket(result, seen, "lake", ("derived", "catalog", "compaction"))

    def list_items() -> None:
        auditor._walk_table(result, seen, "images")
        auditor._compare(result, seen)

    took = {
        "object": _seconds(list_objects),
        "row": _seconds(lambda: auditor._read_rows(result, seen, "lake")),
        "item": _seconds(list_items),
    }
    return took, result


def _seconds(what: Callable[[], None]) -> float:
    began = time.process_time()
    what()
    return time.process_time() - began


def _fill(stores: StandIns, images: int) -> None:
    for number in range(1, HOURS + 1):
        hour = ArrivalHour.of(NOW - timedelta(hours=3 + number))
        records = [_image(stores, hour) for _ in range(images // HOURS + (number <= images % HOURS))]
        stores.s3.put_object("lake", f"{catalog_prefix(hour)}batch.parquet", parquet.to_parquet(records))


def _image(stores: StandIns, hour: ArrivalHour) -> ImageRecord:
    key, arrived = RawKey(hour, str(uuid.uuid4())), hour.start + timedelta(minutes=30)
    derivative = ImageVersion(key, "1").derived("thumb_256", "jpg")
    for bucket, stored in (("raw", str(key)), ("lake", derivative)):
        stores.s3.put_object(bucket, stored, b"")
    record = ImageRecord(
        image_id=key.image_id,
        status="processed",
        received_at=arrived,
        expires_at=arrived + timedelta(days=7),
        derivatives=[Derivative(key=derivative, name="thumb_256", width=1, height=1, content_type="image/jpeg")],
        ingest_date=hour.ingest_date,
        hour=hour.hour,
    )
    stores.table.put_item(record.to_item())
    return record


if __name__ == "__main__":
    sys.exit(main())
