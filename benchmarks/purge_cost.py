"""What a run of the purge costs, as the lake grows and what expires stays the same.

    python -m benchmarks.purge_cost

The stores are those of the simulation (`tests/integration/fakes`), kept in memory, with the latency of S3 added to
each request; the purge is the real one. Prints requests and seconds by size, and fails when they grow by over 10 %.
"""

import gc
import sys
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from imagelake.keys import ArrivalHour, ImageVersion, RawKey
from imagelake.retention.purge import Purge
from imagelake.stores.buckets import Bucket
from imagelake.stores.catalog_table import CatalogTable
from imagelake.stores.event_bus import EventBus
from imagelake.stores.images_table import ImagesTable
from tests.integration.stand_ins import StandIns, install

STORED: Final = (10_000, 100_000, 1_000_000)
EXPIRING: Final = 10_000
OBJECTS_AN_IMAGE: Final = 3
"""Its file, one derivative and its item."""
LATENCY_SECONDS: Final = 0.02
RUNS: Final = 3
NOW: Final = datetime(2026, 11, 22, 10, 25, tzinfo=UTC)
DUE: Final = ArrivalHour("2026-11-15", "09")
SETTINGS: Final = Purge(
    Bucket("raw"),
    Bucket("audit"),
    ImagesTable("images"),
    EventBus("bus"),
    CatalogTable("db", "images", Bucket("lake")),
    7,
)


@dataclass(frozen=True)
class Cost:
    """Of one run."""

    requests: int
    deleted: int
    seconds: float


def main() -> int:
    """Measure each size; 0 when the largest costs at most 10 % more than the smallest."""
    print(f"{'stored':>10} {'deleted':>8} {'requests':>9} {'seconds':>8}")
    costs = []
    for stored in STORED:
        runs = [_measure(stored) for _ in range(RUNS)]
        cost = min(runs, key=lambda run: run.seconds)
        costs.append(cost)
        print(f"{stored:>10,} {cost.deleted:>8,} {cost.requests:>9,} {cost.seconds:>8.2f}")
    first, last = costs[0], costs[-1]
    print(f"growth: requests {last.requests / first.requests:.3f}, seconds {last.seconds / first.seconds:.3f}")
    return int(last.requests > 1.1 * first.requests or last.seconds > 1.1 * first.seconds)


def _measure(stored: int) -> Cost:
    with pytest.MonkeyPatch.context() as patch:
        stores = install(patch, NOW)
        _fill(stores, DUE, EXPIRING // OBJECTS_AN_IMAGE)
        kept_hours = 24 * 7 - 2
        for number in range(1, kept_hours + 1):
            hour = ArrivalHour.of(DUE.start + timedelta(hours=number))
            _fill(stores, hour, (stored - EXPIRING) // OBJECTS_AN_IMAGE // kept_hours)
        stores.s3.before = lambda _operation: time.sleep(LATENCY_SECONDS)
        stores.s3.calls.clear()
        stores.table.calls.clear()
        gc.collect()
        gc.freeze()  # a million stand-ins are the collector's to walk, and no store's
        began = time.perf_counter()
        deleted = sum(SETTINGS.run(work, NOW, 600).deleted for work in SETTINGS.find_work(NOW))
        seconds = time.perf_counter() - began
        gc.unfreeze()
        requests = stores.s3.calls.total() + stores.table.calls.total() + stores.glue.calls.total()
        return Cost(requests, deleted, seconds)


def _fill(stores: StandIns, hour: ArrivalHour, images: int) -> None:
    expires_at = int((hour.start + timedelta(days=7, minutes=30)).timestamp())
    for _ in range(images):
        key = RawKey(hour, str(uuid.uuid4()))
        stores.s3.put_object("raw", str(key), b"")
        stores.s3.put_object("lake", ImageVersion(key, "1").derived("thumb_256", "jpg"), b"")
        stores.table.put_item(
            {
                "image_id": key.image_id,
                "status": "processed",
                "expiry_shard": key.image_id[-1],
                "expires_at": expires_at,
                "received_at": hour.start.isoformat(),
                "ingest_date": hour.ingest_date,
                "hour": hour.hour,
            }
        )
    stores.table.stream.clear()


if __name__ == "__main__":
    sys.exit(main())
