"""Answers of custom resources to CloudFormation, which waits until it has one."""

import json
import logging
from collections.abc import Mapping
from typing import Any, Final, Literal

from urllib3 import PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError

from imagelake.errors import Fault

REASON_CHARACTERS: Final = 500
"""Of a failure; six bytes each at worst, and CloudFormation takes no answer over 4 KB."""

logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # its warnings have the signed URL

_RETRIES: Final = Retry(total=4, backoff_factor=0.5, status_forcelist=(500, 502, 503, 504), allowed_methods={"PUT"})


def answer(request: Mapping[str, Any], failure: str | None) -> Literal["SUCCESS", "FAILED"]:
    """Tell CloudFormation how its request ended, within half a minute.

    Its physical id is its logical id, always: the resource is never replaced.

    Args:
        request: CloudFormation's event.
        failure: the reason, shown among the events of the stack; None for success.

    Returns:
        The status told.

    Raises:
        Fault: the answer did not arrive.
    """
    status: Literal["SUCCESS", "FAILED"] = "SUCCESS" if failure is None else "FAILED"
    body = {
        "Status": status,
        "Reason": (failure or "")[:REASON_CHARACTERS],
        "PhysicalResourceId": request["LogicalResourceId"],
        **{name: request[name] for name in ("StackId", "RequestId", "LogicalResourceId")},
    }
    try:
        with PoolManager(retries=_RETRIES, timeout=Timeout(total=3)) as http:
            # The URL is signed for an empty content type.
            headers = {"Content-Type": ""}
            response = http.request("PUT", request["ResponseURL"], body=json.dumps(body).encode(), headers=headers)
    except HTTPError as error:
        raise Fault(f"{type(error).__name__} on answering CloudFormation") from None  # its message has the signed URL
    if response.status >= 300:
        raise Fault(f"status {response.status} on answering CloudFormation")
    return status
