"""The audit's own way to AWS."""

from functools import cache
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

THREADS: Final = 16
"""Requests under way at once, where several are."""
REFUSALS: Final = (ClientError, BotoCoreError)
"""What a client raises when a service did not answer, or denied access."""


@cache
def client(service: str) -> Any:
    """The process's client of an AWS service; its errors are raised as they are."""
    config = Config(max_pool_connections=THREADS)
    return boto3.client(service, config=config)  # type: ignore[call-overload]  # the stubs know services by literal names only


def code_of(error: Exception) -> str:
    """The code of one of `REFUSALS`, such as `AccessDenied`."""
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else type(error).__name__
