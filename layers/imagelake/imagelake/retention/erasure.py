"""Erasure on request: one image, everywhere, now and for good.

A tombstone takes the place of the image's item first; from then on nothing brings the image back. Who finds it, a late
workflow or a redelivered record, moves the tombstone to where the image has turned up, and the stream of the images
table brings it here again. The row is erased twice: now, and when the stream brings the tombstone to `write_catalog`,
which by then has written every row that came before it.
"""

import hashlib
import hmac
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from imagelake.catalog import parquet
from imagelake.keys import Partition, RawKey
from imagelake.model import Tombstone
from imagelake.retention import receipts
from imagelake.settings import EraseImageSettings
from imagelake.stores import buckets, images_table
from imagelake.stores.buckets import Version

WORKERS: Final = 16
"""Hours that are looked into at once."""


@dataclass(frozen=True)
class Caller:
    """Who asks. An operator may erase any image, everybody else their own."""

    subject: str
    is_operator: bool


def bury(image_id: str, caller: Caller, settings: EraseImageSettings, now: datetime) -> Tombstone | None:
    """Put a tombstone in the place of an image; one that is there already stays.

    Returns:
        The tombstone, or None when there is no such image, it has expired, or it is not the caller's.

    Raises:
        Fault: DynamoDB did not answer, or denied access.
    """
    item = images_table.get_even_erased(settings.images_table, image_id)
    if item is None or not (caller.is_operator or _is_owner(item, caller)):
        return None
    if item["status"] == "erased":
        return Tombstone.model_validate(item)
    tombstone = Tombstone(
        image_id=image_id,
        erased_at=now,
        # Long enough for everything that may redeliver the image to have forgotten it.
        expires_at=now + timedelta(days=settings.retention_days),
        owner_digest=_digest(image_id, item["uploader"]) if "uploader" in item else None,
        ingest_date=item["ingest_date"],
        hour=item["hour"],
    )
    images_table.bury(settings.images_table, tombstone)
    return tombstone


def erase(tombstone: Tombstone, settings: EraseImageSettings, now: datetime) -> dict[str, int]:
    """Erase all there is of a buried image, and leave a receipt.

    Doing it again does no harm, and leaves a receipt only where something had come back.

    Returns:
        How many versions, derivatives and rows are gone.

    Raises:
        Fault: a service did not answer, or denied access; ask again.
    """
    key = tombstone.raw_key
    erased = {"rows": 0, "derivatives": 0, "versions": 0}
    with ThreadPoolExecutor(WORKERS) as pool:
        places = _places(tombstone, settings, now)
        for found in pool.map(lambda place: _erase(place, settings, has_row=place == key), places):
            erased = {what: count + found.get(what, 0) for what, count in erased.items()}
    if any(erased.values()) or tombstone.erased_at == now:
        receipts.erasure(settings.audit_bucket, key.partition, key.image_id, now, erased)
    return erased


def _places(tombstone: Tombstone, settings: EraseImageSettings, now: datetime) -> list[RawKey]:
    """Where the image may be. A form takes a file in one place; a record that comes again may be in any hour since."""
    places = {tombstone.raw_key}
    if tombstone.owner_digest is None:
        hours = range(-1, 24 * settings.retention_days + 3)
        places |= {RawKey(Partition.of(now - timedelta(hours=hour)), tombstone.image_id) for hour in hours}
    return sorted(places, key=str)


def _erase(key: RawKey, settings: EraseImageSettings, *, has_row: bool) -> dict[str, int]:
    # What says that there is something to erase goes last, should this be interrupted.
    derivatives = _find(settings.lake_bucket, key.derived_prefix)
    versions = _find(settings.raw_bucket, str(key))
    if not (has_row or derivatives or versions):
        return {}
    rows = parquet.erase(settings.lake_bucket, key.partition, {key.image_id})
    buckets.delete_versions(settings.lake_bucket, derivatives)
    buckets.delete_versions(settings.raw_bucket, versions)
    return {"rows": rows, "derivatives": len(derivatives), "versions": len(versions)}


def _find(bucket: str, prefix: str) -> list[Version]:
    return [version for page in buckets.versions(bucket, prefix) for version in page]


def _is_owner(item: dict[str, Any], caller: Caller) -> bool:
    if item["status"] == "erased":
        return hmac.compare_digest(item.get("owner_digest", ""), _digest(item["image_id"], caller.subject))
    return bool(item.get("uploader") == caller.subject)


def _digest(image_id: str, subject: str) -> str:
    return hashlib.sha256(f"{image_id}/{subject}".encode()).hexdigest()
