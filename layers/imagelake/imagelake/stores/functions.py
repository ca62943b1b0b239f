"""Functions of the stack that another one starts or calls."""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from botocore.config import Config

from imagelake.errors import Fault
from imagelake.stores.session import calling, client

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient


STARTERS: Final = 16
"""Calls at once, so that the largest batch of a stream takes seconds."""


WAIT_SECONDS: Final = 60
"""For the answer of a function."""


@cache
def _lambda() -> "LambdaClient":
    functions: LambdaClient = client("lambda")
    return functions


@cache
def _waiting() -> "LambdaClient":
    """Tries once: its caller tries again."""
    functions: LambdaClient = client("lambda", Config(read_timeout=WAIT_SECONDS, retries={"total_max_attempts": 1}))
    return functions


class FunctionFault(Fault):
    """A function ended with an error; has its type and message."""


@dataclass(frozen=True)
class Function:
    """A function, by its name or the ARN of a version."""

    name: str

    def start(self, event: dict[str, Any]) -> None:
        """Have Lambda invoke it: at least once, and twice more where it fails.

        Raises:
            Fault: Lambda did not answer, or denied access.
        """
        with calling("Invoke"):
            _lambda().invoke(FunctionName=self.name, InvocationType="Event", Payload=json.dumps(event).encode())

    def call(self, event: dict[str, Any]) -> Any:
        """What it answers.

        Raises:
            FunctionFault: it ended with an error.
            Fault: Lambda did not answer, had no room, or denied access.
        """
        with calling("Invoke"):
            answer = _waiting().invoke(FunctionName=self.name, Payload=json.dumps(event).encode())
            said = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise FunctionFault(f"{said.get('errorType', answer['FunctionError'])}: {said.get('errorMessage', '')}")
        return said

    def start_all(self, events: Iterable[dict[str, Any]]) -> None:
        """Start it for each event, as `start` does.

        Raises:
            Fault: Lambda did not answer, or denied access; it may have been started for some.
        """
        with ThreadPoolExecutor(STARTERS) as pool:
            list(pool.map(self.start, events))
