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
from imagelake.keys import ArrivalHour, RawKey
from imagelake.model import Tombstone
from imagelake.retention import receipts
from imagelake.stores.buckets import Bucket, Version
from imagelake.stores.images_table import ImagesTable

WORKERS: Final = 16
"""Hours that are looked into at once."""


@dataclass(frozen=True)
class Caller:
    """Who asks. An operator may erase any image, everybody else their own."""

    subject: str
    is_operator: bool


@dataclass(frozen=True)
class Erasure:
    """Erasure in a stack, as its template describes it."""

    raw_bucket: Bucket
    lake_bucket: Bucket
    audit_bucket: Bucket
    images_table: ImagesTable
    retention_days: int

    def bury(self, image_id: str, caller: Caller, now: datetime) -> Tombstone | None:
        """Put a tombstone in the place of an image; one that is there already stays.

        Returns:
            The tombstone, or None when there is no such image, it has expired, or it is not the caller's.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        item = self.images_table.get_even_erased(image_id)
        if item is None or not (caller.is_operator or _is_owner(item, caller)):
            return None
        if item["status"] == "erased":
            return Tombstone.model_validate(item)
        tombstone = Tombstone(
            image_id=image_id,
            erased_at=now,
            # Long enough for everything that may redeliver the image to have forgotten it.
            expires_at=now + timedelta(days=self.retention_days),
            owner_digest=_digest(image_id, item["uploader"]) if "uploader" in item else None,
            ingest_date=item["ingest_date"],
            hour=item["hour"],
        )
        self.images_table.bury(tombstone)
        return tombstone

    def erase(self, tombstone: Tombstone, now: datetime) -> dict[str, int]:
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
            for found in pool.map(lambda place: self._erase(place, has_row=place == key), self._places(tombstone, now)):
                erased = {what: count + found.get(what, 0) for what, count in erased.items()}
        if any(erased.values()) or tombstone.erased_at == now:
            receipts.erasure(self.audit_bucket, key.hour, key.image_id, now, erased)
        return erased

    def _places(self, tombstone: Tombstone, now: datetime) -> list[RawKey]:
        """Where the image may be. A form takes a file in one place; a record that comes again may be in any hour."""
        places = {tombstone.raw_key}
        if tombstone.owner_digest is None:
            ages = range(-1, 24 * self.retention_days + 3)
            places |= {RawKey(ArrivalHour.of(now - timedelta(hours=age)), tombstone.image_id) for age in ages}
        return sorted(places, key=str)

    def _erase(self, key: RawKey, *, has_row: bool) -> dict[str, int]:
        # What says that there is something to erase goes last, should this be interrupted.
        derivatives = _find(self.lake_bucket, key.derived_prefix)
        versions = _find(self.raw_bucket, str(key))
        if not (has_row or derivatives or versions):
            return {}
        rows = parquet.erase(self.lake_bucket, key.hour, {key.image_id})
        self.lake_bucket.delete_versions(derivatives)
        self.raw_bucket.delete_versions(versions)
        return {"rows": rows, "derivatives": len(derivatives), "versions": len(versions)}


def _find(bucket: Bucket, prefix: str) -> list[Version]:
    return [version for page in bucket.versions(prefix) for version in page]


def _is_owner(item: dict[str, Any], caller: Caller) -> bool:
    if item["status"] == "erased":
        return hmac.compare_digest(item.get("owner_digest", ""), _digest(item["image_id"], caller.subject))
    return bool(item.get("uploader") == caller.subject)


def _digest(image_id: str, subject: str) -> str:
    return hashlib.sha256(f"{image_id}/{subject}".encode()).hexdigest()
