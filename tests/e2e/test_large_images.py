"""With the parameter on, the workflow hands a large image to a task, and every one of them ends once.

The emulator takes `RunTask` but has no Fargate: here the tests run what it was asked to run, the task's own program as
a process of its own, told what the task definition and the workflow tell it, and without any credentials, since the
task has no role.
"""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from PIL import Image

from imagelake.keys import ArrivalHour, ImageVersion, RawKey
from local import deployment, emulator
from local.deployment import Stack
from local.emulator import ROOT, Emulator
from tests.e2e.conftest import eventually

PARAMETERS = {
    "LargeImageTag": "tests",
    "LargeImageNetwork": "subnet-0123456789abcdef0,subnet-0123456789abcdef1/sg-0123456789abcdef0",
    # Beside it: a release in steps, with its alarms, and a reserve deploy, too.
    "ReleaseShift": "10-percent-for-10-minutes",
    "ReservedConcurrency": "5",
}


@dataclass(frozen=True)
class LargeLake:
    """A stack that takes large images, on an emulator of its own."""

    emulator: Emulator
    stack: Stack

    def put(self, content: bytes, age: timedelta = timedelta(0)) -> RawKey:
        """Put an image into the raw bucket, as of a while ago."""
        arrived = datetime.now(UTC) - age
        key = RawKey(ArrivalHour.of(arrived), str(uuid.uuid4()))
        s3 = self.emulator.client("s3")
        s3.meta.events.register(
            "before-sign.s3.PutObject",
            lambda request, **_: request.headers.add_header("X-Emulated-Time", f"{arrived:%Y-%m-%dT%H:%M:%S.000Z}"),
        )
        s3.put_object(Bucket=self.stack.outputs["RawBucketName"], Key=str(key), Body=content, ContentType="image/png")
        return key

    def item(self, key: RawKey) -> dict[str, Any] | None:
        """The item of an image, in DynamoDB's JSON."""
        found = self.emulator.client("dynamodb").get_item(
            TableName=self.stack.outputs["ImagesTableName"], Key={"image_id": {"S": key.image_id}}
        )
        item: dict[str, Any] | None = found.get("Item")
        return item

    def status(self, key: RawKey) -> str | None:
        """Of an image as stored."""
        item = self.item(key)
        return item["status"]["S"] if item else None

    def tasks(self, key: RawKey) -> list[dict[str, Any]]:
        """The tasks that were started for an image, whatever became of them."""
        ecs = self.emulator.client("ecs")
        (cluster,) = ecs.list_clusters()["clusterArns"]
        arns = [
            arn
            for status in ("RUNNING", "STOPPED")
            for arn in ecs.list_tasks(cluster=cluster, desiredStatus=status)["taskArns"]
        ]
        tasks = ecs.describe_tasks(cluster=cluster, tasks=arns)["tasks"] if arns else []
        image = f"/{key.image_id}/"
        return [task for task in tasks if image in unquote(task["overrides"]["containerOverrides"][0]["command"][0])]

    def awaited_task(self, key: RawKey) -> dict[str, Any]:
        """The one task that is started for an image."""
        (task,) = eventually(lambda: self.tasks(key), bool)
        return task

    def run(self, task: dict[str, Any]) -> "subprocess.Popen[bytes]":
        """Run the program of a task as Fargate would, but for the container."""
        described = self.emulator.client("ecs").describe_task_definition(taskDefinition=task["taskDefinitionArn"])
        definition = described["taskDefinition"]
        (container,) = definition["containerDefinitions"]
        assert not definition.get("taskRoleArn")
        environment = {variable["name"]: str(variable["value"]) for variable in container["environment"]}
        return subprocess.Popen(
            [
                sys.executable,
                "tasks/process_large_image/app.py",
                *task["overrides"]["containerOverrides"][0]["command"],
            ],
            cwd=ROOT,
            env=environment | {"PATH": os.environ["PATH"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def dead_letters(self, key: RawKey) -> list[dict[str, Any]]:
        """The messages about an image; they stay in the queue."""
        received = self.emulator.client("sqs").receive_message(
            QueueUrl=self.stack.outputs["DeadLetterQueueUrl"], MaxNumberOfMessages=10, VisibilityTimeout=0
        )
        bodies = [json.loads(message["Body"]) for message in received.get("Messages", [])]
        return [body for body in bodies if body.get("image_id") == key.image_id]

    @contextmanager
    def without(self, role: str, action: str) -> Iterator[None]:
        """Take one action away from a role of the stack, and give it back."""
        denied = {"Effect": "Deny", "Action": action, "Resource": "*"}
        iam, taken = self.emulator.client("iam"), {"RoleName": self._physical_id(role), "PolicyName": "taken-away"}
        iam.put_role_policy(**taken, PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [denied]}))
        try:
            yield
        finally:
            iam.delete_role_policy(**taken)

    def executions(self, count: int) -> None:
        """Wait until so many executions of the workflow at least have ended, none of them badly."""
        steps, machine = self.emulator.client("stepfunctions"), self.stack.outputs["IngestImageStateMachineArn"]

        def statuses() -> list[str]:
            return [run["status"] for run in steps.list_executions(stateMachineArn=machine)["executions"]]

        seen = eventually(statuses, lambda found: len(found) >= count and "RUNNING" not in found)
        assert set(seen) == {"SUCCEEDED"}

    def reconcile(self) -> dict[str, int]:
        """Run the function; its answer."""
        function = self._physical_id("ReconcileFunction")
        answer = self.emulator.client("lambda").invoke(FunctionName=function, Payload=b"{}")
        counted: dict[str, int] = json.loads(answer["Payload"].read())
        return counted

    def _physical_id(self, name: str) -> str:
        return deployment.physical_id(self.emulator, self.stack.name, name)


@pytest.fixture(scope="module")
def large_lake() -> Iterator[LargeLake]:
    with TemporaryDirectory(prefix="image-lake-") as folder, emulator.running(Path(folder)) as aws:
        yield LargeLake(aws, deployment.deploy(aws, deployment.build(aws), PARAMETERS))


@pytest.fixture(scope="module")
def picture() -> bytes:
    """60 megapixels, 10 more than a function takes."""
    content = BytesIO()
    Image.linear_gradient("L").resize((10_000, 6_000)).save(content, "PNG", compress_level=1)
    return content.getvalue()


def ended(process: "subprocess.Popen[bytes]") -> tuple[int, str]:
    """Exit code of a task, and the last line it logged."""
    output, _ = process.communicate(timeout=120)
    assert output, "nothing was logged"
    return process.returncode, json.loads(output.splitlines()[-1])["message"]


def test_a_large_image_is_processed_once_however_often_its_task_runs(large_lake: LargeLake, picture: bytes) -> None:
    key = large_lake.put(picture)
    task = large_lake.awaited_task(key)
    assert large_lake.status(key) is None, "the function has left it to the task"

    assert ended(large_lake.run(task)) == (0, "image processed")

    eventually(lambda: large_lake.status(key), bool)
    item = large_lake.item(key)
    assert item is not None
    assert (item["status"]["S"], item["width"]["N"], item["height"]["N"]) == ("processed", "10000", "6000")
    lake_bucket = large_lake.stack.outputs["LakeBucketName"]
    stored = large_lake.emulator.client("s3").list_objects_v2(Bucket=lake_bucket, Prefix=key.derived_prefix)
    version = ImageVersion(key, item["version_id"]["S"])
    assert {entry["Key"] for entry in stored["Contents"]} == {
        derivative["M"]["key"]["S"] for derivative in item["derivatives"]["L"]
    } | {version.order, version.result}

    assert ended(large_lake.run(task)) == (0, "image processed")
    large_lake.executions(3)
    assert large_lake.item(key) == item
    assert large_lake.dead_letters(key) == []


def test_a_large_image_that_is_broken_is_rejected_with_its_reason(large_lake: LargeLake, picture: bytes) -> None:
    key = large_lake.put(picture[: len(picture) // 2])

    assert ended(large_lake.run(large_lake.awaited_task(key))) == (0, "image rejected")

    item = eventually(lambda: large_lake.item(key), bool)
    assert item is not None
    assert (item["status"]["S"], item["reason"]["S"].partition(":")[0]) == ("rejected", "truncated")
    assert large_lake.dead_letters(key) == []


def test_the_image_of_a_task_that_was_killed_gets_another_task(large_lake: LargeLake, picture: bytes) -> None:
    key = large_lake.put(picture, age=timedelta(minutes=20))
    killed = large_lake.awaited_task(key)
    process = large_lake.run(killed)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert large_lake.status(key) is None

    assert large_lake.reconcile()["restarted"] == 1

    tasks = eventually(lambda: large_lake.tasks(key), lambda found: len(found) > 1)
    (second,) = [task for task in tasks if task["taskArn"] != killed["taskArn"]]
    assert ended(large_lake.run(second)) == (0, "image processed")
    eventually(lambda: large_lake.status(key), lambda status: status == "processed")
    assert large_lake.reconcile()["restarted"] == 0


def test_a_task_whose_answer_is_not_taken_leaves_the_image_without_an_outcome(
    large_lake: LargeLake, picture: bytes
) -> None:
    key = large_lake.put(picture)
    task = large_lake.awaited_task(key)

    with large_lake.without("OpenImageRole", "s3:GetObject"):  # what signed the URL of the order
        assert ended(large_lake.run(task)) == (1, "image without an answer")

    assert large_lake.status(key) is None
    assert ended(large_lake.run(task)) == (0, "image processed")


def test_what_starts_a_task_is_the_url_of_its_order_for_half_an_hour(large_lake: LargeLake, picture: bytes) -> None:
    key = large_lake.put(picture)

    task = large_lake.awaited_task(key)

    (override,) = task["overrides"]["containerOverrides"]
    (argument,) = override["command"]
    url = urlsplit(argument)
    assert set(override) == {"name", "command"}
    assert unquote(url.path).startswith(f"/{large_lake.stack.outputs['LakeBucketName']}/{key.derived_prefix}")
    assert unquote(url.path).endswith("/order.json")
    assert parse_qs(url.query)["X-Amz-Expires"] == ["1800"]
    assert task["launchType"] == "FARGATE"
    assert ended(large_lake.run(task))[0] == 0
