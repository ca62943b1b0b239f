"""The event bus of the stack: where it tells others what became of images."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import batched
from typing import TYPE_CHECKING, Final

from imagelake.errors import Fault
from imagelake.events import SOURCE, Event
from imagelake.stores.session import calling, client

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

ENTRIES: Final = 10
"""The most that EventBridge takes in a call. It also takes no more than 1 MB, which ten of our events are far from."""
TRIES: Final = 4
PAUSE: Final = 0.2
"""Seconds before the first of the other tries, at most; twice as long each time."""


@cache
def _events() -> "EventBridgeClient":
    events: EventBridgeClient = client("events")
    return events


@dataclass(frozen=True)
class EventBus:
    """The bus, by its name."""

    name: str

    def put(self, events: Sequence[Event]) -> None:
        """Put events, at least once each. EventBridge may take some of a call only: the others are tried again.

        Raises:
            Fault: EventBridge did not take all of them, did not answer, or denied access.
        """
        for some in batched(events, ENTRIES, strict=False):
            self._put([self._entry(event) for event in some])

    def _put(self, waiting: "list[PutEventsRequestEntryTypeDef]") -> None:
        code = ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(random.uniform(0, PAUSE * 2**attempt))  # noqa: S311  # no secret
            with calling("PutEvents"):
                answers = _events().put_events(Entries=waiting)["Entries"]
            refused = [(entry, answer) for entry, answer in zip(waiting, answers, strict=True) if "ErrorCode" in answer]
            if not refused:
                return
            waiting, code = [entry for entry, _ in refused], refused[0][1]["ErrorCode"]
        raise Fault(f"{code} on PutEvents", code)

    def _entry(self, event: Event) -> "PutEventsRequestEntryTypeDef":
        return {
            "EventBusName": self.name,
            "Source": SOURCE,
            "DetailType": event.detail_type(),
            "Detail": event.model_dump_json(exclude_none=True),
        }
