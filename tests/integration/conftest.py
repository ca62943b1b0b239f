"""An AWS in process, with the stores that the template describes, and the functions told what the template tells them.

It checks no permissions and delivers no events: `test_policies` and the tests against the local lake are for that.
"""

import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import MagicMock

import boto3
import jsonschema
import pytest
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from moto import mock_aws

from functions.close_image import app as close_image
from functions.open_image import app as open_image
from functions.process_image import app as process_image
from imagelake.audit import clients as audit_clients
from imagelake.engine import transfer
from imagelake.events import SOURCE
from imagelake.stores import (
    buckets,
    catalog_table,
    dead_letters,
    event_bus,
    functions,
    images_table,
    redshift_workgroup,
)
from imagelake.stores import session as aws_session
from tests.application import (
    ACCOUNT,
    REGION,
    ROOT,
    STACK,
    TEMPLATE,
    event,
    physical_name,
    resolve,
    resources,
    variables,
)
from tests.integration.lambda_process import LambdaProcess, lambda_process
from tests.integration.presigned import PresignedS3
from tests.integration.stand_ins import StartedErasures
from tests.workflow import Workflow
from tools.event_schemas import SCHEMAS

ACCESS_KEY, SECRET_KEY = "testing", "testing-secret"
RAW_BUCKET, LAKE_BUCKET = physical_name("RawBucket"), physical_name("LakeBucket")
IMAGES_TABLE = physical_name("ImagesTable")
DATABASE, TABLE = physical_name("CatalogDatabase"), physical_name("CatalogTable")
QUEUE_URL = resolve({"Ref": "DeadLetterQueue"})
REJECTIONS_URL = resolve({"Ref": "RejectionsQueue"})
EVENT_BUS = physical_name("EventBus")
EVERY_EVENT = "every-event"
"""A queue that gets what is put on the bus."""
CALLER = event("http_api")["requestContext"]["authorizer"]["claims"]["sub"]


def pytest_sessionstart() -> None:
    """Functions have a `/tmp` of their own, as in Lambda, so they would not find this code there."""
    if ROOT.is_relative_to("/tmp"):  # noqa: S108
        pytest.exit("These tests do not run in a clone under /tmp. Clone to another folder.", returncode=2)


@pytest.fixture(scope="module")
def function() -> Iterator[LambdaProcess]:
    """A function's process as in Lambda, which the tests of a module share; only root can start it."""
    with TemporaryDirectory(dir="/var/tmp") as folder:  # `/tmp` is the function's own
        Path(folder).chmod(0o755)
        with lambda_process(Path(folder)) as function:
            yield function


@pytest.fixture(autouse=True, scope="package")
def _credentials() -> Iterator[None]:
    """Keys that open nothing, for all clients; making a client takes longer than most tests."""
    clients = (
        *(aws_session.session, buckets.s3_client, images_table._dynamodb, images_table._resource),
        *(catalog_table._glue, dead_letters._sqs, redshift_workgroup._serverless, redshift_workgroup._data),
        *(event_bus._events, functions._lambda),
        audit_clients.client,
    )
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        for client in clients:
            client.cache_clear()
        assert aws_session.session().get_credentials()  # kept: no test's own keys become everybody's
        yield
        for client in clients:
            client.cache_clear()


@pytest.fixture(autouse=True)
def aws(_credentials: None) -> Iterator[None]:
    """The stack's stores, empty, for one test."""
    with mock_aws(config={"core": {"mock_credentials": False}}):
        _create_stores()
        yield


@pytest.fixture
def erasures(monkeypatch: pytest.MonkeyPatch) -> StartedErasures:
    """The erasures that functions start; `erase_image` is not run."""
    return StartedErasures.installed(monkeypatch)


@cache
def client(service: str) -> Any:
    """A client of the tests' own."""
    return boto3.client(service)  # type: ignore[call-overload]  # the stubs know literals only


