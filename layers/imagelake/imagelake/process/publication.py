"""Publication: what the stream of the images table says becomes events on the stack's bus.

The commit of an outcome is the only thing that has to happen. The stream brings it here at least once, so it is told at
least once. What a stream has lost, because nobody could read it for a day, is told again hour by hour, from the items.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import batched
from typing import Any

from aws_lambda_powertools import Logger
from pydantic import ValidationError

from imagelake import events
from imagelake.errors import Fault
from imagelake.events import ImageEvent
from imagelake.keys import ArrivalHour
from imagelake.model import is_first_attempt, is_new_outcome
from imagelake.stores.event_bus import ENTRIES, EventBus
from imagelake.stores.images_table import BATCH_ITEMS, ImagesTable

logger = Logger(child=True)


@dataclass(frozen=True)
class Published:
    """How many events of an hour were put. Unless `after` is null, there are more: ask again with it."""

    hour: str
    published: int
    after: str | None


@dataclass(frozen=True)
class Told:
    """An outcome that was told, and whether it is of the first attempt at its image."""

    event: ImageEvent
    is_first_attempt: bool


@dataclass(frozen=True)
class Publication:
    """Publication in a stack, as its template describes it."""

    images_table: ImagesTable
    event_bus: EventBus
    retention_days: int

    def publish(self, changed: Sequence[dict[str, Any]]) -> tuple[int, list[Told]]:
        """Put the events of items, as they have become.

        Returns:
            How many of them could be taken, from the first on, and the outcomes that were told. The others have to come
            again, `ENTRIES` at a time.
        """
        done, told = 0, list[Told]()
        for some in batched(changed, ENTRIES, strict=False):
            try:
                told += self._publish(some)
            except Fault as fault:
                logger.warning("left to the next delivery", extra={"fault": str(fault), "left": len(changed) - done})
                break
            done += len(some)
        return done, told

    def publish_hour(self, hour: ArrivalHour, now: datetime, seconds: float, after: str = "") -> Published:
        """Put the events of all outcomes of an hour again, as far as `seconds` allow, by image_id.

        Args:
            hour: which.
            now: the time.
            seconds: until no others are begun.
            after: only images behind this one.

        Raises:
            Fault: a service did not answer, or denied access; ask again.
        """
        deadline, published = time.monotonic() + seconds, 0
        wanted = sorted(
            image_id for image_id, _ in self.images_table.outcomes(hour, self.retention_days) if image_id > after
        )
        for some in batched(wanted, BATCH_ITEMS, strict=False):
            if time.monotonic() > deadline:
                return Published(hour.path, published, after)
            items = [item for item in self.images_table.read(some) if item["expires_at"] > now.timestamp()]
            told = list(_events_of(items))
            self.event_bus.put(told)
            published += len(told)
            after = some[-1]
        return Published(hour.path, published, None)

    def _publish(self, changed: Sequence[dict[str, Any]]) -> list[Told]:
        news = [item for item in changed if is_new_outcome(item)]
        told = [Told(event, is_first_attempt(item)) for item in news for event in _events_of([item])]
        self.event_bus.put([one.event for one in told])
        return told


def _events_of(items: Sequence[dict[str, Any]]) -> Iterator[ImageEvent]:
    """The events of outcomes. Nobody is told of an item that nobody can read: `write_catalog` reports that.

    An image may have been erased since its hour was listed; that is an event of its own.
    """
    for item in items:
        if item.get("status") == "erased":
            continue
        try:
            yield events.of_outcome(item)
        except (KeyError, ValidationError):
            # Without the error, which has values of the item in it.
            logger.error("unreadable item", extra={"image_id": item.get("image_id")})
