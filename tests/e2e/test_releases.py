"""Bad releases are refused by the rehearsal, or ring their own alarms and are gone back from.

Simulated is what CloudFormation does when an alarm rings: the emulator moves the workflow's alias at once, where AWS
shifts a tenth of the images for some minutes, so images are sent before and after; and the test points the alias back
where CloudFormation would, because an alarm that the alias names rings. Deployments, versions, the rehearsal, its call
by CloudFormation, the rollback after it, metrics and alarms are those of the stack; the rollback is as the emulator
does it.
"""

import io
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imagelake.keys import ArrivalHour, RawKey
from local import deployment, emulator
from local.api_client import ApiClient
from local.deployment import DeploymentError, Stack
from local.emulator import Emulator
from local.kafka import KafkaSide
from local.lake import Lake
from tests.e2e.conftest import eventually

PARAMETERS = {"ReleaseShift": "10-percent-for-10-minutes"}
BEFORE, AFTER = 8, 3
"""Images through the release of before, and through the bad one."""
REQUESTS = 200
"""To an API of which the bad release gets a tenth."""

SCRIPT = '''"""A script of a bad release."""

import time


def process(image, params):
    {does}
'''
type Bad = tuple[str, str, Callable[[str], str]]
"""A part of the release, a file of it, and what becomes of that."""


def script(does: str) -> Bad:
    """A script that does this in place of one that is good."""
    return "ScriptsLayer", "describe.py", lambda _: SCRIPT.format(does=does)


def knows_colours_only(app: str) -> str:
    """A function that ends with an error after an image without colours."""
    done = "answer = work.carry_out(order, seconds)\n"
    assert done in app
    counted = "{'RGB': 3, 'RGBA': 4}[answer.header.mode] if answer.status == 'processed' else 0"
    return app.replace(done, f"{done}        {counted}\n")


REFUSED: dict[str, tuple[Bad, str]] = {
    "an import fails": (
        ("ProcessImageFunction", "app.py", lambda _: "import a_module_that_is_missing\n"),
        r"photograph\.jpg ended with a fault: .*a_module_that_is_missing",
    ),
    "a script fails on every image": (
        script("raise ValueError('a bug')"),
        r"photograph\.jpg was rejected, not processed: script_error: .*describe",
    ),
}
"""What the rehearsal sees, and what it says."""
BAD: dict[str, Bad] = {
    "NewVersionSlowAlarm": script("time.sleep(3); return {}"),
    "NewVersionScriptsAlarm": script("red, *others = image.getpixel((0, 0)); return {}"),
    "NewVersionFaultsAlarm": ("ProcessImageFunction", "app.py", knows_colours_only),
}
"""What it does not see: that images take long, and what goes wrong with images unlike its own, such as grey ones."""
API_ALARM = "NewVersionApiAlarm"
BAD_API: Bad = ("HttpApiFunction", "app.py", lambda _: "import a_module_that_is_missing\n")


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

    @property
    def api(self) -> dict[str, str]:
        """The alias of the API, for Lambda."""
        function = deployment.physical_id(self.emulator, self.stack.name, "HttpApiFunction")
        return {"FunctionName": function, "Name": "live"}

    def shift_api(self, version: str, shares: dict[str, float]) -> None:
        """Have the alias of the API send shares of the requests to other versions, as CodeDeploy does."""
        routing = {"AdditionalVersionWeights": shares}
        self.emulator.client("lambda").update_alias(**self.api, FunctionVersion=version, RoutingConfig=routing)

    def go_back(self, version: str) -> None:
        routing = [{"stateMachineVersionArn": version, "weight": 100}]
        steps = self.emulator.client("stepfunctions")
        steps.update_state_machine_alias(stateMachineAliasArn=self.alias, routingConfiguration=routing)

    def reasons(self) -> str:
        """Why resources of the stack failed, ever."""
        pages = self.emulator.client("cloudformation").get_paginator("describe_stack_events")
        events = [one for page in pages.paginate(StackName=self.stack.name) for one in page["StackEvents"]]
        return "\n".join(one.get("ResourceStatusReason", "") for one in events)

    def left_by_rehearsals(self) -> list[str]:
        """Keys."""
        listed = self.emulator.client("s3").list_objects_v2(Bucket=self.stack.outputs["LakeBucketName"])
        return [one["Key"] for one in listed.get("Contents", []) if "/rehearsal/" in one["Key"]]

    def ringing(self) -> set[str]:
        """The alarms on the new versions that ring."""
        names = {deployment.physical_id(self.emulator, self.stack.name, alarm): alarm for alarm in (*BAD, API_ALARM)}
        described = self.emulator.client("cloudwatch").describe_alarms(AlarmNames=list(names))["MetricAlarms"]
        return {names[one["AlarmName"]] for one in described if one["StateValue"] == "ALARM"}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Released]:
    with emulator.running(tmp_path_factory.mktemp("releases")) as running:
        template = deployment.build(running)
        yield Released(running, template, deployment.deploy(running, template, PARAMETERS))


