"""Reconciliation: images that arrived but have no outcome, because an event or a workflow got lost, are started again.

Looks at the hours of recent arrivals only. Starting an image that is still under way, or done, does no harm.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import batched
from typing import TYPE_CHECKING, Final

from imagelake.errors import InvalidKeyError
from imagelake.keys import Partition, RawKey
from imagelake.settings import ReconcileSettings
from imagelake.stores import buckets, dead_letters, images_table
from imagelake.stores.buckets import Arrived
from imagelake.stores.session import calling, client
from imagelake.values import to_iso

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

PATIENCE: Final = timedelta(minutes=15)
"""How long an image may take before it counts as lost."""
LOOKBACK: Final = timedelta(hours=6)
"""How far back arrivals are looked at: three attempts, an hour apart, and then some for an outage of our own."""
MAX_ATTEMPTS: Final = 3
REASON: Final = "lost: three attempts to process the image ended without an outcome"


@dataclass
class Reconciled:
    """What one run found and did."""

    seen: int = 0
    restarted: int = 0
    given_up: int = 0


@cache
def _step_functions() -> "SFNClient":
    states: SFNClient = client("stepfunctions")
    return states


def reconcile(settings: ReconcileSettings, now: datetime, since: datetime | None = None) -> Reconciled:
    """Start lost images again, at most `MAX_ATTEMPTS` times each; then fail and dead-letter them.

    Args:
        settings: of the stack.
        now: the time.
        since: look at arrivals from then on, instead of those of the last `LOOKBACK`.

    Raises:
        Fault: a service did not answer, or denied access; the next run goes on.
    """
    result = Reconciled()
    for arrivals in batched(_arrivals(settings, now, since or now - LOOKBACK), images_table.BATCH_ITEMS, strict=False):
        result.seen += len(arrivals)
        statuses = images_table.statuses(settings.images_table, sorted({key.image_id for key, _ in arrivals}))
        for key, arrived in arrivals:
            match statuses.get(key.image_id, "unknown"):
                case "unknown" | "awaiting_upload":
                    _try_again(key, arrived, settings, now, result)
                case "erased":  # the workflow will find the tombstone, and erase what has come back
                    _start(arrived, settings)
                    result.restarted += 1
    return result


def _arrivals(settings: ReconcileSettings, now: datetime, since: datetime) -> Iterator[tuple[RawKey, Arrived]]:
    hour = since
    while Partition.of(hour) <= Partition.of(now):
        for arrived in buckets.arrivals(settings.raw_bucket, f"raw/{Partition.of(hour).path}/"):
            if arrived.last_modified <= now - PATIENCE:
                try:
                    yield RawKey.parse(arrived.key), arrived
                except InvalidKeyError:  # outside the layout: for the auditor to report
                    continue
        hour += timedelta(hours=1)


def _try_again(key: RawKey, arrived: Arrived, settings: ReconcileSettings, now: datetime, result: Reconciled) -> None:
    received_at = key.partition.arrival(arrived.last_modified)
    expires_at = received_at + timedelta(days=settings.retention_days)
    attempt = images_table.count_attempt(settings.images_table, key, received_at, now, expires_at)
    if attempt is None:
        return
    if attempt <= MAX_ATTEMPTS:
        _start(arrived, settings)
        result.restarted += 1
        return
    dead_letters.report(
        settings.dead_letter_queue_url,
        {
            "image_id": key.image_id,
            "status": "failed",
            "reason": REASON,
            "bucket": settings.raw_bucket,
            "key": str(key),
        },
    )
    images_table.give_up(settings.images_table, key, REASON, received_at, expires_at)
    result.given_up += 1


def _start(arrived: Arrived, settings: ReconcileSettings) -> None:
    """Start the workflow with what EventBridge would have said."""
    event = {
        "time": to_iso(arrived.last_modified),
        "detail": {"bucket": {"name": settings.raw_bucket}, "object": {"key": arrived.key}},
    }
    with calling("StartExecution"):
        _step_functions().start_execution(stateMachineArn=settings.ingest_image_state_machine, input=json.dumps(event))
