"""Receipts: what was deleted, where and when, kept in the audit bucket.

    receipts/purges/ingest_date=2026-11-15/hour=09/<store>-<run>.json        one hour of one store, one run
    receipts/erasures/ingest_date=2026-11-15/hour=09/<image_id>-<run>.json   one image, on request

No personal data and no image data in them; the keys of what was purged as a digest only.
"""

import hashlib
import json
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from imagelake.keys import ArrivalHour
from imagelake.stores.buckets import Bucket
from imagelake.values import to_iso


@dataclass
class Tally:
    """A count of what was deleted.

    `objects` counts different keys or items, `versions` the versions of them. Ages are hours since each was stored.
    """

    objects: int = 0
    versions: int = 0
    delete_markers: int = 0
    bytes: int = 0
    oldest_age_hours: float | None = None
    newest_age_hours: float | None = None
    _digest: Any = field(default_factory=hashlib.sha256)
    _last_key: str | None = None

    def add(self, key: str, version_id: str, bytes: int, age_hours: float | None) -> None:  # noqa: A002  # its name
        """Count one version; versions of a key come one after the other."""
        self.versions += 1
        self.bytes += bytes
        self._count(key, version_id)
        if age_hours is not None:
            ages = [age for age in (self.oldest_age_hours, self.newest_age_hours) if age is not None] + [age_hours]
            self.oldest_age_hours, self.newest_age_hours = round(max(ages), 4), round(min(ages), 4)

    def add_marker(self, key: str, version_id: str) -> None:
        """Count one delete marker."""
        self.delete_markers += 1
        self._count(key, version_id)

    def _count(self, key: str, version_id: str) -> None:
        self.objects += key != self._last_key
        self._last_key = key
        self._digest.update(f"{key}\n{version_id}\n".encode())

    def describe(self) -> dict[str, Any]:
        """The count, with a SHA-256 over keys and versions in the order of deletion."""
        counts = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return counts | {"keys_sha256": self._digest.hexdigest()}


@dataclass(frozen=True)
class Receipt:
    """The receipt of one run over one hour of one store; written when it starts and again when it ends.

    One that stays at `started` tells of a run that was interrupted: what that run deleted is in no count.
    """

    bucket: Bucket
    store: str
    hour: ArrivalHour
    started_at: datetime
    run: str = field(default_factory=lambda: uuid.uuid4().hex)

    def start(self) -> None:
        """Say that the run begins.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        self._write({"state": "started"})

    def end(self, tally: Tally, state: Literal["completed", "to be continued"] = "completed") -> None:
        """Say what the run deleted.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        self._write({"state": state, **tally.describe()})

    def _write(self, what: dict[str, Any]) -> None:
        name = f"receipts/purges/{self.hour.path}/{self.store}-{self.run}.json"
        _put(
            self.bucket,
            name,
            {"store": self.store, "purged_at": to_iso(self.started_at), **_hour(self.hour)} | what,
        )


def erasure(bucket: Bucket, hour: ArrivalHour, image_id: str, now: datetime, what: dict[str, int]) -> None:
    """Write the receipt of an erasure on request: `what` says how many versions, derivatives and rows are gone.

    Raises:
        Fault: S3 did not answer, or denied access.
    """
    name = f"receipts/erasures/{hour.path}/{image_id}-{uuid.uuid4().hex}.json"
    _put(bucket, name, {"image_id": image_id, "erased_at": to_iso(now), **_hour(hour), **what})


def _hour(hour: ArrivalHour) -> dict[str, str]:
    return {"ingest_date": hour.ingest_date, "hour": hour.hour}


def _put(bucket: Bucket, key: str, body: dict[str, Any]) -> None:
    bucket.overwrite(key, (json.dumps(body, indent=2) + "\n").encode(), "application/json")