@contextmanager
def changed(released: Released, bad: Bad) -> Iterator[None]:
    """Have the built release bad, and good again."""
    part, name, change = bad
    [folder] = [path for path in released.template.parent.rglob(part) if path.is_dir()]
    [file] = folder.rglob(name)
    good = file.read_bytes()
    try:
        for compiled in folder.rglob("*.pyc"):
            compiled.unlink()
        file.unlink()  # never through a link into the cache
        file.write_text(change(good.decode()), encoding="utf-8")
        yield
    finally:
        file.write_bytes(good)


@pytest.mark.parametrize("what", REFUSED)
def test_a_release_that_cannot_process_built_in_pictures_gets_no_image(what: str, released: Released) -> None:
    before, (bad, sentence) = released.version, REFUSED[what]

    with changed(released, bad), pytest.raises(DeploymentError) as refusal:
        released.deploy()

    stacks = released.emulator.client("cloudformation").describe_stacks(StackName=released.stack.name)["Stacks"]
    assert re.search(sentence, " ".join(str(refusal.value).split())) or re.search(sentence, released.reasons())
    assert [one["StackStatus"] for one in stacks] == ["UPDATE_ROLLBACK_COMPLETE"]
    assert released.version == before
    assert eventually(partial(released.status, released.put()), bool) == "processed"
    assert released.left_by_rehearsals() == []


@pytest.mark.parametrize("alarm", BAD)
def test_a_bad_release_rings_its_own_alarm_and_images_go_through_the_one_before_again(
    alarm: str, released: Released
) -> None:
    images = [released.put() for _ in range(BEFORE)]
    eventually(lambda: {released.status(one) for one in images}, lambda found: found == {"processed"})
    before = released.version

    try:
        with changed(released, BAD[alarm]):
            released.deploy()
            assert released.version != before
            assert released.ringing() <= {alarm}, "of the release before"  # the rehearsal counts, too
            for _ in range(AFTER):
                released.put()
            eventually(released.ringing, lambda found: alarm in found)
    finally:
        released.go_back(before)

    assert eventually(partial(released.status, released.put()), bool) == "processed"


def test_an_api_that_fails_gets_a_tenth_of_the_requests_and_rings_its_own_alarm(released: Released) -> None:
    lake = Lake(released.emulator, released.stack, KafkaSide("", ""), "somebody", "")
    client = ApiClient(lake, lake.username, lake.add_user(lake.username))
    versions = released.emulator.client("lambda").get_alias
    before = versions(**released.api)["FunctionVersion"]

    with changed(released, BAD_API):
        released.deploy()
    new = versions(**released.api)["FunctionVersion"]
    released.shift_api(before, {new: 0.1})
    answers = Counter(client.get("/images").status_code for _ in range(REQUESTS))
    eventually(released.ringing, lambda found: found == {API_ALARM})
    released.shift_api(before, {})

    assert new != before
    assert answers.keys() == {200, 502}
    assert answers[502] < REQUESTS / 4, "others went to the version before"
    assert {client.get("/images").status_code for _ in range(20)} == {200}
