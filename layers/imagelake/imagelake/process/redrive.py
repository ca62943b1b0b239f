"""Redrive: images whose outcome another try may change go through the workflow again, from their raw object.

The outcome stays until there is another: an image that is redriven is marked, and the mark lets the workflow's commit
replace a rejection. So a redrive that dies, is throttled or fails again has changed nothing, and can be asked for
again. The mark says as well that somebody waits: `reconcile` reports a redrive that ended without an outcome, and
starts again what had none. What was erased, has expired or has no raw object stays so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import batched, islice
from typing import Any, Final, Literal

from imagelake.engine.reason_codes import OF_THE_FILE
from imagelake.keys import ArrivalHour, RawKey
from imagelake.stores.buckets import Bucket
from imagelake.stores.images_table import BATCH_ITEMS, ImagesTable
from imagelake.stores.ingest_workflow import IngestWorkflow

CANDIDATES: Final = 10_000
"""Images of one answer; 100 bytes each are far from the 6 MB that an answer may have."""
AT_ONCE: Final = 100
"""Images of one request to redrive; at a few dozen milliseconds each, seconds."""

type Result = Literal["redriven", "redrivable", "final", "processed", "waiting", "changed", "unknown", "gone"]
"""`redriven`: it has been started. `redrivable`: it would be, and this was a dry run. `final`: its file is at fault,
and another try gives the same answer. `processed`: there is nothing to mend. `waiting`: it has no outcome yet, and
`reconcile` sees to that. `changed`: it got another outcome meanwhile. `unknown`: there is no such image, or it was
erased or has expired. `gone`: its raw object is."""


@dataclass(frozen=True)
class Candidate:
    """An image that can be redriven, and the code of the reason why it was rejected or failed."""

    image_id: str
    status: str
    code: str


@dataclass(frozen=True)
class Candidates:
    """Images of an hour, by image_id.

    `final` counts those that another try cannot change. Unless `after` is null, there are more: ask again with it.
    """

    hour: str
    images: list[Candidate]
    final: int
    after: str | None


@dataclass(frozen=True)
class Redriven:
    """What became of one image of a request."""

    image_id: str
    result: Result
    status: str | None = None
    code: str | None = None


@dataclass(frozen=True)
class Redrive:
    """Redrive of a stack, as its template describes it."""

    raw_bucket: Bucket
    images_table: ImagesTable
    ingest_image_state_machine: IngestWorkflow
    retention_days: int

    def find(self, hour: ArrivalHour, now: datetime, code: str | None = None, after: str = "") -> Candidates:
        """The images of an hour that can be redriven.

        Args:
            hour: which.
            now: the time.
            code: of the reason; by default any.
            after: only images behind this one.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        outcomes = self.images_table.outcomes(hour, self.retention_days, ("rejected", "failed"))
        image_ids = sorted(image_id for image_id, _ in outcomes if image_id > after)
        final = 0
        images: list[Candidate] = []
        last = None
        for item in self._items(image_ids):
            if len(images) == CANDIDATES:
                return Candidates(hour.path, images, final, last)
            last = str(item["image_id"])
            if not _is_alive(item, now) or item["status"] not in ("rejected", "failed"):
                continue
            if code is not None and _code(item) != code:
                continue
            if _is_final(item):
                final += 1
            else:
                images.append(Candidate(last, str(item["status"]), _code(item)))
        return Candidates(hour.path, images, final, None)

    def run(self, image_ids: Sequence[str], now: datetime, *, dry_run: bool = False) -> Iterator[Redriven]:
        """Start these images again, at most `AT_ONCE`, all different.

        Raises:
            Fault: a service did not answer, or denied access; those before are started, and may be again.
        """
        items = self._by_id(image_ids)
        for image_id in image_ids:
            yield self._answer(image_id, items.get(image_id), now, dry_run=dry_run)

    def run_arrivals(self, keys: Sequence[RawKey], now: datetime, *, dry_run: bool = False) -> Iterator[Redriven]:
        """Start the images of these raw objects that have no outcome, and the others as `run` does.

        For events that could not be delivered: such an image may not have an item yet. To start one that is under way
        does no harm.

        Raises:
            Fault: a service did not answer, or denied access; those before are started, and may be again.
        """
        items = self._by_id(list(dict.fromkeys(key.image_id for key in keys)))
        for key in keys:
            item = items.get(key.image_id)
            if item is None:
                yield Redriven(key.image_id, self._start(key, now, dry_run=dry_run))
            elif item["status"] == "awaiting_upload" and _is_alive(item, now):
                yield Redriven(key.image_id, self._start(key, now, dry_run=dry_run), "awaiting_upload")
            else:
                yield self._answer(key.image_id, item, now, dry_run=dry_run)

    def _by_id(self, image_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {str(item["image_id"]): item for item in self.images_table.read(list(islice(image_ids, AT_ONCE)))}

    def _answer(self, image_id: str, item: dict[str, Any] | None, now: datetime, *, dry_run: bool) -> Redriven:
        if item is None or not _is_alive(item, now) or item["status"] == "erased":
            return Redriven(image_id, "unknown")
        return Redriven(image_id, self._redrive(item, now, dry_run=dry_run), str(item["status"]), _code(item))

    def _start(self, key: RawKey, now: datetime, *, dry_run: bool) -> Result:
        first = self.raw_bucket.first_version(str(key))
        if first is None:
            return "gone"
        received_at = key.hour.arrival(first.last_modified)
        expires_at = received_at + timedelta(days=self.retention_days)
        if expires_at <= now:
            return "unknown"
        if dry_run:
            return "redrivable"
        if not self.images_table.expect_outcome(key, received_at, now, expires_at):
            return "changed"
        self.ingest_image_state_machine.start(self.raw_bucket.name, first)
        return "redriven"

    def _redrive(self, item: dict[str, Any], now: datetime, *, dry_run: bool) -> Result:
        if item["status"] == "awaiting_upload":
            return "waiting"
        if item["status"] == "processed":
            return "processed"
        if _is_final(item):
            return "final"
        key = RawKey(ArrivalHour(item["ingest_date"], item["hour"]), item["image_id"])
        first = self.raw_bucket.first_version(str(key))
        if first is None:
            return "gone"
        if dry_run:
            return "redrivable"
        if not self.images_table.admit_again(key.image_id, item["status"], item["reason"], now):
            return "changed"
        self.ingest_image_state_machine.start(self.raw_bucket.name, first)
        return "redriven"

    def _items(self, image_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The items, by image_id."""
        for some in batched(image_ids, BATCH_ITEMS, strict=False):
            yield from sorted(self.images_table.read(some), key=lambda item: str(item["image_id"]))


def _is_alive(item: dict[str, Any], now: datetime) -> bool:
    return bool(item["expires_at"] > now.timestamp())


def _code(item: dict[str, Any]) -> str:
    return str(item.get("reason", "")).partition(":")[0]


def _is_final(item: dict[str, Any]) -> bool:
    return item["status"] == "rejected" and _code(item) in OF_THE_FILE
