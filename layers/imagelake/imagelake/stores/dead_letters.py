"""The dead-letter queue: where an operator finds what did not go through, and why."""

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from imagelake.model import DeadLetter
from imagelake.stores.session import calling, client

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


_UNSENDABLE: Final = re.compile("[\ud800-\udfff\ufffe\uffff]")
"""What JSON does not escape and SQS refuses."""


@cache
def _sqs() -> "SQSClient":
    sqs: SQSClient = client("sqs")
    return sqs


@dataclass(frozen=True)
class DeadLetterQueue:
    """The queue, by its URL."""

    url: str

    def report(self, letter: DeadLetter) -> None:
        """Send one message: JSON, with a question mark for each character that SQS refuses.

        Raises:
            Fault: SQS did not answer, or denied access.
        """
        text = json.dumps(letter.model_dump(mode="json", exclude_none=True), ensure_ascii=False)
        with calling("SendMessage"):
            _sqs().send_message(QueueUrl=self.url, MessageBody=_UNSENDABLE.sub("?", text))
