"""Building and deploying `template.yaml`, with SAM and onto the emulator, just as onto AWS."""

import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local.emulator import ROOT, Emulator

STACK_NAME: Final = "image-lake"
_ARTIFACTS_BUCKET: Final = "image-lake-artifacts"


class DeploymentError(Exception):
    """A step of SAM failed; the message is its own output."""


@dataclass(frozen=True)
class Stack:
    """A deployed stack: its name and its outputs."""

    name: str
    outputs: Mapping[str, str]


def host_architecture() -> str:
    """The processor of this machine, as Lambda names it."""
    return "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"


def build(emulator: Emulator, pipelines: str | None = None) -> Path:
    """Build functions and layers; what has not changed since the last build comes from the cache.

    Args:
        emulator: it will be deployed to.
        pipelines: what functions are to read instead of `pipelines.json`.

    Returns:
        The built template.

    Raises:
        DeploymentError: SAM could not build.
    """
    folder = emulator.folder / "build"
    _sam(
        emulator,
        "build", "--template", str(ROOT / "template.yaml"), "--build-dir", str(folder),
        "--cached", "--cache-dir", str(ROOT / ".aws-sam" / "cache"), "--parallel",
        "--parameter-overrides", f"Architecture={host_architecture()}",
    )  # fmt: skip
    if pipelines is not None:
        for file in folder.glob("**/imagelake/pipelines.json"):
            file.unlink()  # never through a link into the cache
            file.write_text(pipelines, encoding="utf-8")
    return folder / "template.yaml"


def deploy(emulator: Emulator, template: Path, parameters: Mapping[str, str], stack_name: str = STACK_NAME) -> Stack:
    """Deploy a built template, or update the stack that is there.

    Raises:
        DeploymentError: CloudFormation refused or rolled back.
    """
    s3 = emulator.client("s3")
    if _ARTIFACTS_BUCKET not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=_ARTIFACTS_BUCKET)
    of_laptops = {"Architecture": host_architecture(), "CatalogWindowSeconds": "1", "LakeFormation": "true"}
    overrides = {**of_laptops, **parameters}
    _sam(
        emulator,
        "deploy", "--template-file", str(template), "--stack-name", stack_name, "--s3-bucket", _ARTIFACTS_BUCKET,
        "--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND", "--no-confirm-changeset",
        "--no-fail-on-empty-changeset", "--no-progressbar",
        "--parameter-overrides", *(f"{name}={value}" for name, value in overrides.items()),
    )  # fmt: skip
    return describe(emulator, stack_name)


def describe(emulator: Emulator, stack_name: str) -> Stack:
    """A stack that is there."""
    (stack,) = emulator.client("cloudformation").describe_stacks(StackName=stack_name)["Stacks"]
    return Stack(stack_name, {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]})


def physical_id(emulator: Emulator, stack_name: str, logical_id: str) -> str:
    """What a resource of a stack, or of a stack nested in it, is called.

    Raises:
        KeyError: there is none of this logical id.
    """
    waiting = [stack_name]
    while waiting:
        answer = emulator.client("cloudformation").describe_stack_resources(StackName=waiting.pop())
        for resource in answer["StackResources"]:
            if resource["LogicalResourceId"] == logical_id:
                return str(resource["PhysicalResourceId"])
            if resource["ResourceType"] == "AWS::CloudFormation::Stack":
                waiting.append(resource["PhysicalResourceId"])
    raise KeyError(logical_id)


def _sam(emulator: Emulator, *arguments: str) -> None:
    sam = Path(sys.executable).with_name("sam")
    environment = emulator.environment | {
        "PATH": f"{sam.parent}:{emulator.environment['PATH']}",  # SAM builds with the python3.13 it finds there
        "TMPDIR": str(emulator.folder / "tmp"),  # it leaves empty folders behind
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_CHECK_VERSION": "0",
        "SAM_CLI_POLL_DELAY": "0.2",
    }
    result = subprocess.run(  # fixed program and arguments, no shell
        [sam, *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise DeploymentError(f"sam {arguments[0]} failed:\n{result.stdout}{result.stderr}")
