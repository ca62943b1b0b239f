"""Rows of the catalog as a week of images leaves them, for the benchmarks of the catalog."""

import hashlib
import math
import random
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest

from imagelake.ingest.kafka_record import Position
from imagelake.keys import ArrivalHour, ImageVersion, RawKey
from imagelake.model import Derivative, ImageRecord
from imagelake.stores.buckets import Bucket
from imagelake.stores.catalog_table import CatalogTable

SETTINGS: Final = CatalogTable("image_lake", "images", Bucket("lake"))
DAYS: Final = 7

_KAFKA_SHARE: Final = 0.5
_REJECTED: Final = 0.02
_FAILED: Final = 0.002
"""Half of which are redriven, and so have two rows."""
_SEEN_BEFORE: Final = 0.03
_PRODUCERS: Final = ("kafka", "line-3", "drone-7")
_UPLOADERS: Final = tuple(
    str(uuid.UUID(int=random.Random(number).getrandbits(128), version=4))  # noqa: S311  # no secret
    for number in range(500)
)
_CAMERAS: Final = (
    *(("Aperture Works", f"AW-{number}") for number in range(1, 9)),
    *(("Pocket", f"P {number}") for number in range(8, 16)),
    *(("Fjord Optics", f"F{number}00") for number in range(1, 5)),
)
_FORMATS: Final = {"JPEG": 80, "PNG": 12, "WEBP": 6, "TIFF": 2}
_SIZES: Final = ((4032, 3024), (3000, 2000), (1920, 1080), (1600, 1067), (5184, 3456))
_REASONS: Final = (
    "not_an_image: the bytes are not those of an image",
    "truncated: the file ends before the image does",
    "side_too_long: a side of 60000 pixels, the limit is 16384",
)
_SCRIPTS: Final = {
    "script": "describe,thumbnails",
    "script_version": "0a1b2c3d4e5f,5f4e3d2c1b0a",
    "script_output": "{}",
}


def hours_until(now: datetime) -> list[ArrivalHour]:
    """The hours of the week before the one of `now`."""
    last = ArrivalHour.of(now)
    return [ArrivalHour.of(last.start - timedelta(hours=number)) for number in range(24 * DAYS, 0, -1)]


def images_by_hour(hours: Sequence[ArrivalHour], images: int) -> dict[ArrivalHour, int]:
    """How many of `images` arrive in each hour: three times as many at noon as at midnight, UTC."""
    weights = [2 - math.cos(int(hour.hour) / 24 * math.tau) for hour in hours]
    ends = [round(images * sum(weights[:number]) / sum(weights)) for number in range(len(hours) + 1)]
    return {hour: ends[number + 1] - ends[number] for number, hour in enumerate(hours)}


def records_of(hour: ArrivalHour, images: int) -> list[ImageRecord]:
    """What the stream says of the images of an hour, in the order it says so; the same at every call."""
    rng = random.Random(f"{hour.path} {images}")  # noqa: S311  # no secret
    moments = sorted(hour.start + timedelta(milliseconds=rng.randrange(3_600_000)) for _ in range(images))
    hashes = [f"{rng.getrandbits(64):016x}" for _ in range(images)]
    records = []
    for number, received_at in enumerate(moments):
        phash = rng.choice(hashes) if rng.random() < _SEEN_BEFORE else hashes[number]
        record = _record(rng, hour, number, received_at, phash)
        if rng.random() < _FAILED:
            failed = {"status": "failed", "reason": "fault: SlowDown on PutObject", "processed_at": None}
            records.append((received_at, record.model_copy(update=failed)))
            if rng.random() < 0.5:
                continue
            record = record.model_copy(update={"processed_at": received_at + timedelta(minutes=rng.uniform(5, 40))})
        records.append((record.processed_at or received_at, record))
    return [record for _, record in sorted(records, key=lambda one: one[0])]


