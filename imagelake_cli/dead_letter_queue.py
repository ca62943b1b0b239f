"""The dead-letter queue of a stack: the place that reads its messages, and leaves them where they are."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import batched
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

HIDDEN_SECONDS: Final = 600
"""How long a message that was read is hidden, so that reading goes on to others, unless it is shown again before."""


@dataclass(frozen=True)
class Letter:
    """A message. `message` is its content, an object if it is one; an event that is none of ours has no image_id."""

    message_id: str
    sent_at: datetime
    message: Any

    @property
    def image_id(self) -> str | None:
        """Of the image that it is about."""
        return self._text("image_id")

    @property
    def status(self) -> str | None:
        """What became of the image."""
        return self._text("status")

    @property
    def reason(self) -> str:
        """Why; of an event what it is."""
        return self._text("reason") or self._text("detail-type") or self._text("source") or _shortened(self.message)

    @property
    def code(self) -> str | None:
        """What the reason begins with."""
        reason = self._text("reason")
        return reason.partition(":")[0] if reason else None

    def _text(self, name: str) -> str | None:
        value = self.message.get(name) if isinstance(self.message, dict) else None
        return value if isinstance(value, str) else None


@dataclass(frozen=True)
class DeadLetterQueue:
    """The queue, by its URL."""

    client: "SQSClient"
    url: str

    def letters(self) -> list[Letter]:
        """All messages, oldest first; they stay in the queue.

        Raises:
            ClientError, BotoCoreError: AWS refused, or could not be asked.
        """
        read: dict[str, Letter] = {}
        receipts: dict[str, str] = {}
        try:
            while received := self._receive():
                read |= {message["MessageId"]: _letter(message) for message in received}
                receipts |= {message["MessageId"]: message["ReceiptHandle"] for message in received}
        finally:
            self._show_again(receipts)
        return sorted(read.values(), key=lambda letter: (letter.sent_at, letter.message_id))

    def _receive(self) -> "Sequence[MessageTypeDef]":
        # Whoever waits is answered for all servers of the queue, and not for some.
        return self.client.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=HIDDEN_SECONDS,
            WaitTimeSeconds=1,
            MessageSystemAttributeNames=["SentTimestamp"],
        ).get("Messages", [])

    def _show_again(self, receipts: dict[str, str]) -> None:
        """Let others see the messages at once; one for which that is refused is seen again by itself."""
        for some in batched(enumerate(receipts.values()), 10, strict=False):
            entries = [{"Id": str(number), "ReceiptHandle": one, "VisibilityTimeout": 0} for number, one in some]
            self.client.change_message_visibility_batch(QueueUrl=self.url, Entries=entries)  # type: ignore[arg-type]  # as its type says


def _letter(message: "MessageTypeDef") -> Letter:
    sent_at = datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, UTC)
    try:
        content = json.loads(message["Body"])
    except ValueError:
        content = message["Body"]
    return Letter(message["MessageId"], sent_at, content)


def _shortened(content: Any) -> str:
    """What an event of another service has at its top: its names, and none of its values."""
    return ", ".join(content) if isinstance(content, dict) and content else "an event that says nothing"
