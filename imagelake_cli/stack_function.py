"""A function of a stack, as commands of operators call it."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient


def call(client: "LambdaClient", function: str, request: Mapping[str, Any], failure: Callable[[str], Exception]) -> Any:
    """Call a function, and wait for its answer.

    Args:
        client: of the stack's account and region.
        function: its name.
        request: what it is asked.
        failure: makes an exception of the reason that the function gives when it fails.

    Raises:
        ClientError, BotoCoreError: AWS refused, or could not be asked.
    """
    response = client.invoke(FunctionName=function, Payload=json.dumps(request).encode())
    answer = json.loads(response["Payload"].read())
    if "FunctionError" in response:
        raise failure(answer.get("errorMessage", "no reason given") if isinstance(answer, dict) else "no reason given")
    return answer
