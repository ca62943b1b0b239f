"""Reconciliation: images that arrived but have no outcome, because an event or a workflow got lost, are started again.

Looks at the hours of recent arrivals only. Starting an image that is still under way, or done, does no harm. Failures
that were committed and not reported, because a workflow died in between, are reported, whatever their age, and so are
redrives that ended without an outcome. What an operator had started without one is started again. Images that were
erased are erased once more, when the forms have ended with which an engine at work may have stored derivatives.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import batched, groupby
from typing import Final

from aws_lambda_powertools import Logger

from imagelake.errors import InvalidKeyError
from imagelake.keys import ArrivalHour, RawKey
from imagelake.model import DeadLetter, FaultCode
from imagelake.stores.buckets import Bucket, Version
from imagelake.stores.dead_letters import DeadLetterQueue
from imagelake.stores.images_table import BATCH_ITEMS, ImagesTable, OpenErasure, OpenRedrive, OpenReport, OpenStart
from imagelake.stores.ingest_workflow import IngestWorkflow

logger = Logger(child=True)

PATIENCE: Final = timedelta(minutes=15)
"""How long an image, or the report of its outcome, may take before it counts as lost."""
LOOKBACK: Final = timedelta(hours=6)
"""How far back arrivals are looked at: three attempts, an hour apart, and then some for an outage of our own."""
FORMS_END: Final = timedelta(minutes=35)
"""From an erasure, or the start of a redrive, until no form is good any more that was granted before it or for it:
`opening.TASK_ORDER_SECONDS` and some."""
MAX_ATTEMPTS: Final = 3
REASON: Final = "lost: three attempts to process the image ended without an outcome"


@dataclass
class Reconciled:
    """What one run found and did."""

    seen: int = 0
    restarted: int = 0
    given_up: int = 0
    reported: int = 0
    erased_again: int = 0


@dataclass(frozen=True)
class Reconciliation:
    """Reconciliation of a stack, as its template describes it."""

    raw_bucket: Bucket
    images_table: ImagesTable
    dead_letter_queue_url: DeadLetterQueue
    ingest_image_state_machine: IngestWorkflow
    retention_days: int

    def run(self, now: datetime, since: datetime | None = None) -> Reconciled:
        """Report what was not; start lost images again, at most `MAX_ATTEMPTS` times each; then fail and report them.

        Has erased again what was erased `FORMS_END` ago or longer, every time until that is done.

        Args:
            now: the time.
            since: look at arrivals from then on, instead of those of the last `LOOKBACK`.

        Raises:
            Fault: a service did not answer, or denied access; the next run goes on.
        """
        result = Reconciled()
        try:
            self._start_lost(now, since or now - LOOKBACK, result)
        finally:  # neither keeps the other
            self._settle(now, result)
        return result

    def _settle(self, now: datetime, result: Reconciled) -> None:
        for left in self.images_table.unsettled(now - PATIENCE):
            match left:
                case OpenReport():
                    self._report(left, now)
                    result.reported += 1
                case OpenRedrive(redriven_at=redriven_at) if redriven_at <= now - FORMS_END:
                    self._report(_lost(left), now)
                    result.reported += 1
                case OpenStart(key=key):
                    if stored := self.raw_bucket.first_version(str(key)):
                        self._try_again(key, stored, now, result)
                case OpenErasure(erased_at=erased_at) if erased_at <= now - FORMS_END:
                    result.erased_again += self.images_table.erase_again(left, now)

    def _start_lost(self, now: datetime, since: datetime, result: Reconciled) -> None:
        for arrivals in batched(self._arrivals(now, since), BATCH_ITEMS, strict=False):
            result.seen += len(arrivals)
            statuses = self.images_table.statuses(sorted({key.image_id for key, _ in arrivals}))
            for key, stored in arrivals:
                match statuses.get(key.image_id, "unknown"):
                    case "unknown" | "awaiting_upload":
                        self._try_again(key, stored, now, result)
                    case "erased":  # the workflow will find the tombstone, and erase what has come back
                        self._start(stored)
                        logger.info("erased image started again", extra={"image_id": key.image_id})
                        result.restarted += 1

    def _arrivals(self, now: datetime, since: datetime) -> Iterator[tuple[RawKey, Version]]:
        moment = since
        while ArrivalHour.of(moment) <= ArrivalHour.of(now):
            for stored in self._first_versions(f"raw/{ArrivalHour.of(moment).path}/"):
                if stored.last_modified <= now - PATIENCE:
                    try:
                        yield RawKey.parse(stored.key), stored
                    except InvalidKeyError:  # outside the layout: for the auditor to report
                        continue
            moment += timedelta(hours=1)

    def _first_versions(self, prefix: str) -> Iterator[Version]:
        """The oldest version of each object: the one that counts."""
        versions = (one for page in self.raw_bucket.versions(prefix) for one in page if not one.is_marker)
        for _, of_one_key in groupby(versions, key=lambda version: version.key):
            *_, oldest = of_one_key
            yield oldest

    def _try_again(self, key: RawKey, stored: Version, now: datetime, result: Reconciled) -> None:
        received_at = key.hour.arrival(stored.last_modified)
        expires_at = received_at + timedelta(days=self.retention_days)
        attempt = self.images_table.count_attempt(key, received_at, now, expires_at)
        if attempt is None:
            return
        if attempt <= MAX_ATTEMPTS:
            self._start(stored)
            logger.info("image started again", extra={"image_id": key.image_id, "attempt": attempt})
            result.restarted += 1
            return
        if self.images_table.give_up(key, REASON, received_at, now, expires_at):
            self._report(OpenReport(key, REASON, "reconcile", now), now, MAX_ATTEMPTS, received_at)
            result.given_up += 1

    def _report(
        self, report: OpenReport, now: datetime, attempts: int | None = None, first_at: datetime | None = None
    ) -> None:
        letter = DeadLetter(
            image_id=report.key.image_id,
            code=FaultCode.of(report.reason),
            reason=report.reason,
            bucket=self.raw_bucket.name,
            key=str(report.key),
            step=report.step,
            attempts=attempts,
            first_at=first_at or report.failed_at,
            last_at=report.failed_at or now,
        )
        self.dead_letter_queue_url.report(letter)
        logger.info("failure reported", extra={"image_id": letter.image_id, "reason": letter.code})
        self.images_table.close_report(report.key.image_id, now)

    def _start(self, stored: Version) -> None:
        self.ingest_image_state_machine.start(self.raw_bucket.name, stored)


def _lost(redrive: OpenRedrive) -> OpenReport:
    reason = f"lost: a redrive ended without an outcome; the image stays {redrive.status}: {redrive.reason}"
    return OpenReport(redrive.key, reason, "reconcile", redrive.redriven_at)
