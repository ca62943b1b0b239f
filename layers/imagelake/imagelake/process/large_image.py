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
from imagelake.model import DeadLetter
from imagelake.process.one_image import ImageArrived, ImageProcessing, Outcome
from imagelake.stores.dead_letters import DeadLetterQueue
from imagelake.stores.images_table import ImagesTable

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


@dataclass(frozen=True)
class LargeImageProcessing(ImageProcessing):
    """How the task processes images: there is no task beyond it. `task_memory_mb` is its memory, MiB."""

    images_table: ImagesTable
    dead_letter_queue_url: DeadLetterQueue
    task_memory_mb: int

    def run(self, image: LargeImageArrived) -> LargeOutcome:
        """Process one large image, commit its outcome and report what did not get through.

        Raises:
            InvalidKeyError: the key is not one of a raw image.
            Fault: the outcome could not be committed, or not be reported.
        """
        key = RawKey.parse(image.key)
        try:
            outcome = self._try(image)
        except ImageLakeError as error:
            result = LargeOutcome("failed", f"fault: {error}")
            received_at = key.hour.arrival(image.time)
            expires_at = received_at + timedelta(days=self.retention_days)
            committed = self.images_table.give_up(key, str(result.reason), received_at, expires_at)
        else:
            if outcome.item is None:
                return LargeOutcome("gone")
            result = LargeOutcome("rejected" if outcome.reason else "processed", outcome.reason)
            committed = self.images_table.commit(outcome.item)
        if not committed:
            self.images_table.move_tombstone(key, datetime.now(UTC))
            return LargeOutcome("known")
        if result.reason and result.status in ("rejected", "failed"):
            letter = DeadLetter(
                image_id=key.image_id, status=result.status, reason=result.reason, bucket=image.bucket, key=image.key
            )
            self.dead_letter_queue_url.report(letter)
        return result

    def _try(self, image: ImageArrived) -> Outcome:
        began, limits = time.monotonic(), _limits(self.task_memory_mb)
        for pause in PAUSES:
            try:
                with unforeseen():
                    return self.process(image, limits, SCRIPT_SECONDS)
            except ImageLakeError:
                if time.monotonic() - began > LAST_START:
                    raise
                time.sleep(pause)
        with unforeseen():
            return self.process(image, limits, SCRIPT_SECONDS)


def _limits(task_memory_mb: int) -> Limits:
    """Those of large images, with what a task of so many MiB leaves to its scripts."""
    memory_mb = task_memory_mb * 1_048_576 // MEGABYTE - MEMORY_BESIDE_SCRIPTS_MB
    return replace(pipelines.load().large_limits, memory_mb=memory_mb)
