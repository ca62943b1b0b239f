"""A script with a bug rejects images; it is repaired, and `imagelake redrive` brings them through."""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from imagelake_cli import connection
from imagelake_cli.dead_letter_queue import DeadLetterQueue
from imagelake_cli.main import app
from imagelake_cli.redriving import ImageRedriving
from local import deployment
from local.api_client import ApiClient
from local.lake import Lake
from local.samples import Sample
from tests.e2e.conftest import Await, Upload, eventually, invoke, without

BUG = b'''"""What is known of an image."""


def process(image, params):
    raise ValueError("a bug")
'''


def _layer(built: Path) -> bytes:
    """The layer of provided scripts as it was built, with a bug in one of them and without bytecode."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for file in built.rglob("*"):
            if file.is_file() and file.suffix != ".pyc":
                is_broken = file.name == "describe.py"
                archive.writestr(str(file.relative_to(built)), BUG if is_broken else file.read_bytes())
    return content.getvalue()


@contextmanager
def broken_script(lake: Lake) -> Iterator[None]:
    """Meanwhile images go through a version of `process_image` with a bug in a script, as after a release of one."""
    functions = lake.client("lambda")
    name = deployment.physical_id(lake.emulator, lake.stack.name, "ProcessImageFunction")
    layers = [one["Arn"] for one in functions.get_function_configuration(FunctionName=name)["Layers"]]
    broken = functions.publish_layer_version(
        LayerName="broken-scripts", Content={"ZipFile": _layer(lake.emulator.folder / "build/ScriptsLayer")}
    )["LayerVersionArn"]
    functions.update_function_configuration(
        FunctionName=name, Layers=[broken if "Scripts" in layer else layer for layer in layers]
    )
    version = functions.publish_version(FunctionName=name)["FunctionArn"]
    functions.update_function_configuration(FunctionName=name, Layers=layers)
    steps, machine = lake.client("stepfunctions"), lake.stack.outputs["IngestImageStateMachineArn"]
    before = steps.describe_state_machine_alias(stateMachineAliasArn=f"{machine}:live")["routingConfiguration"]
    definition = steps.describe_state_machine(stateMachineArn=machine)["definition"]
    with_bug = re.sub(rf"{re.escape(version.rpartition(':')[0])}:\d+", version, definition)
    steps.update_state_machine(stateMachineArn=machine, definition=with_bug)
    released = steps.publish_state_machine_version(stateMachineArn=machine)["stateMachineVersionArn"]
    routing = [{"stateMachineVersionArn": released, "weight": 100}]
    steps.update_state_machine_alias(stateMachineAliasArn=f"{machine}:live", routingConfiguration=routing)
    try:
        yield
    finally:
        steps.update_state_machine_alias(stateMachineAliasArn=f"{machine}:live", routingConfiguration=before)
        steps.update_state_machine(stateMachineArn=machine, definition=definition)


def redrive(lake: Lake, monkeypatch: Any, *arguments: str) -> list[dict[str, Any]]:
    name = lake.stack.outputs["RedriveImagesFunctionName"]
    monkeypatch.setattr(connection, "image_redriving", lambda *_: ImageRedriving(lake.client("lambda"), name))
    result = CliRunner().invoke(app, ["redrive", *arguments, "--json"])
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def dead_letters(lake: Lake, monkeypatch: Any, code: str) -> list[dict[str, Any]]:
    queue = DeadLetterQueue(lake.client("sqs"), lake.stack.outputs["DeadLetterQueueUrl"])
    monkeypatch.setattr(connection, "dead_letter_queue", lambda *_: queue)
    result = CliRunner().invoke(app, ["dead-letters", "list", "--code", code, "--json"])
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_images_that_a_bug_rejected_are_cataloged_after_it_is_repaired(
    lake: Lake, samples: dict[str, Sample], upload: Upload, await_end: Await, monkeypatch: Any
) -> None:
    with broken_script(lake):
        image_id = upload(samples["fog.jpg"])
        ended = await_end(image_id)
    assert (ended["status"], ended["reason"].partition(":")[0]) == ("rejected", "script_error")
    hour = ended["received_at"][:13]
    assert dead_letters(lake, monkeypatch, "script_error") == []

    assert redrive(lake, monkeypatch, "--hour", hour, "--code", "script_error", "--dry-run") == [
        {"image_id": image_id, "result": "redrivable", "status": "rejected", "code": "script_error"}
    ]
    assert await_end(image_id)["status"] == "rejected"
    assert [one["result"] for one in redrive(lake, monkeypatch, "--hour", hour, "--code", "script_error")] == [
        "redriven"
    ]

    image = eventually(lambda: await_end(image_id), lambda image: image["status"] == "processed")
    assert image["metadata"]["content_type"] == "image/jpeg"
    assert "redriven_at" not in image["metadata"]
    assert redrive(lake, monkeypatch, "--hour", hour, "--code", "script_error") == []
    question = f"SELECT status FROM %s WHERE image_id = '{image_id}' ORDER BY processed_at"  # noqa: S608  # an id of ours
    rows = eventually(lambda: lake.analysts.ask(question % "images").rows, lambda rows: len(rows) == 2)
    assert rows == [["rejected"], ["processed"]]
    assert lake.analysts.ask(question % "current_images").rows == [["processed"]]
    assert invoke(lake, "ReconcileFunction", {})["reported"] == 0


def test_a_redrive_that_fails_is_reported_once_more_and_changes_nothing(
    lake: Lake, samples: dict[str, Sample], upload: Upload, await_end: Await, monkeypatch: Any
) -> None:
    def letters() -> list[dict[str, Any]]:
        return [one for one in dead_letters(lake, monkeypatch, "fault") if one["image_id"] == image_id]

    with without(lake, "OpenImageRole", "dynamodb:GetItem"):
        image_id = upload(samples["icon.bmp"])
        failed = await_end(image_id)
        eventually(letters, lambda found: len(found) == 1)
        redrive(lake, monkeypatch, image_id)
        eventually(letters, lambda found: len(found) == 2)
        assert await_end(image_id) == failed

    name = lake.stack.outputs["RedriveImagesFunctionName"]
    monkeypatch.setattr(connection, "image_redriving", lambda *_: ImageRedriving(lake.client("lambda"), name))
    assert CliRunner().invoke(app, ["dead-letters", "redrive", image_id]).exit_code == 0
    assert (await_end(image_id), len(letters())) == (failed, 2), "without --yes it is a dry run"

    result = CliRunner().invoke(app, ["dead-letters", "redrive", image_id, "--yes"])

    assert result.exit_code == 0, result.stderr
    assert eventually(lambda: await_end(image_id), lambda image: image["status"] == "processed")
    assert letters() == []


def test_an_event_of_an_object_that_was_given_up_is_redriven(
    lake: Lake, samples: dict[str, Sample], client: ApiClient, monkeypatch: Any
) -> None:
    (grant,) = client.request_uploads([samples["icon.bmp"]])
    image_id, key = grant["image_id"], grant["upload"]["fields"]["key"]
    event = {"detail-type": "Object Created", "source": "aws.s3", "detail": {"object": {"key": key}}}
    lake.client("sqs").send_message(QueueUrl=lake.stack.outputs["DeadLetterQueueUrl"], MessageBody=json.dumps(event))
    letter = next(one for one in dead_letters(lake, monkeypatch, "object_created") if one["image_id"] == image_id)
    name = lake.stack.outputs["RedriveImagesFunctionName"]
    monkeypatch.setattr(connection, "image_redriving", lambda *_: ImageRedriving(lake.client("lambda"), name))
    said = CliRunner().invoke(app, ["dead-letters", "redrive", letter["message_id"], "--yes"])
    assert (said.exit_code, "its raw object is gone" in said.stdout) == (3, True), "nothing was sent by the form yet"

    # Stored where nobody says so, it is what EventBridge gave up.
    lake.client("s3").put_object(
        Bucket=lake.stack.outputs["RawBucketName"], Key=key, Body=samples["icon.bmp"].content, ContentType="image/bmp"
    )
    said = CliRunner().invoke(app, ["dead-letters", "redrive", letter["message_id"], "--yes"])

    assert said.exit_code == 0, said.stderr
    eventually(lambda: lake.records([image_id]), lambda items: items[image_id]["status"] == "processed")
    assert not [one for one in dead_letters(lake, monkeypatch, "object_created") if one["image_id"] == image_id]