def _create_stores() -> None:
    s3, dynamodb, glue, sqs = client("s3"), client("dynamodb"), client("glue"), client("sqs")
    for name, bucket in resources("AWS::S3::Bucket").items():
        is_locked = bucket["Properties"].get("ObjectLockEnabled", False)
        s3.create_bucket(Bucket=physical_name(name), ObjectLockEnabledForBucket=is_locked)
        if versioning := bucket["Properties"].get("VersioningConfiguration"):
            s3.put_bucket_versioning(Bucket=physical_name(name), VersioningConfiguration=versioning)
    for name, table in resources("AWS::DynamoDB::Table").items():
        taken = ("AttributeDefinitions", "BillingMode", "GlobalSecondaryIndexes", "KeySchema")
        dynamodb.create_table(TableName=physical_name(name), **{part: table["Properties"][part] for part in taken})
    for name in resources("AWS::Glue::Database"):
        glue.create_database(DatabaseInput={"Name": physical_name(name)})
    for table in resources("AWS::Glue::Table").values():
        described = resolve(table["Properties"])
        glue.create_table(DatabaseName=described["DatabaseName"], TableInput=described["TableInput"])
    for name in resources("AWS::SQS::Queue"):
        sqs.create_queue(QueueName=physical_name(name))
    sqs.create_queue(QueueName=EVERY_EVENT)
    client("events").create_event_bus(Name=EVENT_BUS)
    for name, rule in resources("AWS::Events::Rule").items():
        if rule["Properties"].get("EventBusName") == {"Ref": "EventBus"}:
            [target] = rule["Properties"]["Targets"]
            _put_rule(name, rule["Properties"]["EventPattern"], resolve(target["Arn"]))
    _put_rule(EVERY_EVENT, {"source": [SOURCE]}, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{EVERY_EVENT}")


def _put_rule(name: str, pattern: dict[str, Any], queue: str) -> None:
    events = client("events")
    events.put_rule(Name=name, EventBusName=EVENT_BUS, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=name, EventBusName=EVENT_BUS, Targets=[{"Id": "queue", "Arn": queue}])


def stream_of(*items: dict[str, Any], first: int = 4421584) -> dict[str, Any]:
    """The event of the stream for items of the images table, after the sample, with sequence numbers from `first`."""
    sample = event("write_catalog")
    [template] = sample["Records"]
    records = []
    for number, item in enumerate(items, first):
        image = images_table.serialize(item)
        changed = {"Keys": {"image_id": image["image_id"]}, "NewImage": image, "SequenceNumber": str(number)}
        records.append(template | {"eventID": f"{number:032x}", "dynamodb": template["dynamodb"] | changed})
    return {"Records": records}


VERSION = "7"
"""Of a function that a test invokes."""


class Context(LambdaContext):
    """What Lambda says of an invocation."""

    def __init__(self, function_name: str) -> None:
        self._function_name = function_name
        self._function_version = VERSION
        self._memory_limit_in_mb = 1769
        self._invoked_function_arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{STACK}-{function_name}"
        self._aws_request_id = "8b1d1f5e-2c3a-4f6b-9d7e-0a1b2c3d4e5f"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 30_000


type Invoke = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Context]:
    """Gives this process the environment the template gives a function, and the context of its invocation."""

    def tell(function_folder: str) -> Context:
        given = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"] | variables(function_folder)
        for name, value in given.items():
            monkeypatch.setenv(name, str(resolve(value)))
        return Context(function_folder)

    return tell


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """All that the functions log during a test."""
    written = StringIO()
    for name, module in list(sys.modules.items()):
        if name.startswith("functions.") and isinstance(logger := getattr(module, "logger", None), Logger):
            monkeypatch.setattr(logger.registered_handler, "stream", written)
    return written


@pytest.fixture
def presigned(monkeypatch: pytest.MonkeyPatch) -> PresignedS3:
    """What answers presigned requests, out of the stores."""
    s3 = PresignedS3(lambda: client("s3"))
    monkeypatch.setattr(transfer, "_pool", lambda: s3)
    return s3


@pytest.fixture
def workflow(tell: Callable[[str], Context], presigned: PresignedS3, logs: StringIO) -> Workflow:  # noqa: ARG001  # logs: not for the terminal
    """The workflow with its real functions; each is told only what the template tells it."""
    handlers = {"open_image": open_image, "process_image": process_image, "close_image": close_image}
    contexts = {name: tell(name) for name in handlers}

    def called(name: str) -> Callable[[Any], Any]:
        return lambda payload: handlers[name].handler(payload, contexts[name])

    return Workflow({name: called(name) for name in handlers}, client)


def created(key: str, version_id: str | None = None) -> dict[str, Any]:
    """The event of an object, as far as the workflow reads it."""
    made = event("object_created")
    made["detail"]["object"] = {"key": key} | ({"version-id": version_id} if version_id else {})
    return made


def refusing_events() -> Any:
    """A client of EventBridge that takes no event, and says so in its answers."""
    client = MagicMock()
    client.put_events.side_effect = lambda Entries: {  # noqa: N803
        "FailedEntryCount": len(Entries),
        "Entries": [{"ErrorCode": "ThrottlingException", "ErrorMessage": "Of a test."} for _ in Entries],
    }
    return client


def events_put() -> list[dict[str, Any]]:
    """The events on the bus since the last look, in their order; each is as its schema says."""
    sqs, found = client("sqs"), list[dict[str, Any]]()
    url = sqs.get_queue_url(QueueName=EVERY_EVENT)["QueueUrl"]
    while received := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
        for message in received:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            found.append(json.loads(message["Body"]))
    for one in found:
        schema = json.loads((SCHEMAS / f"{one['detail-type']}.json").read_text(encoding="utf-8"))
        jsonschema.validate(one["detail"], schema, format_checker=jsonschema.FormatChecker())
    return found


def dead_letters_sent() -> list[dict[str, Any]]:
    """The messages in the dead-letter queue."""
    return _messages(QUEUE_URL)


def rejections_told() -> list[dict[str, Any]]:
    """The details of the events in the queue of rejections."""
    return [told["detail"] for told in _messages(REJECTIONS_URL)]


def _messages(queue: str) -> list[Any]:
    messages = client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(message["Body"]) for message in messages]
