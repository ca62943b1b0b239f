"""Functions of the stack that another one starts, without waiting for what comes of it."""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from imagelake.stores.session import calling, client

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient


STARTERS: Final = 16
"""Calls at once, so that the largest batch of a stream takes seconds."""


@cache
def _lambda() -> "LambdaClient":
    functions: LambdaClient = client("lambda")
    return functions


@dataclass(frozen=True)
class Function:
    """A function, by its name."""

    name: str

    def start(self, event: dict[str, Any]) -> None:
        """Have Lambda invoke it: at least once, and twice more where it fails.

        Raises:
            Fault: Lambda did not answer, or denied access.
        """
        with calling("Invoke"):
            _lambda().invoke(FunctionName=self.name, InvocationType="Event", Payload=json.dumps(event).encode())

    def start_all(self, events: Iterable[dict[str, Any]]) -> None:
        """Start it for each event, as `start` does.

        Raises:
            Fault: Lambda did not answer, or denied access; it may have been started for some.
        """
        with ThreadPoolExecutor(STARTERS) as pool:
            list(pool.map(self.start, events))
