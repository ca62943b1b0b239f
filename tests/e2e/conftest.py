"""One lake for all end-to-end tests: the real template, built and deployed by SAM, with IAM enforcement on."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from imagelake.events import SOURCE
from imagelake.stores import buckets, catalog_table, event_bus, images_table, session
from local import deployment
from local import lake as local_lake
from local.api_client import ApiClient, send
from local.emulator import FAULTY, REGION
from local.lake import Lake
from local.samples import Sample, make_samples
from tools.event_schemas import SCHEMAS

WAIT_SECONDS = 90
ENDED = ("processed", "rejected", "failed")

PROGRAM = Path(sys.executable).with_name("imagelake")

type Upload = Callable[[Sample], str]
type Command = Callable[..., subprocess.CompletedProcess[str]]
type Await = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="session")
def lake() -> Iterator[Lake]:
    with local_lake.running(application=FAULTY) as running:
        yield running


@pytest.fixture(scope="session")
def client(lake: Lake) -> ApiClient:
    return ApiClient(lake)


@pytest.fixture(scope="session")
def samples() -> dict[str, Sample]:
    return {sample.filename: sample for sample in make_samples()}


@pytest.fixture(scope="session")
def upload(client: ApiClient) -> Upload:
    """Upload a sample through the API; gives its image_id."""

    def upload(sample: Sample) -> str:
        (grant,) = client.request_uploads([sample])
        send(grant["upload"], sample.content, sample.content_type).raise_for_status()
        image_id: str = grant["image_id"]
        return image_id

    return upload


@pytest.fixture(scope="session")
def await_end(client: ApiClient) -> Await:
    """What the API says of an image once the workflow is through with it."""

    def await_end(image_id: str) -> dict[str, Any]:
        return eventually(lambda: client.image(image_id), lambda image: image["status"] in ENDED)

    return await_end


@pytest.fixture
def folder(lake: Lake, tmp_path: Path) -> Path:
    """A folder in which this lake describes itself, for commands as they are installed."""
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "lake.json").write_text(json.dumps(lake.describe()), encoding="utf-8")
    return tmp_path


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    """Of commands: a state folder of their own."""
    return os.environ | {"XDG_STATE_HOME": str(folder / "state")}


@pytest.fixture
def command(folder: Path, environment: dict[str, str]) -> Command:
    """Runs `imagelake` with its arguments in `folder`."""

    def run(*arguments: str, password: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *arguments], cwd=folder, env=environment | {"IMAGELAKE_PASSWORD": password}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip

    return run


@contextmanager
def in_process(lake: Lake) -> Iterator[None]:
    """Lets this process write into the lake with the functions' own modules, as the emulator's root user."""
    caches = (
        *(session.session, buckets.s3_client, images_table._dynamodb, images_table._resource),
        *(catalog_table._glue, event_bus._events),
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": lake.emulator.endpoint_url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
        }.items():
            patch.setenv(name, value)
        for cache in caches:
            cache.cache_clear()
        yield
        for cache in caches:
            cache.cache_clear()


@pytest.fixture
def domain(lake: Lake) -> Iterator[None]:
    """For the whole of a test, see `in_process`."""
    with in_process(lake):
        yield


def invoke(lake: Lake, function: str, event: dict[str, Any]) -> dict[str, Any]:
    """Invoke a function of the stack; its answer."""
    name = deployment.physical_id(lake.emulator, lake.stack.name, function)
    answer = lake.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event))
    body: dict[str, Any] = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, body
    return body


@contextmanager
def without(lake: Lake, role: str, action: str) -> Iterator[None]:
    """Take one action away from a role of the stack, and give it back."""
    iam = lake.client("iam")
    name = deployment.physical_id(lake.emulator, lake.stack.name, role)
    (policy,) = iam.list_role_policies(RoleName=name)["PolicyNames"]
    document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
    denied = {"Effect": "Deny", "Action": action, "Resource": "*"}
    reduced = document | {"Statement": [*document["Statement"], denied]}
    iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(reduced))
    try:
        yield
    finally:
        iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(document))


@dataclass
class Listener:
    """A queue with a rule of its own on the bus of the stack, as a sender would have it."""

    lake: Lake
    url: str
    events: list[dict[str, Any]] = field(default_factory=list)

    def look(self) -> list[dict[str, Any]]:
        """All events until now, as the rule gets them; the detail of each is as its schema says."""
        sqs = self.lake.client("sqs")
        while messages := sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages", []):
            for message in messages:
                sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
                told = json.loads(message["Body"])
                schema = json.loads((SCHEMAS / f"{told['detail-type']}.json").read_text(encoding="utf-8"))
                jsonschema.validate(told["detail"], schema)
                self.events.append(told)
        return self.events

    def of(self, image_id: str) -> list[str]:
        """The names of the events of an image until now."""
        return [one["detail-type"] for one in self.look() if one["detail"].get("image_id") == image_id]


@contextmanager
def listening(lake: Lake) -> Iterator[Listener]:
    """Be told of all events from now on."""
    name, bus = f"listener-{uuid.uuid4().hex[:8]}", lake.stack.outputs["EventBusName"]
    sqs, events = lake.client("sqs"), lake.client("events")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rule = events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps({"source": [SOURCE]}))["RuleArn"]
    let_in = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [let_in]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}])
    try:
        yield Listener(lake, url)
    finally:
        events.remove_targets(Rule=name, EventBusName=bus, Ids=["queue"])
        events.delete_rule(Name=name, EventBusName=bus)
        sqs.delete_queue(QueueUrl=url)


def eventually[T](look: Callable[[], T], is_so: Callable[[T], bool]) -> T:
    """What `look` sees once `is_so`; fails after `WAIT_SECONDS`."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_so(seen := look()):
        if time.monotonic() > deadline:
            pytest.fail(f"still not so after {WAIT_SECONDS} s: {seen}")
        time.sleep(0.3)
    return seen
