"""The workflow that takes an image from its object to its outcome."""

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from imagelake.stores.buckets import Version
from imagelake.stores.session import calling, client
from imagelake.values import to_iso

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient


@cache
def _step_functions() -> "SFNClient":
    states: SFNClient = client("stepfunctions")
    return states


@dataclass(frozen=True)
class IngestWorkflow:
    """The state machine, by its ARN."""

    arn: str

    def start(self, bucket: str, version: Version) -> None:
        """Start it with what EventBridge says of an object that has been created.

        Raises:
            Fault: Step Functions did not answer, or denied access.
        """
        created = {"key": version.key, "version-id": version.version_id}
        event = {"time": to_iso(version.last_modified), "detail": {"bucket": {"name": bucket}, "object": created}}
        with calling("StartExecution"):
            _step_functions().start_execution(stateMachineArn=self.arn, input=json.dumps(event))
