"""Functions of the stack that another one starts, without waiting for what comes of it."""

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from imagelake.stores.session import calling, client

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient


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
