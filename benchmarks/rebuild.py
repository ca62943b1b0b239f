"""What `imagelake catalog rebuild` takes for an hour of a thousand images a second, against touching each item.

    python -m benchmarks.rebuild [--images 3600000] [--lost 1 0.1]

The rebuild is the real one, with real Parquet files. The files are in memory, and the images table computes its
answers; each request takes the latency of AWS. It runs as its function does: as often as needed, each time for as long
as the function may. `--lost` is the share of the rows that is lost. The other way to the same rows is to change each
item, so that the stream has `write_catalog` write its row once more; its dollars are computed. Prints seconds,
requests, memory beyond that of the files, and dollars; fails when a row is missing or there twice.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import duckdb
import pytest

from benchmarks.catalog_rows import records_of
from imagelake.catalog import parquet
from imagelake.catalog.rebuild import Rebuilder
from imagelake.keys import ArrivalHour, catalog_prefix, compaction_prefix
from imagelake.model import EXPIRY_SHARDS, ImageRecord
from imagelake.stores.buckets import Bucket
from imagelake.stores.catalog_table import CatalogTable
from imagelake.stores.images_table import BATCH_ITEMS, ImagesTable
from tests.integration.stand_ins import install

NOW: Final = datetime.now(UTC)
HOUR: Final = ArrivalHour.of(NOW - timedelta(days=2))
TABLE: Final = CatalogTable("db", "images", Bucket("lake"))
LATENCY_SECONDS: Final = 0.02
FILES: Final = 10
"""As compaction leaves an hour of this size, or so."""
RUN_SECONDS: Final = 900 - 400
"""Of the function's time, without what it keeps back for merging."""
INDEX_PAGE: Final = 1024 * 1024 // 130
"""Entries of the index in a page of 1 MB; each is of some 130 bytes."""
READ_DOLLARS: Final = 0.125 / 1e6
WRITE_DOLLARS: Final = 0.625 / 1e6
"""For a unit of an on-demand table; https://aws.amazon.com/dynamodb/pricing/on-demand/, us-east-1, November 2026."""
GB_SECOND_DOLLARS: Final = 0.0000133334
"""https://aws.amazon.com/lambda/pricing/, us-east-1, arm64, November 2026."""
FUNCTION_GB: Final = 3008 / 1024


@dataclass
class Items:
    """The images table as the rebuild asks it: one item an image, all like those of `records`, but for their ids."""

    images: int
    records: Sequence[ImageRecord]
    calls: Counter[str] = field(default_factory=Counter)

    def outcomes(self, _hour: ArrivalHour, _retention_days: int) -> Iterator[tuple[str, str]]:
        """The index, page by page."""
        for number in range(self.images):
            if number % INDEX_PAGE == 0:
                self._call("Query")
            yield _image_id(number), self.records[number % len(self.records)].status
        for _ in EXPIRY_SHARDS:
            self._call("Query")

    def read(self, image_ids: Sequence[str]) -> list[dict[str, Any]]:
        """A batch of items."""
        self._call("BatchGetItem")
        return [self._item(image_id) for image_id in image_ids]

    def statuses(self, image_ids: Sequence[str]) -> dict[str, str]:
        """In batches."""
        for _ in range(0, len(image_ids), BATCH_ITEMS):
            self._call("BatchGetItem")
        return {image_id: self._record(image_id).status for image_id in image_ids}

    def _record(self, image_id: str) -> ImageRecord:
        return self.records[int(image_id[-12:], 16) % len(self.records)]

    def _item(self, image_id: str) -> dict[str, Any]:
        return self._record(image_id).to_item() | {"image_id": image_id}

    def _call(self, operation: str) -> None:
        self.calls[operation] += 1
        time.sleep(LATENCY_SECONDS)


