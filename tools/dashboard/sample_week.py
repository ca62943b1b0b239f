"""A week of rows to look at: four sources with their days and nights, refusals, an incident, a new script version."""

import math
import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from imagelake.engine.reason_codes import Reason
from imagelake.keys import ArrivalHour
from imagelake.model import ImageRecord

DAYS: Final = 7
HOURS: Final = DAYS * 24
INCIDENT: Final = range(76, 80)
"""Hours of the week in which processing is slow, and some of it fails."""
NEW_VERSION: Final = 100
"""The hour of the week in which scripts change."""


class _Source(NamedTuple):
    """Where images come from: its share of them, when it sleeps, and what it sends."""

    name: str
    share: float
    by_day: float
    cameras: tuple[tuple[str, str], ...]
    formats: tuple[str, ...]
    megabytes: float
    refused: float
    repeated: float
    sharpness: float


_SOURCES: Final = (
    _Source("api", 0.45, 0.9, (("Apple", "iPhone 17"), ("Samsung", "Galaxy S26"), ("Google", "Pixel 11")),
            ("JPEG", "JPEG", "JPEG", "PNG", "WEBP"), 3.1, 0.05, 0.02, 300),
    _Source("harbour-cams", 0.30, 0.1, (("Axis", "P1468-LE"), ("Axis", "Q1656")), ("JPEG",), 0.9, 0.01, 0.06, 120),
    _Source("drones", 0.17, 1.0, (("DJI", "Mavic 4"), ("DJI", "M30T"), ("Parrot", "Anafi")),
            ("JPEG", "JPEG", "TIFF"), 11.5, 0.03, 0.005, 500),
    _Source("archive", 0.08, 0.4, (("Nikon", "D3"), ("Canon", "EOS 5D"), ("Epson", "V850")),
            ("TIFF", "JPEG", "BMP", "GIF"), 7.4, 0.12, 0.10, 220),
)  # fmt: skip
_REFUSALS: Final = (
    Reason.NOT_AN_IMAGE, Reason.NOT_AN_IMAGE, Reason.TRUNCATED, Reason.TRUNCATED, Reason.TRUNCATED,
    Reason.UNSUPPORTED_FORMAT, Reason.TOO_MANY_PIXELS, Reason.CORRUPT, Reason.SIDE_TOO_LONG,
)  # fmt: skip


def records(now: datetime, count: int = 20_000) -> list[ImageRecord]:
    """About `count` images that arrived in the week before `now` (aware), the same for the same arguments."""
    chance = random.Random(7)  # noqa: S311  # pictures, not secrets
    start = now - timedelta(days=DAYS)
    made: list[ImageRecord] = []
    for source in _SOURCES:
        hashes: list[str] = []
        activity = [_activity(source, start + timedelta(hours=hour)) for hour in range(HOURS)]
        for hour, weight in enumerate(activity):
            images = round(count * source.share * weight / sum(activity) * chance.uniform(0.8, 1.2))
            made.extend(_hour(chance, source, start, hour, images, hashes))
    return made


def _activity(source: _Source, moment: datetime) -> float:
    day = max(0.0, math.sin((moment.hour - 5) / 24 * 2 * math.pi))
    weekend = 0.45 if moment.weekday() >= 5 and source.by_day > 0.5 else 1.0
    return weekend * (1 - source.by_day + source.by_day * 2 * day**2) + 0.02


def _hour(
    chance: random.Random, source: _Source, start: datetime, hour: int, images: int, hashes: list[str]
) -> Iterator[ImageRecord]:
    for _ in range(images):
        received = start + timedelta(hours=hour, seconds=chance.uniform(0, 3600))
        common = _common(chance, source, received, hour)
        if chance.random() < source.refused:
            yield _record(common | {"status": "rejected", "reason": f"{chance.choice(_REFUSALS)}: the reason in words"})
        elif hour in INCIDENT and chance.random() < 0.15:
            yield _record(common | {"status": "failed", "reason": "fault: Lambda did not answer"})
        else:
            yield _record(common | _processed(chance, source, hour, hashes))


def _common(chance: random.Random, source: _Source, received: datetime, hour: int) -> dict[str, Any]:
    slow = chance.uniform(20, 60) if hour in INCIDENT else 1.0
    partition = ArrivalHour.of(received)
    return {
        "image_id": str(UUID(int=chance.getrandbits(128))),
        "source": source.name,
        "received_at": received,
        "processed_at": received + timedelta(seconds=slow * (0.6 + chance.lognormvariate(-0.2, 0.5))),
        "expires_at": received + timedelta(days=DAYS),
        "sha256": f"{chance.getrandbits(256):064x}",
        "bytes": round(source.megabytes * 1e6 * chance.lognormvariate(0, 0.4)),
        "script": "describe,thumbnails",
        "script_version": "9c1f0a7764e2,51d2be04a9f3" if hour < NEW_VERSION else "e07ac3d91b55,51d2be04a9f3",
        "ingest_date": partition.ingest_date,
        "hour": partition.hour,
    }


def _processed(chance: random.Random, source: _Source, hour: int, hashes: list[str]) -> dict[str, Any]:
    again = hashes and chance.random() < source.repeated
    phash = hashes[int(len(hashes) * chance.random() ** 3)] if again else f"{chance.getrandbits(64):016x}"
    hashes.append(phash)
    make, model = _weighted(chance, source.cameras)
    height = chance.choice((1080, 2160, 3024, 4000))
    blurred = 0.02 if chance.random() < 0.004 else 1.0
    return {
        "status": "processed",
        "format": chance.choice(source.formats),
        "width": height * 4 // 3,
        "height": height,
        "camera_make": make,
        "camera_model": model,
        "gps_lat": chance.uniform(50, 54) if source.by_day > 0.5 and chance.random() < 0.6 else None,
        "phash": phash,
        "brightness": min(1.0, max(0.0, chance.gauss(0.48 if hour < NEW_VERSION else 0.46, 0.12))),
        "sharpness": source.sharpness * blurred * chance.lognormvariate(0, 0.35),
    }


def _weighted(chance: random.Random, cameras: Sequence[tuple[str, str]]) -> tuple[str, str]:
    return chance.choices(cameras, weights=range(len(cameras), 0, -1))[0]


def _record(fields: dict[str, Any]) -> ImageRecord:
    return ImageRecord.model_validate(fields)
