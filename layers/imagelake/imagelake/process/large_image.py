"""A large image, in a task of its own: the engine of `processing` with more memory, then the end of the workflow.

An Express workflow cannot wait for a task, so the task commits the outcome itself, as the workflow would. A task that
dies leaves an image without an outcome, and those are found by `reconciliation`.
"""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from pydantic import AwareDatetime

from imagelake import pipelines
from imagelake.engine.limits import MEGABYTE, Limits
from imagelake.errors import ImageLakeError, unforeseen
from imagelake.keys import RawKey
from imagelake.process import one_image
from imagelake.process.one_image import ImageArrived, Outcome
from imagelake.settings import ProcessLargeImageSettings
from imagelake.stores import dead_letters, images_table

SCRIPT_SECONDS: Final = 600.0
"""For the scripts of one image, in one attempt."""
LAST_START: Final = 180.0
"""After so many seconds no attempt begins, so that the last ends within `reconciliation.PATIENCE`."""
MEMORY_BESIDE_SCRIPTS_MB: Final = 800
"""Of the task's memory, kept back from the scripts for the program itself and what it holds of the image."""
PAUSES: Final = (2.0, 8.0)
"""Seconds between the attempts to process an image that a fault ended."""


class LargeImageArrived(ImageArrived):
    """What the workflow says of a large image; `time` is that of the event."""

    time: AwareDatetime


@dataclass(frozen=True)
class LargeOutcome:
    """What became of an image. One that had an outcome already, or was erased, is `known`, one without bytes `gone`."""

    status: Literal["processed", "rejected", "failed", "known", "gone"]
    reason: str | None = None


def process(image: LargeImageArrived, settings: ProcessLargeImageSettings) -> LargeOutcome:
    """Process one large image, commit its outcome and report what did not get through.

    Raises:
        InvalidKeyError: the key is not one of a raw image.
        Fault: the outcome could not be committed, or not be reported.
    """
    key = RawKey.parse(image.key)
    try:
        outcome = _process(image, settings)
    except ImageLakeError as error:
        result = LargeOutcome("failed", f"fault: {error}")
        received_at = key.partition.arrival(image.time)
        expires_at = received_at + timedelta(days=settings.retention_days)
        committed = images_table.give_up(settings.images_table, key, str(result.reason), received_at, expires_at)
    else:
        if outcome.item is None:
            return LargeOutcome("gone")
        result = LargeOutcome("rejected" if outcome.reason else "processed", outcome.reason)
        committed = images_table.commit(settings.images_table, outcome.item)
    if not committed:
        images_table.move_tombstone(settings.images_table, key, datetime.now(UTC))
        return LargeOutcome("known")
    if result.reason:
        dead_letters.report(
            settings.dead_letter_queue_url,
            {
                "image_id": key.image_id,
                "status": result.status,
                "reason": result.reason,
                "bucket": image.bucket,
                "key": image.key,
            },
        )
    return result


def _process(image: ImageArrived, settings: ProcessLargeImageSettings) -> Outcome:
    began, limits = time.monotonic(), _limits(settings.task_memory_mb)
    for pause in PAUSES:
        try:
            with unforeseen():
                return one_image.process(image, settings, limits, SCRIPT_SECONDS)
        except ImageLakeError:
            if time.monotonic() - began > LAST_START:
                raise
            time.sleep(pause)
    with unforeseen():
        return one_image.process(image, settings, limits, SCRIPT_SECONDS)


def _limits(task_memory_mb: int) -> Limits:
    """Those of large images, with what a task of so many MiB leaves to its scripts."""
    memory_mb = task_memory_mb * 1_048_576 // MEGABYTE - MEMORY_BESIDE_SCRIPTS_MB
    return replace(pipelines.load().large_limits, memory_mb=memory_mb)
