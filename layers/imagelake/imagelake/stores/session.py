"""The session that clients of AWS services are made of, and what becomes of their errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import Loader

from imagelake.errors import Fault

SERVICES: Final = [
    *("dynamodb", "events", "glue", "lambda", "redshift-data", "redshift-serverless", "s3", "sqs", "stepfunctions"),
]


class _Loader(Loader):
    """Knows the services we call; the original looks through the folders of all, at every cold start."""

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002  # the signature is botocore's
        return SERVICES


@cache
def session() -> botocore.session.Session:
    """The process's session."""
    made = botocore.session.get_session()
    made.register_component("data_loader", _Loader())
    return made


def client(service: str, config: Config | None = None) -> Any:
    """A new client of one of `SERVICES`, as boto3 makes it but for what boto3 adds: that, too, costs a cold start."""
    return session().create_client(service, config=config)


@contextmanager
def calling(operation: str, *, explains: bool = False) -> Iterator[None]:
    """Convert whatever botocore raises inside into a `Fault` that names its code and `operation`.

    Args:
        operation: of AWS's API, e.g. `GetObject`.
        explains: whether to add AWS's own sentence; never where a request has data of an image or a person.

    Raises:
        Fault: e.g. `AccessDenied on GetObject`, with the code `AccessDenied`.
    """
    try:
        yield
    except ClientError as error:
        code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
        raise Fault(f"{code} on {operation}" + (f": {message}" if explains else ""), code) from error
    except BotoCoreError as error:
        code = type(error).__name__
        raise Fault(f"{code} on {operation}", code) from error