def main() -> int:
    """Measure each share; 0 when every row is back."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=3_600_000, help="of the hour")
    parser.add_argument("--lost", type=float, nargs="+", default=[1.0, 0.1], help="shares of the rows")
    options = parser.parse_args()
    print(f"{options.images:,} images in the hour\n")
    print("| rows lost | runs | seconds | requests to S3 | to the table | memory, GB | $ | touching each item, $ |")
    print("|---:" * 8 + "|", flush=True)
    for share in options.lost:
        _measure(options.images, share)
    return 0


def _measure(images: int, share: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stores = install(patch, NOW)
        items = Items(images, list({record.image_id: record for record in records_of(HOUR, 1_000)}.values()))
        lost = _write(items, share)
        stores.s3.before = lambda _operation: time.sleep(LATENCY_SECONDS)
        stores.s3.calls.clear()
        rebuilder = Rebuilder(TABLE, cast("ImagesTable", items), 7)
        before, began, runs = _memory(), time.perf_counter(), 1
        while not rebuilder.run(HOUR, NOW, RUN_SECONDS).finished:
            runs += 1
        seconds, memory = time.perf_counter() - began, _memory() - before
        requests = stores.s3.calls.total()
        stores.s3.before = lambda _operation: None
        _check(images)
        item_bytes = sum(len(json.dumps(record.to_item())) for record in items.records) / len(items.records)
        units = items.calls["BatchGetItem"] * BATCH_ITEMS * -(-item_bytes // 4096) + items.calls["Query"] * 128
        dollars = units * READ_DOLLARS + seconds * FUNCTION_GB * GB_SECOND_DOLLARS
        touching = lost * -(-item_bytes // 1024) * 4 * WRITE_DOLLARS  # the table and its indexes
        print(
            f"| {lost:,} | {runs} | {seconds:.0f} | {requests:,} | {items.calls.total():,} | {memory:.1f} "
            f"| {dollars:.2f} | {touching:.2f} |",
            flush=True,
        )


def _write(items: Items, share: float) -> int:
    """Write the files of the hour but for a share of its rows; gives how many those are."""
    lost = int(items.images * share)
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as database:
        few = Path(folder, "few.parquet")
        few.write_bytes(parquet.to_parquet(items.records))
        ids = ", ".join(f"'{record.image_id}'" for record in items.records)
        for number in range(FILES):
            first, last = (lost + (items.images - lost) * part // FILES for part in (number, number + 1))
            if first == last:
                continue
            file = Path(folder, f"{number}.parquet")
            database.execute(
                f"COPY (SELECT few.* REPLACE (printf('%08x-0000-4000-8000-%012x', n, n) AS image_id)"  # noqa: S608  # of this module
                f" FROM range({first}, {last}) numbers(n)"
                f" JOIN read_parquet('{few}', hive_partitioning = false) few"
                f" ON few.image_id = list_extract([{ids}], 1 + n % {len(items.records)}))"
                f" TO '{file}' (FORMAT parquet, COMPRESSION zstd)"
            )
            TABLE.lake_bucket.overwrite(f"{catalog_prefix(HOUR)}{number:032x}.parquet", file.read_bytes(), "x")
    TABLE.register([HOUR])
    return lost


def _image_id(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-{number:012x}"


def _check(images: int) -> None:
    """Every image has one row where queries look."""
    registered = TABLE.find(HOUR)
    if registered is None or not registered.prefix.startswith((catalog_prefix(HOUR), compaction_prefix(HOUR))):
        raise AssertionError("queries do not find the hour")
    with tempfile.TemporaryDirectory() as folder:
        for number, key in enumerate(TABLE.lake_bucket.keys(registered.prefix)):
            if key.endswith(".parquet"):
                TABLE.lake_bucket.download(key, Path(folder, f"{number}.parquet"))
        with duckdb.connect() as database:
            files = database.read_parquet(f"{folder}/*.parquet")
            found = files.aggregate("count(*), count(DISTINCT image_id)").fetchall()
    if found != [(images, images)]:
        raise AssertionError(f"rows and different images: {found}, of {images}")


def _memory() -> float:
    """The most that this process had, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / 1024


if __name__ == "__main__":
    sys.exit(main())
