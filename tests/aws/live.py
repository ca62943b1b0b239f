"""A deployed stack, as the checks see it."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config

type Probe = Callable[..., Any]
"""Asks the probe, a function in the engine's place, for one of the answers of probe.py."""


@dataclass(frozen=True)
class Live:
    """A stack, and a session of somebody who may look into it."""

    session: boto3.Session
    stack: str

    def client(self, service: str, config: Config | None = None) -> Any:
        """A boto3 client in the stack's region."""
        return self.session.client(service, config=config)  # type: ignore[call-overload]  # literal names only

    @property
    def region(self) -> str:
        """Where the stack is."""
        return str(self.session.region_name)

    @property
    def is_emulated(self) -> bool:
        """Whether this is a local lake: these checks are tried on one, as far as that goes."""
        return "AWS_ENDPOINT_URL" in os.environ

    @cached_property
    def outputs(self) -> dict[str, str]:
        """The outputs of the stack."""
        (stack,) = self.client("cloudformation").describe_stacks(StackName=self.stack)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    @cached_property
    def physical_ids(self) -> dict[str, str]:
        """What every resource of the stack and of its nested stacks is called, by logical id."""
        found: dict[str, str] = {}
        waiting = [self.stack]
        while waiting:
            answer = self.client("cloudformation").describe_stack_resources(StackName=waiting.pop())
            for resource in answer["StackResources"]:
                found[resource["LogicalResourceId"]] = resource["PhysicalResourceId"]
                if resource["ResourceType"] == "AWS::CloudFormation::Stack":
                    waiting.append(resource["PhysicalResourceId"])
        return found

    @cached_property
    def api_url(self) -> str:
        """Base of the HTTP API; an emulator serves it under a path of its own."""
        url = self.outputs["ApiUrl"]
        if not self.is_emulated:
            return url
        return f"{os.environ['AWS_ENDPOINT_URL']}/_aws/execute-api/{url.removeprefix('https://').split('.')[0]}/v1"

    @cached_property
    def engine(self) -> dict[str, Any]:
        """The configuration of `process_image`."""
        name = self.physical_ids["ProcessImageFunction"]
        configuration: dict[str, Any] = self.client("lambda").get_function_configuration(FunctionName=name)
        return configuration

    def presigned(self, bucket: str, key: str) -> str:
        """A request for an object of the bucket in the output `bucket`, signed by the caller and not by the lake."""
        config = Config(signature_version="s3v4", s3={"addressing_style": "path"})
        where = {"Bucket": self.outputs[bucket], "Key": key}
        url: str = self.client("s3", config).generate_presigned_url("get_object", Params=where, ExpiresIn=300)
        return url

    @property
    def is_in_network(self) -> bool:
        """Whether the engine is in a network, of the stack's or of its operator's."""
        return bool(self.engine.get("VpcConfig", {}).get("SubnetIds"))


def eventually[T](look: Callable[[], T], is_it: Callable[[T], bool], seconds: float) -> T:
    """What `look` sees once it is as it should be, or at the end of the time."""
    deadline = time.monotonic() + seconds
    while not is_it(seen := look()) and time.monotonic() < deadline:
        time.sleep(2)
    return seen
