"""The dead-letter queue: where an operator finds what did not go through, and why."""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from imagelake.model import DeadLetter
from imagelake.stores.session import calling, client

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


@cache
def _sqs() -> "SQSClient":
    sqs: SQSClient = client("sqs")
    return sqs


@dataclass(frozen=True)
class DeadLetterQueue:
    """The queue, by its URL."""

    url: str

    def report(self, letter: DeadLetter) -> None:
        """Send one message.

        Raises:
            Fault: SQS did not answer, or denied access.
        """
        with calling("SendMessage"):
            _sqs().send_message(QueueUrl=self.url, MessageBody=letter.model_dump_json(exclude_none=True))
