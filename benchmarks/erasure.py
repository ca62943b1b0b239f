"""What `DELETE /images/{image_id}` takes, as the files of an hour become more, against the way until November 2026.

    python -m benchmarks.erasure [--files 10 200 2000] [--rows 20]

The function is the real one and so are the Parquet files; the stores are those of the simulation
(`tests/integration/fakes`), with the latency of S3 added to each request. "By name" passes over files by the filter in
their names; "by column" has files without a filter, as they were written until then and as compaction leaves them;
"every file" reads and rewrites one file after the other, whether or not it has the row. Prints seconds and requests,
and fails when 2,000 files take over 2 seconds by name.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from imagelake import settings
from imagelake.catalog import parquet
from imagelake.keys import ArrivalHour, ImageVersion, RawKey, catalog_prefix
from imagelake.model import ImageRecord
from imagelake.stores.buckets import Bucket
from imagelake.stores.catalog_table import CatalogTable
from tests.application import event
from tests.integration.stand_ins import StandIns, install

LATENCY_SECONDS: Final = 0.02
LIMIT_SECONDS: Final = 2.0
NOW: Final = datetime.now(UTC)
HOUR: Final = ArrivalHour.of(NOW - timedelta(hours=1))
TABLE: Final = CatalogTable("db", "images", Bucket("lake"))
SETTINGS: Final = {
    "RAW_BUCKET": "raw",
    "LAKE_BUCKET": "lake",
    "AUDIT_BUCKET": "audit",
    "IMAGES_TABLE": "images",
    "FAILED_RECORDS_BUCKET": "",
    "KAFKA_CLUSTER_NAME": "",
    "RETENTION_DAYS": "7",
    "POWERTOOLS_SERVICE_NAME": "benchmark",
    "LOG_LEVEL": "CRITICAL",
}


@dataclass(frozen=True)
class Cost:
    """Of one erasure."""

    seconds: float
    requests: int


def main() -> int:
    """Measure each number of files; 0 when the most files take less than the limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, nargs="+", default=[10, 200, 2_000])
    parser.add_argument("--rows", type=int, default=20, help="of each file")
    options = parser.parse_args()
    os.environ |= SETTINGS
    ways: dict[str, Callable[[StandIns, str], None]] = {
        "by name": _ask,
        "by column": _ask_without_filters,
        "every file": _rewrite_every_file,
    }
    print(f"{'files':>6} {'rows':>8}" + "".join(f" {way + ', s':>14} {'requests':>9}" for way in ways))
    by_name = 0.0
    for files in options.files:
        costs = {way: _measure(files, options.rows, erase) for way, erase in ways.items()}
        by_name = costs["by name"].seconds
        told = "".join(f" {cost.seconds:>14.2f} {cost.requests:>9,}" for cost in costs.values())
        print(f"{files:>6,} {files * options.rows:>8,}{told}", flush=True)
    return int(by_name > LIMIT_SECONDS)


def _measure(files: int, rows: int, erase: Callable[[StandIns, str], None]) -> Cost:
    with pytest.MonkeyPatch.context() as patch:
        stores = install(patch, NOW)
        settings.forget()
        content = {}
        for _ in range(files):
            records = [_record() for _ in range(rows)]
            content[uuid.uuid4().hex] = records
            parquet.write(records, next(reversed(content)), TABLE)
        doomed = list(content.values())[files // 2][rows // 2]
        key = RawKey(HOUR, doomed.image_id)
        stores.table.put_item(doomed.to_item() | {"uploader": "ada"})
        stores.s3.put_object("raw", str(key), b"image")
        stores.s3.put_object("lake", ImageVersion(key, "1").derived("thumb_256", "jpg"), b"thumb")
        if erase is _ask_without_filters:
            _rename(stores)
        stores.s3.before = lambda _operation: time.sleep(LATENCY_SECONDS)
        stores.s3.calls.clear()
        stores.table.calls.clear()
        began = time.perf_counter()
        erase(stores, doomed.image_id)
        cost = Cost(time.perf_counter() - began, stores.s3.calls.total() + stores.table.calls.total())
        stores.s3.before = lambda _operation: None
        left = sum(_rows(stores))
        if left != files * rows - 1:
            raise AssertionError(f"{left} rows are left of {files * rows}")
        return cost


def _ask(_stores: StandIns, image_id: str) -> None:
    from functions.erase_image import app  # reads the environment

    asked: dict[str, Any] = event("erase_image")
    asked["path"] = f"/images/{image_id}"
    asked["requestContext"]["authorizer"]["claims"]["sub"] = "ada"
    with redirect_stdout(StringIO()):
        status = app.app.resolve(asked, LambdaContext())["statusCode"]
    if status != 204:
        raise AssertionError(f"status {status}")


def _ask_without_filters(stores: StandIns, image_id: str) -> None:
    _ask(stores, image_id)


def _rewrite_every_file(_stores: StandIns, image_id: str) -> None:
    for stored in TABLE.lake_bucket.objects(catalog_prefix(HOUR)):
        found = TABLE.lake_bucket.read(stored.key)
        if found:
            rest, erased = parquet.without_rows(found[0], {image_id})
            if erased:
                TABLE.lake_bucket.replace(stored.key, rest, parquet.PARQUET, found[1])


def _rename(stores: StandIns) -> None:
    for stored in list(TABLE.lake_bucket.objects(catalog_prefix(HOUR))):
        batch, *_ = stored.key.split(".")
        TABLE.lake_bucket.copy(stored.key, f"{batch}.parquet", stored.etag)
        stores.s3.delete_object("lake", stored.key)


def _rows(stores: StandIns) -> list[int]:
    counts = []
    with tempfile.NamedTemporaryFile() as file:
        for key in stores.s3.bucket("lake").under(catalog_prefix(HOUR)):
            if current := stores.s3.bucket("lake").current(key):
                Path(file.name).write_bytes(current.body)
                counts.append(len(duckdb.read_parquet(file.name)))
    return counts


def _record() -> ImageRecord:
    arrived = HOUR.start + timedelta(minutes=10)
    return ImageRecord(
        image_id=str(uuid.uuid4()),
        status="processed",
        source="api",
        received_at=arrived,
        processed_at=arrived + timedelta(seconds=2),
        expires_at=arrived + timedelta(days=7),
        sha256=uuid.uuid4().hex * 2,
        bytes=1_234_567,
        format="JPEG",
        width=4_000,
        height=3_000,
        script_output=json.dumps({"describe": {}}),
        ingest_date=HOUR.ingest_date,
        hour=HOUR.hour,
    )


if __name__ == "__main__":
    sys.exit(main())
