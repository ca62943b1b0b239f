"""A stack and its nested stacks: what they consist of."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient


@dataclass(frozen=True)
class Resource:
    """A resource of a stack or a nested stack."""

    logical_id: str
    physical_id: str
    type: str


@dataclass(frozen=True)
class Stack:
    """A stack by its name, in the region of a session, or in the local lake at `endpoint_url`."""

    session: boto3.Session
    name: str
    endpoint_url: str | None

    def client(self, service: str, **options: Any) -> Any:
        """A client of the stack's account and region."""
        return self.session.client(service, endpoint_url=self.endpoint_url, **options)  # type: ignore[call-overload]  # the stubs know literals only

    def resources(self) -> list[Resource]:
        """All resources that are there, those of nested stacks included.

        Raises:
            ClientError, BotoCoreError: AWS refused, or could not be asked.
        """
        return list(self._of(self.client("cloudformation"), self.name))

    def _of(self, formation: "CloudFormationClient", name: str) -> Iterator[Resource]:
        for page in formation.get_paginator("list_stack_resources").paginate(StackName=name):
            for one in page["StackResourceSummaries"]:
                if not (physical_id := one.get("PhysicalResourceId")):
                    continue
                yield Resource(one["LogicalResourceId"], physical_id, one["ResourceType"])
                if one["ResourceType"] == "AWS::CloudFormation::Stack":
                    yield from self._of(formation, physical_id)
