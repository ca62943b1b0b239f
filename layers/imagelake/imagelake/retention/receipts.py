"""Receipts: what was deleted, where and when, kept in the audit bucket.

    receipts/purges/ingest_date=2026-11-15/hour=09/<store>-<run>.json        one hour of one store, one run
    receipts/erasures/ingest_date=2026-11-15/hour=09/<image_id>-<run>.json   one image, on request

No image data in them, and of persons only the Cognito subject of who asked for an erasure; the keys of what was deleted
as a digest only.
"""

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final, Literal, Self

from imagelake.errors import Fault
from imagelake.keys import ArrivalHour
from imagelake.model import Tombstone
from imagelake.stores.buckets import Bucket, Version
from imagelake.values import to_iso

type RunState = Literal["completed", "to be continued", "failed"]

CLAIM: Final = timedelta(minutes=11)
"""How long a run may say nothing before another takes its place: a minute more than its function may run."""


class AnotherRun(Fault):
    """Another run is at work on the same hour of the same store; it ends, or has been silent for `CLAIM`, soon."""


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
    """The receipt of one run over one hour of one store.

    An hour of a store is claimed by the receipt of whoever purges it: nobody else deletes until the run has ended, so
    no two receipts count the same deletions. The receipts of its runs are numbered. One that stays at `started` tells
    of a run that was killed: what that run deleted after it last wrote it is in no count.
    """

    bucket: Bucket
    store: str
    hour: ArrivalHour
    started_at: datetime
    run: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def claim(cls, bucket: Bucket, store: str, hour: ArrivalHour, started_at: datetime) -> Self:
        """Begin a run, unless another is at work.

        Raises:
            AnotherRun: another is.
            Fault: S3 did not answer, or denied access.
        """
        earlier = list(bucket.objects(f"receipts/purges/{hour.path}/{store}-"))
        if earlier:
            latest = max(earlier, key=lambda stored: (stored.last_modified, stored.key))
            if datetime.now(UTC) - latest.last_modified < CLAIM and _is_at_work(bucket, latest.key):
                raise AnotherRun(f"another run is purging {store} of {hour.path}")
        names = {stored.key for stored in earlier}
        numbered = (cls(bucket, store, hour, started_at, f"{number:04}") for number in count(len(earlier) + 1))
        claimed = next(receipt for receipt in numbered if receipt._key not in names)
        if not bucket.store_once(claimed._key, claimed._body({"state": "started"}), "application/json"):
            raise AnotherRun(f"another run is purging {store} of {hour.path}")
        return claimed

    def note(self, tally: Tally) -> None:
        """Say what the run has deleted so far; renews the claim.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        self._write({"state": "started", **tally.describe()})

    def end(self, tally: Tally, state: RunState = "completed", uncertain: int = 0) -> None:
        """Say what the run deleted, and give up the claim.

        Args:
            tally: of all that is known to be deleted by this run.
            state: how it ended.
            uncertain: how many versions may be deleted besides, where S3 did not answer even when asked again.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        self._write({"state": state, **tally.describe()} | ({"uncertain": uncertain} if uncertain else {}))

    @property
    def _key(self) -> str:
        return f"receipts/purges/{self.hour.path}/{self.store}-{self.run}.json"

    def _body(self, what: dict[str, Any]) -> bytes:
        return _to_json({"store": self.store, "purged_at": to_iso(self.started_at), **_hour(self.hour)} | what)

    def _write(self, what: dict[str, Any]) -> None:
        self.bucket.overwrite(self._key, self._body(what), "application/json")


def _is_at_work(bucket: Bucket, key: str) -> bool:
    found = bucket.read(key)
    try:
        receipt = json.loads(found[0]) if found else None
    except ValueError:  # nobody's claim: for the auditor to report
        return False
    return isinstance(receipt, dict) and receipt.get("state") == "started"


type ErasureState = Literal["completed", "to be continued", "interrupted"]


def erasure(bucket: Bucket, tombstone: Tombstone, tally: "ErasureTally", state: ErasureState, now: datetime) -> None:
    """Write the receipt of an erasure on request: who asked for it and why, and how much is gone by the run of `now`.

    Two runs at once delete the same objects, which S3 takes twice, and leave one receipt. Rows and records go once:
    runs that have deleted nothing else have receipts of their own.

    Raises:
        Fault: S3 did not answer, or denied access.
    """
    asked = tombstone.model_dump(mode="json", include={"image_id", "erased_at", "returned_at", "asked_by", "reason"})
    body = {"state": state, **asked, **_hour(tombstone.raw_key.hour), **tally.describe()}
    if (tally.rows or tally.records) and not tally.versions and not tally.derivatives:
        body["run_at"] = to_iso(now)
    run = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:32]
    content = (json.dumps(body, indent=2) + "\n").encode()
    bucket.store_once(f"{_erasure_prefix(tombstone)}{run}.json", content, "application/json")


def has_erasure(bucket: Bucket, tombstone: Tombstone) -> bool:
    """Whether a run has left a receipt of this erasure.

    Raises:
        Fault: S3 did not answer, or denied access.
    """
    return next(bucket.objects(_erasure_prefix(tombstone)), None) is not None


def _erasure_prefix(tombstone: Tombstone) -> str:
    return f"receipts/erasures/{tombstone.raw_key.hour.path}/{tombstone.image_id}-"


@dataclass
class ErasureTally:
    """How much of one image is gone: versions of its file, derivatives, kept Kafka records, rows of the catalog."""

    versions: int = 0
    derivatives: int = 0
    records: int = 0
    rows: int = 0
    _objects: list[str] = field(default_factory=list)

    def add(self, versions: Sequence[Version], derivatives: Sequence[Version]) -> None:
        """Count objects that are deleted."""
        self.versions += len(versions)
        self.derivatives += len(derivatives)
        self._objects += [f"{one.key}\n{one.version_id}\n" for one in (*versions, *derivatives)]

    def counts(self) -> dict[str, int]:
        """The counts, by name."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def describe(self) -> dict[str, Any]:
        """The counts, and a SHA-256 over keys and versions of what was deleted, in their order."""
        digest = hashlib.sha256("".join(sorted(self._objects)).encode()).hexdigest()
        return self.counts() | {"keys_sha256": digest}


def _hour(hour: ArrivalHour) -> dict[str, str]:
    return {"ingest_date": hour.ingest_date, "hour": hour.hour}


def _put(bucket: Bucket, key: str, body: dict[str, Any]) -> None:
    bucket.overwrite(key, _to_json(body), "application/json")


def _to_json(body: dict[str, Any]) -> bytes:
    return (json.dumps(body, indent=2) + "\n").encode()
