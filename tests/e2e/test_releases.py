"""Releases that are bad in three ways are deployed, ring their own alarms, and are gone back from.

Simulated is what CloudFormation does: the emulator moves the workflow's alias at once, where AWS shifts a tenth of the
images for some minutes, so images are sent before and after; and the test points the alias back where CloudFormation
would, because an alarm that the alias names rings. Deployments, versions, metrics and alarms are those of the stack.
"""

import io
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imagelake.keys import ArrivalHour, RawKey
from local import deployment, emulator
from local.deployment import Stack
from local.emulator import Emulator
from tests.e2e.conftest import eventually

PARAMETERS = {"ReleaseShift": "10-percent-for-10-minutes"}
BEFORE, AFTER = 8, 3
"""Images through the release of before, and through the bad one."""

SCRIPT = '''"""A script of a bad release."""

import time


def process(image, params):
    {does}
'''
BAD = {
    "NewVersionSlowAlarm": ("ScriptsLayer", "describe.py", SCRIPT.format(does="time.sleep(3); return {}")),
    "NewVersionScriptsAlarm": ("ScriptsLayer", "describe.py", SCRIPT.format(does="raise ValueError('a bug')")),
    "NewVersionFaultsAlarm": ("ProcessImageFunction", "app.py", "import a_module_that_is_missing\n"),
}


@dataclass(frozen=True)
class Released:
    """A stack on an emulator of its own, and the template it was built from."""

    emulator: Emulator
    template: Path
    stack: Stack

    def put(self) -> str:
        """Put an image into the raw bucket; gives its image_id."""
        content = io.BytesIO()
        Image.radial_gradient("L").save(content, "PNG")
        key = RawKey(ArrivalHour.of(datetime.now(UTC)), str(uuid.uuid4()))
        self.emulator.client("s3").put_object(
            Bucket=self.stack.outputs["RawBucketName"], Key=str(key), Body=content.getvalue(), ContentType="image/png"
        )
        return key.image_id

    def status(self, image_id: str) -> str | None:
        found = self.emulator.client("dynamodb").get_item(
            TableName=self.stack.outputs["ImagesTableName"], Key={"image_id": {"S": image_id}}
        )
        item: dict[str, Any] | None = found.get("Item")
        return item["status"]["S"] if item else None

    @property
    def alias(self) -> str:
        return f"{self.stack.outputs['IngestImageStateMachineArn']}:live"

    @property
    def version(self) -> str:
        """The version of the workflow that images go through."""
        steps = self.emulator.client("stepfunctions")
        [only] = steps.describe_state_machine_alias(stateMachineAliasArn=self.alias)["routingConfiguration"]
        return str(only["stateMachineVersionArn"])

    def deploy(self) -> None:
        deployment.deploy(self.emulator, self.template, PARAMETERS)

    def go_back(self, version: str) -> None:
        routing = [{"stateMachineVersionArn": version, "weight": 100}]
        steps = self.emulator.client("stepfunctions")
        steps.update_state_machine_alias(stateMachineAliasArn=self.alias, routingConfiguration=routing)

    def ringing(self) -> set[str]:
        """The alarms on the new versions that ring."""
        names = {deployment.physical_id(self.emulator, self.stack.name, alarm): alarm for alarm in BAD}
        described = self.emulator.client("cloudwatch").describe_alarms(AlarmNames=list(names))["MetricAlarms"]
        return {names[one["AlarmName"]] for one in described if one["StateValue"] == "ALARM"}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Released]:
    with emulator.running(tmp_path_factory.mktemp("releases")) as running:
        template = deployment.build(running)
        yield Released(running, template, deployment.deploy(running, template, PARAMETERS))


@pytest.mark.parametrize("alarm", BAD)
def test_a_bad_release_rings_its_own_alarm_and_images_go_through_the_one_before_again(
    alarm: str, released: Released
) -> None:
    images = [released.put() for _ in range(BEFORE)]
    eventually(lambda: {released.status(one) for one in images}, lambda found: found == {"processed"})
    before, (part, name, content) = released.version, BAD[alarm]
    [file] = (released.template.parent / part).rglob(name)
    good = file.read_bytes()

    try:
        for compiled in (released.template.parent / part).rglob("*.pyc"):
            compiled.unlink()
        file.unlink()  # never through a link into the cache
        file.write_text(content, encoding="utf-8")
        released.deploy()
        assert released.version != before
        assert released.ringing() == set(), "of the release before"
        for _ in range(AFTER):
            released.put()
        eventually(released.ringing, lambda found: alarm in found)
    finally:
        released.go_back(before)
        file.write_bytes(good)

    last = released.put()
    assert eventually(lambda: released.status(last), bool) == "processed"
