"""The dead-letter queue: where an operator finds what did not go through, and why."""

import json
from functools import cache
from typing import TYPE_CHECKING

from imagelake.stores.session import calling, client

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


@cache
def _sqs() -> "SQSClient":
    sqs: SQSClient = client("sqs")
    return sqs


def report(queue_url: str, message: dict[str, str]) -> None:
    """Send one message, a JSON object with at least `image_id`, `status` and `reason`; no personal data.

    Raises:
        Fault: SQS did not answer, or denied access.
    """
    with calling("SendMessage"):
        _sqs().send_message(QueueUrl=queue_url, MessageBody=json.dumps(message))
