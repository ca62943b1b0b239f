"""What a message in the dead-letter queue is about, and what can be done about it."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from imagelake.errors import InvalidKeyError
from imagelake.keys import ImageVersion, RawKey


class Remedy(StrEnum):
    """What brings about what a message says has not happened.

    `ARRIVAL`: the image is started, by the key of its object. `IMAGE`: it is started again, by its image_id; that helps
    only where it has an outcome. The others no redrive can help; `ADVICE` says what can.
    """

    IMAGE = "image"
    ARRIVAL = "arrival"
    RECORD = "record"
    KEPT_RECORDS = "kept_records"
    CATALOG = "catalog"
    ERASURE = "erasure"
    EVENTS = "events"
    REPEATED = "repeated"
    REJECTION = "rejection"
    NEXT_RUN = "next_run"
    REPORT = "report"
    MISPLACED = "misplaced"
    UNKNOWN = "unknown"


ADVICE: Final = {
    Remedy.RECORD: "correct the cause, and send the Kafka record that is at kept_at again (docs/kafka.md)",
    Remedy.KEPT_RECORDS: "correct the cause, and send the Kafka records of that object again (docs/kafka.md)",
    Remedy.CATALOG: "correct the cause, and run imagelake catalog rebuild --all",
    Remedy.ERASURE: "correct the cause, and erase the images again; imagelake retention report names them",
    Remedy.EVENTS: "correct the cause, and run imagelake events publish for the hours up to a day before it",
    Remedy.REPEATED: "correct the cause, which the log of erase_image says; reconcile has it repeated by the hour",
    Remedy.REJECTION: "correct the cause; the image is rejected, and the API and SQL say so",
    Remedy.NEXT_RUN: "correct the cause, which the function's log says; the next run does what this one did not",
    Remedy.REPORT: "a fault of Image Lake: report it with the fields that the reason names",
    Remedy.MISPLACED: "its object is at a key that no image has: send the file through a door of the lake",
    Remedy.UNKNOWN: "no message that Image Lake knows: imagelake dead-letters show prints all of it",
}  # fmt: skip
"""What to do about those that no redrive helps."""
_OF_EVENTS: Final = {
    Remedy.ARRIVAL: "object_created",
    Remedy.KEPT_RECORDS: "object_created",
    Remedy.MISPLACED: "object_created",
    Remedy.CATALOG: "stream_batch",
    Remedy.ERASURE: "stream_batch",
    Remedy.EVENTS: "stream_batch",
    Remedy.REPEATED: "erasure",
    Remedy.REJECTION: "image_rejected",
    Remedy.NEXT_RUN: "schedule",
}
"""Codes of what is no message of Image Lake's own."""


@dataclass(frozen=True)
class Letter:
    """A message. `message` is its content, an object if it is one."""

    message_id: str
    sent_at: datetime
    message: Any

    @property
    def image_id(self) -> str | None:
        """Of the image that it is about; an event of an object names it in the object's key."""
        return self._text("image_id") or (self._raw.image_id if self._raw else None)

    @property
    def status(self) -> str | None:
        """What became of the image."""
        return self._text("status")

    @property
    def reason(self) -> str:
        """Why; of an event what it is."""
        return self._text("reason") or self._text("detail-type") or self._text("source") or _shortened(self.message)

    @property
    def code(self) -> str:
        """What the reason begins with; of an event, what kind it is of."""
        reason = self._text("reason")
        return reason.partition(":")[0] if reason else _OF_EVENTS.get(self.remedy, "unknown")

    @property
    def raw_key(self) -> str | None:
        """Of the object that it is about; None where it names none, or none that an image can have."""
        return str(self._raw) if self._raw else None

    @property
    def remedy(self) -> Remedy:
        """What can be done about it."""
        match self.message:
            case {"reason": str(reason), **rest}:
                if reason.startswith("unreadable_item:"):
                    return Remedy.REPORT
                if rest.get("kept_at"):
                    return Remedy.RECORD
                if self._key:
                    return Remedy.ARRIVAL if self._raw else Remedy.MISPLACED
                return Remedy.IMAGE if self.image_id else Remedy.UNKNOWN
            case {"detail-type": "Object Created"}:
                if self._raw:
                    return Remedy.ARRIVAL
                return Remedy.MISPLACED if self._key.startswith(("raw/", "derived/")) else Remedy.KEPT_RECORDS
            case {"DDBStreamBatchInfo": _, **rest}:
                function = str(rest.get("requestContext"))
                owners = {"EraseImage": Remedy.ERASURE, "PublishOutcomes": Remedy.EVENTS}
                return next((one for name, one in owners.items() if name in function), Remedy.CATALOG)
            case {"image_id": str(), **rest} if not rest:
                return Remedy.REPEATED
            case {"detail-type": "ImageRejected"}:
                return Remedy.REJECTION
            case {"source": "aws.scheduler"}:
                return Remedy.NEXT_RUN
            case {} if not self.message:
                return Remedy.NEXT_RUN
        return Remedy.UNKNOWN

    def _text(self, name: str) -> str | None:
        value = self.message.get(name) if isinstance(self.message, dict) else None
        return value if isinstance(value, str) else None

    @property
    def _key(self) -> str:
        match self.message:
            case {"detail-type": "Object Created", "detail": {"object": {"key": str(key)}}}:
                return key
            case {"reason": str(), "key": str(key)}:
                return key
        return ""

    @property
    def _raw(self) -> RawKey | None:
        with suppress(InvalidKeyError):
            return RawKey.parse(self._key)
        with suppress(InvalidKeyError):
            return ImageVersion.parse_result(self._key)[0]
        return None


def _shortened(content: Any) -> str:
    """What an event of another service has at its top: its names, and none of its values."""
    return ", ".join(content) if isinstance(content, dict) and content else "an event that says nothing"
