"""Posts outcomes of images to a webhook, signed as Standard Webhooks asks; docs/events.md says how to verify them.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md.
"""

import base64
import hashlib
import hmac
import json
import os
import ssl
import time
from collections.abc import Mapping, Sequence
from functools import cache
from http.client import HTTPSConnection
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import boto3

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

ANSWER_SECONDS: Final = 5
"""How long the receiver may take."""


class NotTakenError(Exception):
    """The receiver answered with another status than 2xx."""


def handler(event: dict[str, Any], _context: object) -> None:
    """Post the event in a message of the queue; what is raised leaves the message there, to be tried again."""
    [record] = event["Records"]
    body: str = record["body"]
    answer = _secrets().get_secret_value(SecretId=os.environ["SECRET_ARN"])  # each time: a new key counts at once
    _post(os.environ["ENDPOINT"], body.encode(), headers(body, answer["SecretString"].split(), int(time.time())))


def headers(body: str, secrets: Sequence[str], seconds: int) -> dict[str, str]:
    """The headers that say who sends the body and when, with a signature for each secret.

    Args:
        body: an event, whose `detail.id` is the same however often it is sent.
        secrets: in base64, with or without `whsec_`.
        seconds: since 1970.
    """
    name = json.loads(body)["detail"]["id"]
    signed = f"{name}.{seconds}.{body}".encode()
    digests = (hmac.digest(base64.b64decode(one.removeprefix("whsec_")), signed, hashlib.sha256) for one in secrets)
    return {
        "webhook-id": name,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }


def _post(endpoint: str, body: bytes, signature: Mapping[str, str]) -> None:
    address = urlsplit(endpoint)
    # Not urllib.request, which follows a redirect to a host that nobody has allowed.
    connection = HTTPSConnection(address.netloc, timeout=ANSWER_SECONDS, context=ssl.create_default_context())
    try:
        connection.request("POST", address.path or "/", body, {"content-type": "application/json", **signature})
        status = connection.getresponse().status
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise NotTakenError(f"the receiver answered {status}")


@cache
def _secrets() -> "SecretsManagerClient":
    return boto3.client("secretsmanager")
