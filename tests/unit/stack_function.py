"""A stand-in for a function of a stack, as commands of operators call it."""

import io
import json
from collections.abc import Callable
from typing import Any

type Answer = Callable[[dict[str, Any]], dict[str, Any]]


class StackFunction:
    """Answers requests instead of the function; keeps them in `asked`.

    Args:
        answer: what is said to a request. With `errorMessage` in it, the function has failed.
    """

    NAME = "function"

    def __init__(self, answer: Answer) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer = answer

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803  # boto3's names
        """Answer as boto3 does; whoever is asked about an hour says it again."""
        assert FunctionName == self.NAME
        request = json.loads(Payload)
        self.asked.append(request)
        answer = {name: request[name] for name in ("hour",) if name in request} | self.answer(request)
        failed = {"FunctionError": "Unhandled"} if "errorMessage" in answer else {}
        return {"Payload": io.BytesIO(json.dumps(answer).encode())} | failed
