"""The session that clients of AWS services are made of, and how they are made."""

from functools import cache
from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.loaders import Loader

SERVICES: Final = ["dynamodb", "glue", "s3", "sqs", "stepfunctions"]


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