def _record(rng: random.Random, hour: ArrivalHour, number: int, received_at: datetime, phash: str) -> ImageRecord:
    kafka = rng.random() < _KAFKA_SHARE
    position = Position("images", number % 8, int(hour.start.timestamp()) + number)
    image_id = position.image_id("lake") if kafka else _uuid7(rng, received_at)
    sender = {
        "source": rng.choice(_PRODUCERS) if kafka else "api",
        "source_ref": str(position) if kafka else str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "uploader": None if kafka else rng.choice(_UPLOADERS),
        "tags": {"filename": f"IMG_{rng.randrange(10_000):04}.jpg", "site": rng.choice(("north", "south", "harbour"))},
    }
    known: dict[str, Any] = {
        "image_id": image_id,
        "status": "processed",
        **sender,
        "received_at": received_at,
        "processed_at": received_at + timedelta(milliseconds=round(rng.lognormvariate(7, 0.5))),
        "expires_at": received_at + timedelta(days=DAYS),
        "sha256": hashlib.sha256(phash.encode() + rng.randbytes(1)).hexdigest(),
        "bytes": round(rng.lognormvariate(13.5, 0.8)),
        "content_type": "image/jpeg",
        "ingest_date": hour.ingest_date,
        "hour": hour.hour,
    }
    if rng.random() < _REJECTED:
        return ImageRecord.model_validate(known | {"status": "rejected", "reason": rng.choice(_REASONS)})
    return ImageRecord.model_validate(known | _found(rng, hour, image_id, received_at, phash))


def _found(rng: random.Random, hour: ArrivalHour, image_id: str, received_at: datetime, phash: str) -> dict[str, Any]:
    width, height = rng.choice(_SIZES)
    make, model = rng.choice(_CAMERAS) if rng.random() < 0.7 else (None, None)
    placed = make is not None and rng.random() < 0.6
    (kind,) = rng.choices(tuple(_FORMATS), tuple(_FORMATS.values()))
    key = RawKey(hour, image_id)
    return _SCRIPTS | {
        "format": kind,
        "content_type": f"image/{kind.lower()}",
        "width": width,
        "height": height,
        "mode": "RGB",
        "frames": 1,
        "orientation": rng.choice((1, 1, 1, 6)),
        "camera_make": make,
        "camera_model": model,
        "taken_at": received_at - timedelta(seconds=rng.randrange(10_000_000)) if make else None,
        "gps_lat": round(rng.uniform(-60, 70), 7) if placed else None,
        "gps_lon": round(rng.uniform(-180, 180), 7) if placed else None,
        "phash": phash,
        "dominant_color": f"#{rng.getrandbits(24):06x}",
        "brightness": round(rng.betavariate(4, 4), 4),
        "sharpness": round(rng.lognormvariate(5, 0.8), 2),
        "derivatives": [
            Derivative(
                key=ImageVersion(key, "1").derived(f"thumb_{side}", "jpg"),
                name=f"thumb_{side}",
                width=side,
                height=side * height // width,
                content_type="image/jpeg",
            )
            for side in (1024, 256)
        ],
    }


def _uuid7(rng: random.Random, moment: datetime) -> str:
    milliseconds = int(moment.timestamp() * 1000)
    value = milliseconds << 80 | 7 << 76 | rng.getrandbits(12) << 64 | 2 << 62 | rng.getrandbits(62)
    return str(uuid.UUID(int=value))


@contextmanager
def written_to(folder: Path) -> Iterator[None]:
    """`catalog.write` writes into files of `folder` that are named like the objects, and registers nothing.

    All files are made in one database, which takes a third of the time of one each.
    """

    def overwrite(_bucket: str, key: str, content: bytes, _content_type: str) -> None:
        file = folder / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    with pytest.MonkeyPatch.context() as patch, duckdb.connect() as database:
        patch.setattr(duckdb, "connect", database.cursor)
        patch.setattr(Bucket, "overwrite", overwrite)
        patch.setattr(CatalogTable, "register", lambda _table, _partitions: None)
        yield


def batches(records: Sequence[ImageRecord], window_seconds: int) -> Iterator[list[ImageRecord]]:
    """Records as a stream with one shard hands them over: those of a window together, far from 6 MB."""
    batch: list[ImageRecord] = []
    began = datetime.min.replace(tzinfo=UTC)
    for record in records:
        moment = record.processed_at or record.received_at
        if batch and moment - began >= timedelta(seconds=window_seconds):
            yield batch
            batch = []
        if not batch:
            began = moment
        batch.append(record)
    if batch:
        yield batch
