"""The dead-letter queue of a stack: the place that reads its messages, and deletes those that are done with."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import batched
from typing import TYPE_CHECKING, Final, Literal

from imagelake_cli.letters import Letter

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

HIDDEN_SECONDS: Final = 120
"""How long a message that was read is hidden, so that reading goes on to others, unless it is shown again before."""
IDLE_READS: Final = 20
"""Reading ends after so many answers with nothing new: in a long queue the first messages are seen again by then."""
WAIT_SECONDS: Final = 1
"""Whoever waits is answered for all servers of the queue, and not for some."""

type Act = Callable[[Sequence[Letter]], Iterable[str]]
"""Is shown some messages, and gives the message_ids of those that can be deleted."""


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
        read: list[Letter] = []

        def keep(letters: Sequence[Letter]) -> Iterable[str]:
            read.extend(letters)
            return ()

        self._visit(keep, lambda: False)
        return sorted(read, key=lambda letter: (letter.sent_at, letter.message_id))

    def treat(self, meant: Iterable[str], act: Act) -> set[str]:
        """Show messages to `act` once, ten at most at a time, and delete what it says right after.

        So a message is deleted by the receipt of a moment ago. Whatever happens, the others are shown again to all.

        Args:
            meant: their message_ids. What comes in meanwhile is none of them, so an image that fails again at once is
                not started for ever.
            act: what is done.

        Returns:
            The message_ids of those that were not met, since somebody else has read them, or not deleted.

        Raises:
            ClientError, BotoCoreError: AWS refused, or could not be asked.
        """
        left = set(meant)

        def of_those(letters: Sequence[Letter]) -> Iterable[str]:
            known = [letter for letter in letters if letter.message_id in left]
            left.difference_update(letter.message_id for letter in known)
            return act(known) if known else ()

        return self._visit(of_those, lambda: not left) | left

    def _visit(self, act: Act, is_over: Callable[[], bool]) -> set[str]:
        """Show every message to `act` until that is over; the message_ids of those that SQS did not delete."""
        receipts: dict[str, str] = {}
        done: set[str] = set()
        undeleted: set[str] = set()
        idle = 0
        try:
            while idle < IDLE_READS and not is_over() and (received := self._receive()):
                new = [_letter(message) for message in received if message["MessageId"] not in receipts.keys() | done]
                receipts |= {message["MessageId"]: message["ReceiptHandle"] for message in received}
                idle = 0 if new else idle + 1
                if new:
                    done |= set(act(new))
                # SQS may bring a message once more that it has deleted.
                gone = {name: receipts.pop(name) for name in done & receipts.keys()}
                undeleted = (undeleted - gone.keys()) | self._delete(gone)
        finally:
            self._show_again(receipts)
        return undeleted

    def hidden(self) -> int:
        """About how many messages somebody else has read, so that they are not seen for some minutes.

        Raises:
            ClientError, BotoCoreError: AWS refused, or could not be asked.
        """
        return self._about("ApproximateNumberOfMessagesNotVisible")

    def waiting(self) -> int:
        """About how many messages there are to read.

        Raises:
            ClientError, BotoCoreError: AWS refused, or could not be asked.
        """
        return self._about("ApproximateNumberOfMessages")

    def _about(self, number: Literal["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]) -> int:
        answer = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=[number])
        return int(answer["Attributes"][number])

    def _receive(self) -> "Sequence[MessageTypeDef]":
        return self.client.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=HIDDEN_SECONDS,
            WaitTimeSeconds=WAIT_SECONDS,
            MessageSystemAttributeNames=["SentTimestamp"],
        ).get("Messages", [])

    def _delete(self, receipts: Mapping[str, str]) -> set[str]:
        """The message_ids of those that were not deleted."""
        failed: set[str] = set()
        for some in batched(receipts.items(), 10, strict=False):
            entries = [{"Id": str(number), "ReceiptHandle": receipt} for number, (_, receipt) in enumerate(some)]
            answer = self.client.delete_message_batch(QueueUrl=self.url, Entries=entries)  # type: ignore[arg-type]  # as its type says
            failed |= {some[int(one["Id"])][0] for one in answer.get("Failed", [])}
        return failed

    def _show_again(self, receipts: Mapping[str, str]) -> None:
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
