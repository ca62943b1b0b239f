"""The files of the application agree with each other, and with what others rely on."""

import ast
import importlib
import inspect
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from math import inf
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from aws_lambda_powertools.utilities.parser.models import (
    APIGatewayProxyEventModel,
    CloudFormationCustomResourceCreateModel,
    DynamoDBStreamModel,
    S3EventNotificationEventBridgeModel,
)
from boto3.dynamodb.types import TypeDeserializer

from functions.http_api.app import app as api
from functions.process_image import app as process_image
from imagelake import pipelines, schema
from imagelake.api.uploads import UploadRequest
from imagelake.engine.contract import MAX_ANSWER_BYTES, EngineOrder, Processed
from imagelake.keys import ArrivalHour, ImageVersion, RawKey
from imagelake.model import MAX_REASON, DeadLetter, FaultCode, ImageRecord
from imagelake.process import ordering, reconciliation
from imagelake.process.closing import EngineAnswered
from imagelake.process.opening import ObjectCreated
from imagelake.stores import dead_letters
from imagelake.stores.dead_letters import DeadLetterQueue
from imagelake.stores.images_table import Standing
from imagelake.values import to_iso
from imagelake_cli import grants
from local.invoke import EXPECTED
from tasks.process_large_image.app import Task
from tests.application import (
    FUNCTION_FOLDERS,
    ROOT,
    STACKS,
    TEMPLATE,
    WORKFLOW,
    WORKFLOW_TEXT,
    event,
    logical_id,
    read,
    resolve,
    resources,
    task_variables,
)
from tests.application import variables as variables_of
from tests.workflow import evaluate

# What clients and analysts outside this repository rely on.

CATALOG_CONTRACT = """
    image_id string, status string, source string, source_ref string, received_at timestamp, processed_at timestamp,
    expires_at timestamp, sha256 string, bytes bigint, format string, content_type string, width int, height int,
    mode string, frames int, orientation int, camera_make string, camera_model string, taken_at timestamp,
    gps_lat double, gps_lon double, uploader string, phash string, dominant_color string, brightness double,
    sharpness double, script string, script_version string, script_output string, tags map<string,string>,
    derivatives array<string>, reason string, tenant string
"""

OUTPUTS = {
    "ApiUrl", "UserPoolId", "UserPoolClientId", "RawBucketName", "LakeBucketName", "AuditBucketName",
    "ImagesTableName", "DeadLetterQueueUrl", "IngestImageStateMachineArn", "CatalogDatabase", "CatalogTable",
    "AthenaWorkGroup", "DashboardUrl", "EventBusName", "RejectionsQueueUrl",
}  # fmt: skip


def test_the_stack_has_every_output_of_the_contract() -> None:
    assert set(TEMPLATE["Outputs"]) >= OUTPUTS


def test_the_catalog_has_one_schema_in_contract_code_and_glue() -> None:
    contract = dict(column.split() for column in re.split(r",\s(?=\s*\w+ )", CATALOG_CONTRACT.strip()))
    [table] = resources("AWS::Glue::Table").values()
    described = table["Properties"]["TableInput"]
    glue = {column["Name"]: column["Type"] for column in described["StorageDescriptor"]["Columns"]}
    partition = {column["Name"]: column["Type"] for column in described["PartitionKeys"]}

    assert list(schema.HIVE_COLUMNS.items()) == list(contract.items())
    assert list(glue.items()) == list(contract.items())
    assert partition == {"ingest_date": "string", "hour": "string"}
    assert list(ImageRecord.model_fields) == [*contract, *partition]


def test_the_template_routes_what_the_function_answers() -> None:
    events = TEMPLATE["Resources"]["HttpApiFunction"]["Properties"]["Events"].values()
    routed = {(route["Properties"]["Method"], route["Properties"]["Path"]) for route in events}
    answered = {(route.method, route.openapi_path) for route in [*api._static_routes, *api._dynamic_routes]}

    assert routed == answered
    assert routed >= {("POST", "/uploads"), ("GET", "/images/{image_id}"), ("GET", "/images")}


# Functions


@pytest.fixture(params=FUNCTION_FOLDERS)
def folder(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def _function(folder: str) -> dict[str, Any]:
    properties: dict[str, Any] = TEMPLATE["Resources"][logical_id(folder)]["Properties"]
    return properties


def test_a_function_is_named_verb_object_in_its_folder_and_in_the_template(folder: str) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", folder)
    assert _function(folder)["CodeUri"].removeprefix("../") == f"functions/{folder}"


def test_the_template_has_no_function_without_a_folder() -> None:
    assert set(resources("AWS::Serverless::Function")) == {logical_id(folder) for folder in FUNCTION_FOLDERS}


def test_a_function_has_a_sample_event(folder: str) -> None:
    assert event(folder)


def test_a_function_has_a_log_group_with_retention(folder: str) -> None:
    log_group = TEMPLATE["Resources"][_function(folder)["LoggingConfig"]["LogGroup"]["Ref"]]

    assert log_group["Type"] == "AWS::Logs::LogGroup"
    assert log_group["Properties"]["RetentionInDays"]


def test_no_two_functions_share_a_role_or_a_log_group() -> None:
    functions = [_function(folder) for folder in FUNCTION_FOLDERS]

    assert len({one["Role"]["Fn::GetAtt"][0] for one in functions}) == len(functions)
    assert len({one["LoggingConfig"]["LogGroup"]["Ref"] for one in functions}) == len(functions)


def test_a_function_is_told_exactly_what_its_settings_read(folder: str) -> None:
    assert _read_by(f"functions.{folder}.app") == set(variables_of(folder))


def _read_by(module: str) -> set[str]:
    """The environment variables that a module reads: those of every dataclass that it hands to `load`."""
    loaded = importlib.import_module(module)
    tree = ast.parse(inspect.getsource(loaded))
    later = {  # imported by a function only when it is called
        alias.name: getattr(importlib.import_module(str(one.module)), alias.name)
        for one in ast.walk(tree)
        if isinstance(one, ast.ImportFrom) and one.col_offset
        for alias in one.names
    }
    names = {
        call.args[0].id
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "load"
        if isinstance(call.args[0], ast.Name)
    }
    return {variable for name in names for variable in _variables(later.get(name) or getattr(loaded, name))}


def _variables(kind: Any) -> set[str]:
    own = {field.name.upper(): field.type for field in fields(kind)}
    parts = {name: part for name, part in own.items() if is_dataclass(part) and len(fields(part)) > 1}
    return own.keys() - parts.keys() | {name for part in parts.values() for name in _variables(part)}


LAYER = ROOT / "layers/imagelake"


def _logs_of_images(path: Path) -> bool:
    """Whether a module logs a line that names an image, by its id or by the prefix of its order."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    logged = [ast.unparse(call) for call in calls if re.match(r"logger\.\w+$", ast.unparse(call.func))]
    named = re.compile(r"image_ids?\b|for_logs|\bimages\b|\blogged\b|\bgranted\b|order\.prefix")
    return any(named.search(one) for one in logged)


def _imported(path: Path) -> set[Path]:
    """The modules of the domain that a file imports from."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = {name for node in froms for name in (node.module, *(f"{node.module}.{one.name}" for one in node.names))}
    return {file for name in names if (file := LAYER / f"{str(name).replace('.', '/')}.py").is_file()}


def test_the_saved_query_that_follows_an_image_asks_all_who_log_of_it() -> None:
    apps = {folder: ROOT / f"functions/{folder}/app.py" for folder in FUNCTION_FOLDERS}
    logging = {folder for folder, app in apps.items() if any(_logs_of_images(path) for path in {app, *_imported(app)})}
    query = TEMPLATE["Resources"]["WhatHappenedToImageQuery"]["Properties"]
    asked = set(re.findall(r"\w+LogGroup", json.dumps(query["LogGroupNames"])))

    assert {"open_image", "write_catalog", "reconcile", "redrive_images", "erase_image"} <= logging
    # The workflow's log has the execution, which the line of open_image names.
    assert asked == {logical_id(folder).removesuffix("Function") + "LogGroup" for folder in logging} | {
        "IngestImageLogGroup"
    }


def test_every_log_group_forgets() -> None:
    assert all("RetentionInDays" in group["Properties"] for group in resources("AWS::Logs::LogGroup").values())


# Samples


def test_the_sample_of_http_api_is_what_api_gateway_sends() -> None:
    sample = APIGatewayProxyEventModel.model_validate(event("http_api"))

    assert sample.requestContext.authorizer is not None
    assert sample.requestContext.authorizer.claims is not None
    assert (sample.httpMethod, sample.path, sample.requestContext.stage) == ("POST", "/uploads", "v1")


def test_the_sample_of_http_api_asks_for_an_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables_of("http_api").items():
        monkeypatch.setenv(name, str(resolve(value)))

    assert UploadRequest.model_validate_json(event("http_api")["body"]).content_type == "image/jpeg"


def test_the_sample_of_open_image_is_what_the_workflow_makes_of_object_created() -> None:
    created = event("object_created")
    S3EventNotificationEventBridgeModel.model_validate(created)
    payload = WORKFLOW["States"]["Open image"]["Arguments"]["Payload"]
    states = _identified(created)
    states["states"] = states.get("states", {}) | {"context": {"Execution": {"Id": event("open_image")["execution"]}}}

    assert evaluate(payload, states) == event("open_image")
    image = ObjectCreated.model_validate(event("open_image"))
    assert str(RawKey.parse(image.key)) == image.key


def test_the_samples_of_engine_and_close_image_are_of_one_image() -> None:
    order, answered = (
        EngineOrder.model_validate(event("process_image")),
        EngineAnswered.model_validate(event("close_image")),
    )
    answer = Processed.model_validate_json(json.dumps(answered.answer))

    assert order.prefix == answered.facts.version.prefix
    assert order.bytes == answered.facts.bytes == answer.bytes
    assert (order.limits, order.scripts) == (pipelines.load().limits, pipelines.load().default.scripts)
    assert answered.facts.version_id == event("open_image")["version_id"]


def _identified(created: dict[str, Any]) -> dict[str, Any]:
    """The variables that the leading state sets for an event."""
    assigned = WORKFLOW["States"][WORKFLOW["StartAt"]]["Assign"]
    found: dict[str, Any] = evaluate(assigned, {"states": {"input": created}})
    return found


def test_a_result_of_the_task_is_identified_as_its_image() -> None:
    created = event("object_created")
    image = _identified(created)
    version = ImageVersion(RawKey.parse(image["key"]), image["version_id"])
    created["detail"]["object"] = {"key": version.result}

    assert _identified(created) == image | {"object": version.result, "version_id": None}


@pytest.mark.parametrize(
    "key",
    [
        "raw/",
        "raw/holiday.jpg",
        "raw/ingest_date=/",
        "raw/ingest_date=2026-13-45/hour=9/x",
        "raw/2026-11-22/09/x",
        "raw/date=2026-11-22/hour=09/x",
        "raw/again/ingest_date=2026-11-22/hour=09/x",
        "raw/ingest_date=2026-11-22/again/hour=09/x",
        "raw/ingest_date=2026-11-22/hour=09/again/x",
    ],
)
def test_a_key_put_by_hand_breaks_no_state_that_catches_nothing_and_reaches_no_item(key: str) -> None:
    created = event("object_created")
    created["detail"]["object"] = {"key": key}

    identified = _identified(created)

    assert all(isinstance(identified[name], str) for name in ("image_id", "ingest_date", "hour"))
    assert identified["version_id"] is None
    values = WORKFLOW["States"]["Record failure"]["Arguments"]["ExpressionAttributeValues"]
    with pytest.raises(ValueError, match=r"isoformat|hour"):
        evaluate(values[":received_at"]["S"], identified)


def test_an_input_without_a_time_counts_as_of_now() -> None:
    created = event("object_created")
    del created["time"]

    arrived = datetime.fromisoformat(_identified(created)["event_time"])

    assert timedelta() <= datetime.now(UTC) - arrived < timedelta(minutes=1)


def test_the_workflow_reads_its_event_in_the_leading_state_only() -> None:
    assert "Execution.Input" not in WORKFLOW_TEXT
    assert WORKFLOW_TEXT.count("$states.input.detail") == json.dumps(WORKFLOW["States"]["Identify image"]).count(
        "$states.input.detail"
    )


def test_the_workflow_is_started_by_object_created() -> None:
    created = event("object_created")
    pattern = TEMPLATE["Resources"]["IngestImageStateMachineImageArrived"]["Properties"]["EventPattern"]

    assert created["source"] in pattern["source"]
    assert created["detail-type"] in pattern["detail-type"]
    image, result = pattern["detail"]["object"]["key"]
    key = RawKey.parse(created["detail"]["object"]["key"])
    assert str(key).startswith(image["prefix"])
    assert fnmatchcase(ImageVersion(key, "1").result, result["wildcard"])
    assert not fnmatchcase(ImageVersion(key, "1").derived("thumb_256", "jpg"), result["wildcard"])
    assert pattern["detail"]["bucket"]["name"] == [{"Ref": "RawBucket"}, {"Ref": "LakeBucket"}]


def test_the_lake_bucket_sends_no_events_but_for_the_task() -> None:
    configured = TEMPLATE["Resources"]["LakeBucket"]["Properties"]["NotificationConfiguration"]

    condition, _, otherwise = configured["Fn::If"]
    assert (condition, otherwise) == ("TakesLargeImages", {"Ref": "AWS::NoValue"})


def test_the_sample_of_write_catalog_is_a_cataloged_image_on_the_stream() -> None:
    sample = DynamoDBStreamModel.model_validate(event("write_catalog"))

    for entry in sample.Records:
        record = ImageRecord.model_validate(entry.dynamodb.NewImage)
        assert entry.dynamodb.Keys == {"image_id": record.image_id}
        assert record.status == "processed"
        assert set(ImageRecord.model_fields) == record.model_fields_set | {"reason"}


def test_the_sample_of_configure_redshift_is_what_cloudformation_makes_of_the_custom_resource() -> None:
    sample = CloudFormationCustomResourceCreateModel.model_validate(event("configure_redshift"))
    [(name, custom)] = resources("Custom::RedshiftCatalog").items()

    assert (sample.logical_resource_id, sample.resource_type) == (name, custom["Type"])
    assert isinstance(sample.resource_properties, dict)
    always = {
        name for name, value in custom["Properties"].items() if not isinstance(value, dict) or "Fn::If" not in value
    }
    assert set(sample.resource_properties) == always
    assert sample.resource_properties["DailyRpuHours"] == str(custom["Properties"]["DailyRpuHours"])


# Workflow


def test_every_substitution_of_the_workflow_is_given_and_used() -> None:
    given = TEMPLATE["Resources"]["IngestImageStateMachine"]["Properties"]["DefinitionSubstitutions"]

    assert set(given) == set(re.findall(r"\$\{(\w+)\}", WORKFLOW_TEXT))


def _followers(state: dict[str, Any]) -> Iterator[str]:
    for way in (state, *state.get("Choices", ()), *state.get("Catch", ())):
        yield from (way[name] for name in ("Next", "Default") if name in way)


def test_every_state_is_reachable_and_every_way_leads_to_an_end() -> None:
    states = WORKFLOW["States"]
    reached, waiting = set(), [WORKFLOW["StartAt"]]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            followers = list(_followers(states[name]))
            assert bool(followers) == (states[name]["Type"] not in ("Succeed", "Fail"))
            waiting += followers

    assert reached == set(states)


TASKS = {name: state for name, state in WORKFLOW["States"].items() if state["Type"] == "Task"}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_retried_with_backoff_and_jitter(name: str) -> None:
    retriers = {error: retrier for retrier in TASKS[name]["Retry"] for error in retrier["ErrorEquals"]}

    assert retriers["States.ALL"]["MaxAttempts"] >= 2
    for retrier in retriers.values():
        if retrier["MaxAttempts"]:
            assert retrier["BackoffRate"] > 1
            assert retrier["JitterStrategy"] == "FULL"


def test_the_workflow_waits_for_a_function_whose_network_is_made_again() -> None:
    [retrier] = [
        one for one in TASKS["Process image"]["Retry"] if one["ErrorEquals"] == ["Lambda.ResourceNotReadyException"]
    ]
    delays = _delays(retrier)

    assert sum(delays) / 2 >= 90, "on average: a delay is anything up to its maximum"
    assert sum(delays) + _function("process_image")["Timeout"] <= WORKFLOW["TimeoutSeconds"]


FUNCTION_CALLS = [name for name, state in TASKS.items() if state["Resource"].endswith("lambda:invoke")]


@pytest.mark.parametrize("name", FUNCTION_CALLS)
def test_an_image_that_lambda_has_no_room_for_waits_a_minute_and_is_left_to_reconcile(name: str) -> None:
    throttled = ["Lambda.TooManyRequestsException"]
    [retrier] = [one for one in TASKS[name]["Retry"] if one["ErrorEquals"] == throttled]
    [catcher] = [one for one in TASKS[name]["Catch"] if one["ErrorEquals"] == throttled]
    delays = _delays(retrier)

    assert sum(delays) / 2 >= 60, "on average: a delay is anything up to its maximum"
    assert sum(delays) + _function("process_image")["Timeout"] <= WORKFLOW["TimeoutSeconds"]
    assert catcher == {"ErrorEquals": throttled, "Next": "Leave to reconcile"}
    assert WORKFLOW["States"]["Leave to reconcile"]["Type"] == "Fail"
    assert timedelta(seconds=WORKFLOW["TimeoutSeconds"]) < reconciliation.PATIENCE


@pytest.mark.parametrize("name", [name for name, state in TASKS.items() if "ConditionExpression" in state["Arguments"]])
def test_a_conditional_write_ends_duplicates_as_success_without_another_try(name: str) -> None:
    duplicate = ["DynamoDB.ConditionalCheckFailedException"]
    [retrier] = [retrier for retrier in TASKS[name]["Retry"] if retrier["ErrorEquals"] == duplicate]
    [catcher] = [catcher for catcher in TASKS[name]["Catch"] if catcher["ErrorEquals"] == duplicate]

    assert retrier["MaxAttempts"] == 0
    # Whether the image was erased, or waits to be reported, is asked before it counts as a duplicate.
    ends = {"Move tombstone": "Skip duplicate", "Close report": "Fail"}
    assert catcher["Next"] == ends.get(name, "Read item")


def test_a_fault_of_any_task_ends_in_the_dead_letter_queue() -> None:
    last_resort = (
        "Report to dead-letter queue"  # when it fails too, the execution fails, and `reconcile` finds the image
    )

    assert [name for name, state in TASKS.items() if "Catch" not in state] == [last_resort]
    for name in TASKS.keys() - {last_resort}:
        [catcher] = [catcher for catcher in TASKS[name]["Catch"] if catcher["ErrorEquals"] == ["States.ALL"]]
        if name == "Close report":  # it has been reported
            assert catcher["Next"] == "Fail"
            continue
        assert catcher["Next"] in ("Record failure", last_resort)
        assert name != "Record failure" or catcher["Next"] == last_resort


def test_a_failure_is_recorded_as_an_image_of_the_hour_it_arrived_in() -> None:
    created = event("object_created")
    given = {**_identified(created), "reason": "fault: AccessDenied on GetObject", "step": "Open image"}
    arguments = WORKFLOW["States"]["Record failure"]["Arguments"]
    values: dict[str, Any] = {
        name: {kind: evaluate(expression, given)}
        for name, attribute in arguments["ExpressionAttributeValues"].items()
        for kind, expression in attribute.items()
    }
    to_set, _, added = arguments["UpdateExpression"].removeprefix("SET ").partition(" ADD ")
    item = {name.lstrip("#"): values[value] for name, value in (one.split(" = ") for one in to_set.split(", "))}
    assert (added, values[":by_task"]) == ("attempts :by_task", {"N": "0"})
    item["image_id"] = {"S": evaluate(arguments["Key"]["image_id"]["S"], given)}

    record = ImageRecord.model_validate({name: TypeDeserializer().deserialize(value) for name, value in item.items()})

    key = RawKey.parse(created["detail"]["object"]["key"])
    assert (record.image_id, record.ingest_date, record.hour) == (
        key.image_id,
        key.hour.ingest_date,
        key.hour.hour,
    )
    assert (record.status, record.reason) == ("failed", "fault: AccessDenied on GetObject")
    assert record.received_at == datetime.fromisoformat(created["time"])
    assert record.expires_at - record.received_at == timedelta(days=7)
    assert item["received_at"] == {"S": to_iso(record.received_at)}


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        ('{"errorMessage": "AccessDenied on GetObject", "errorType": "Fault"}', "fault: AccessDenied on GetObject"),
        ('{"errorMessage":"Task timed out after 45.00 seconds"}', "fault: Task timed out after 45.00 seconds"),
        ("The function could not be reached.", "fault: Lambda.ServiceException"),
    ],
)
@pytest.mark.parametrize("state", ["Open image", "Process image", "Open image for task", "Close image"])
def test_the_reason_of_a_failure_is_what_the_function_raised(state: str, cause: str, reason: str) -> None:
    [catcher] = [one for one in WORKFLOW["States"][state]["Catch"] if one["ErrorEquals"] == ["States.ALL"]]
    error = {"errorOutput": {"Error": "Lambda.ServiceException", "Cause": cause}}

    assert evaluate(catcher["Assign"]["reason"], {"states": error}) == reason


def test_the_workflow_logs_no_execution_data_and_is_over_before_express_ends_it() -> None:
    properties = TEMPLATE["Resources"]["IngestImageStateMachine"]["Properties"]

    assert properties["Type"] == "EXPRESS"
    assert properties["Logging"]["IncludeExecutionData"] is False
    assert WORKFLOW["TimeoutSeconds"] < 300


# Large images

TASK = TEMPLATE["Resources"]["ProcessLargeImageTask"]["Properties"]
HAND_OVER = WORKFLOW["States"]["Hand over large image"]


@pytest.mark.parametrize(
    ("answer", "has_task", "state"),
    [
        ({"status": "processed"}, True, "Close image"),
        ({"status": "rejected"}, True, "Close image"),
        ({"status": "large"}, True, "Open image for task"),
        ({"status": "large"}, False, "Close image"),
        ("large", True, "Close image"),
        (None, True, "Close image"),
        ([{"status": "large", "has_task": True}], False, "Close image"),
    ],
)
def test_only_a_large_image_of_a_stack_with_a_task_is_handed_over(answer: Any, has_task: bool, state: str) -> None:
    choice = WORKFLOW["States"]["Check size"]
    given = {"states": {"input": answer}, "facts": {"has_task": has_task}}
    chosen = [one["Next"] for one in choice["Choices"] if evaluate(one["Condition"], given) is True]

    assert (chosen or [choice["Default"]]) == [state]


def test_the_task_is_told_the_url_of_its_order_and_no_more() -> None:
    [override] = HAND_OVER["Arguments"]["Overrides"]["ContainerOverrides"]

    assert override.keys() == {"Name", "Command"}
    assert evaluate(override["Command"], {"states": {"input": {"order_url": "https://"}}}) == ["https://"]
    assert override["Name"] == TASK["ContainerDefinitions"][0]["Name"]


def test_the_engine_is_told_its_order_and_no_more() -> None:
    assert WORKFLOW["States"]["Process image"]["Arguments"]["Payload"] == "{% $states.input.order %}"


def test_an_answer_of_the_engine_reaches_no_variable() -> None:
    for name in ("Process image", "Check size"):
        assert "Assign" not in WORKFLOW["States"][name]
    *others, failed = WORKFLOW["States"]["Process image"]["Catch"]
    assert not any("Assign" in one for one in others)
    assert failed["Assign"].keys() == {"reason", "step", "attempts"}


def test_the_task_runs_in_the_given_subnets_without_a_public_address() -> None:
    network = HAND_OVER["Arguments"]["NetworkConfiguration"]["AwsvpcConfiguration"]

    given = network["Subnets"].replace("${LargeImageSubnetIds}", "subnet-1,subnet-2")
    assert evaluate(given, {}) == ["subnet-1", "subnet-2"]
    assert network["AssignPublicIp"] == "DISABLED"


def test_a_task_that_ecs_refuses_is_a_failure_with_the_error_as_its_reason() -> None:
    [catcher] = HAND_OVER["Catch"]
    error = {"errorOutput": {"Error": "ECS.AccessDeniedException", "Cause": "not shown"}}

    assert evaluate(catcher["Assign"]["reason"], {"states": error}) == "fault: ECS.AccessDeniedException on RunTask"


def test_the_task_is_told_exactly_what_its_settings_read() -> None:
    read = _read_by("tasks.process_large_image.app")

    assert set(task_variables()) == read | {"POWERTOOLS_SERVICE_NAME", "LOG_LEVEL"}
    assert all(isinstance(resolve(value), str | int) for value in task_variables().values())


def test_an_item_makes_way_for_an_outcome_as_the_workflow_commits_it() -> None:
    catalog = WORKFLOW["States"]["Catalog image"]["Arguments"]
    hour, other = ArrivalHour("2026-11-22", "09"), ArrivalHour("2026-11-22", "10")

    assert catalog["ConditionExpression"] == (
        "attribute_not_exists(image_id) OR #status = :awaiting_upload"
        " OR ((#status = :failed OR (#status = :rejected AND attribute_exists(redriven_at)))"
        " AND ingest_date = :ingest_date AND #hour = :hour)"
    )
    admitted = {
        (status, place, is_redriven)
        for status in ("awaiting_upload", "failed", "processed", "rejected", "erased")
        for place in (hour, other)
        for is_redriven in (False, True)
        if Standing(status, place, None, is_redriven).admits(hour)
    }
    assert admitted == {
        *(("awaiting_upload", place, is_redriven) for place in (hour, other) for is_redriven in (False, True)),
        ("failed", hour, False),
        ("failed", hour, True),
        ("rejected", hour, True),
    }


FARGATE = {"1024": range(2048, 8193, 1024), "2048": range(4096, 16385, 1024), "4096": range(8192, 30721, 1024)}
"""Sizes of memory in MiB that Fargate has for a number of CPU units."""


def test_fargate_has_every_size_that_the_task_may_have() -> None:
    stack = read(ROOT / "stacks/large_images.yaml")
    processors = {int(memory): one["Cpu"] for memory, one in stack["Mappings"]["Task"].items()}

    assert list(processors) == stack["Parameters"]["TaskMemoryMb"]["AllowedValues"]
    assert [memory for memory, processor in processors.items() if memory not in FARGATE[processor]] == []
    assert stack["Resources"]["ProcessLargeImageTask"]["Properties"]["Cpu"] == {
        "Fn::FindInMap": ["Task", {"Ref": "TaskMemoryMb"}, "Cpu"]
    }


def test_an_older_stack_s_policy_can_be_deleted_without_that_of_the_task() -> None:
    policy = TEMPLATE["Resources"]["HandOverLargeImages"]["Properties"]

    # CloudFormation makes the new one first, and deletes the old one, of the same role, by its name.
    assert policy["Roles"] == [{"Ref": "IngestImageRole"}]
    assert policy["PolicyName"] != "hand-over-large-images"


@pytest.mark.parametrize(("memory", "scripts"), [(4096, 3494), (8192, 7789), (16384, 16379), (30720, 31412)])
def test_the_task_leaves_all_of_its_memory_but_800_megabytes_to_the_scripts(memory: int, scripts: int) -> None:
    assert Task(memory).script_memory_mb == scripts


def test_a_task_at_work_does_not_count_as_lost() -> None:
    assert timedelta(seconds=ordering.TASK_SCRIPT_SECONDS + 240) <= reconciliation.PATIENCE


def test_an_order_is_good_for_longer_than_whoever_carries_it_out_may_take() -> None:
    """For the function that is the whole workflow; a task has to start, and has its scripts' time."""
    assert WORKFLOW["TimeoutSeconds"] < ordering.ORDER_SECONDS
    assert ordering.TASK_ORDER_SECONDS > ordering.TASK_SCRIPT_SECONDS + 900
    limit = _function("process_image")["Timeout"] - process_image.STORING_SECONDS
    assert limit <= ordering.SCRIPT_SECONDS


def test_the_timeouts_of_the_workflow_fit_into_each_other() -> None:
    """One state may use up its tries with calls that take all their time, or all three with calls of nine seconds."""
    limits, slowest = {}, {}
    for name in ("Open image", "Process image", "Close image"):
        of_time_outs = _retrier(name, "Sandbox.Timedout")
        limits[name] = _function(name.lower().replace(" ", "_"))["Timeout"]
        slowest[name] = limits[name] * (1 + of_time_outs["MaxAttempts"]) + sum(_delays(of_time_outs))
        assert f" {slowest[name]:.0f}" in of_time_outs["Comment"]
    of_faults = [_retrier(name, "States.ALL") for name in slowest]

    # What is left is for the item and the dead letter.
    for name in slowest:
        others = sum(limit for other, limit in limits.items() if other != name)
        assert slowest[name] + others + 20 < WORKFLOW["TimeoutSeconds"]
    quick = sum(9 * (1 + retrier["MaxAttempts"]) + sum(_delays(retrier)) for retrier in of_faults)
    assert quick + 20 < WORKFLOW["TimeoutSeconds"]
    assert timedelta(seconds=WORKFLOW["TimeoutSeconds"]) < reconciliation.PATIENCE, "what outlasts it is started again"


@pytest.mark.parametrize("name", FUNCTION_CALLS)
def test_an_image_in_flight_survives_a_hiccup_of_five_seconds(name: str) -> None:
    """Even if each pause is a third of what it may be: with full jitter it is anything up to that."""
    assert sum(_delays(_retrier(name, "States.ALL"))) / 3 > 5


def _retrier(name: str, error: str) -> dict[str, Any]:
    """By which a state tries again after an error: the first that names it, or all."""
    retriers: list[dict[str, Any]] = TASKS[name]["Retry"]
    return next(one for one in retriers if {error, "States.ALL"} & set(one["ErrorEquals"]))


def _delays(retrier: dict[str, Any]) -> list[float]:
    """The longest pause ahead of each further try, in seconds."""
    return [
        min(retrier["IntervalSeconds"] * retrier["BackoffRate"] ** attempt, retrier.get("MaxDelaySeconds", inf))
        for attempt in range(retrier["MaxAttempts"])
    ]


def test_the_workflow_takes_the_longest_answer() -> None:
    assert MAX_ANSWER_BYTES == 256 * 1024
    assert pipelines.load().limits.max_catalog_bytes + 40_000 < MAX_ANSWER_BYTES


def test_the_container_image_is_built_from_what_the_layers_are() -> None:
    dockerfile = (ROOT / "tasks/process_large_image/Dockerfile").read_text()
    sources = re.findall(r"^COPY (\S+) ", dockerfile, re.MULTILINE)

    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert {"layers/imagelake/imagelake", "layers/scripts/scripts", "tasks/process_large_image/app.py"} <= set(sources)
    layers = {str(path.relative_to(ROOT)) for path in ROOT.glob("layers/*/requirements.txt")}
    assert layers <= set(sources)
    assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE) == [TASK["ContainerDefinitions"][0]["User"]]
    assert re.findall(r"^VOLUME (\S+)", dockerfile, re.MULTILINE) == [
        mount["ContainerPath"] for mount in TASK["ContainerDefinitions"][0]["MountPoints"]
    ]


# Security and costs


@pytest.mark.parametrize("name", resources("AWS::S3::Bucket"))
def test_a_bucket_is_private_encrypted_and_expires_what_it_holds(name: str) -> None:
    bucket = TEMPLATE["Resources"][name]["Properties"]
    [encryption] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    rules = bucket["LifecycleConfiguration"]["Rules"]

    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] in ("AES256", "aws:kms")
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert {rule["Status"] for rule in rules} == {"Enabled"}
    assert any("ExpirationInDays" in rule for rule in rules)
    assert any("AbortIncompleteMultipartUpload" in rule for rule in rules)
    if "VersioningConfiguration" in bucket:
        assert any("NoncurrentVersionExpiration" in rule for rule in rules)


@pytest.mark.parametrize("name", ["RawBucket", "LakeBucket"])
def test_a_bucket_of_images_expires_them_after_the_retention(name: str) -> None:
    rules = TEMPLATE["Resources"][name]["Properties"]["LifecycleConfiguration"]["Rules"]

    assert [rule["ExpirationInDays"] for rule in rules if "ExpirationInDays" in rule] == [
        {"Ref": "RetentionDays"} for rule in rules if "ExpiredObjectDeleteMarker" not in rule
    ]


@pytest.mark.parametrize("name", resources("AWS::S3::Bucket"))
def test_a_bucket_takes_tls_only(name: str) -> None:
    policies = [policy["Properties"] for policy in resources("AWS::S3::BucketPolicy").values()]
    [policy] = [policy for policy in policies if policy["Bucket"] == {"Ref": name}]

    assert {
        "Sid": "DenyPlainHttp",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [{"Fn::GetAtt": [name, "Arn"]}, {"Fn::Sub": f"${{{name}.Arn}}/*"}],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    } in policy["PolicyDocument"]["Statement"]


@pytest.mark.parametrize("name", resources("AWS::SQS::Queue"))
def test_a_queue_is_encrypted_and_forgets_within_four_days(name: str) -> None:
    queue = TEMPLATE["Resources"][name]["Properties"]

    assert queue["SqsManagedSseEnabled"] is True
    assert queue["MessageRetentionPeriod"] <= 4 * 86_400


def test_the_images_table_keeps_nothing_behind_the_purge() -> None:
    table = TEMPLATE["Resources"]["ImagesTable"]["Properties"]

    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert "PointInTimeRecoverySpecification" not in table
    assert table["StreamSpecification"] == {"StreamViewType": "NEW_IMAGE"}


def test_the_api_lets_nobody_in_without_a_token() -> None:
    [rest_api] = resources("AWS::Serverless::Api").values()
    auth = rest_api["Properties"]["Auth"]

    assert auth["DefaultAuthorizer"] in auth["Authorizers"]
    for folder in FUNCTION_FOLDERS:
        for source in _function(folder).get("Events", {}).values():
            assert "Auth" not in source["Properties"]


COSTS_WHILE_IDLE = (
    "AWS::EC2::", "AWS::ECS::", "AWS::ElasticLoadBalancing", "AWS::KMS::Key", "AWS::Kinesis::", "AWS::MSK::",
    "AWS::RDS::", "AWS::Redshift", "AWS::SecretsManager::", "AWS::WAFv2::",
)  # fmt: skip


def test_the_default_profile_has_nothing_that_costs_while_idle() -> None:
    unconditional = {name: one for name, one in TEMPLATE["Resources"].items() if "Condition" not in one}
    told = [TEMPLATE["Globals"]["Function"], *(one.get("Properties", {}) for one in unconditional.values())]

    assert [name for name, one in unconditional.items() if one["Type"].startswith(COSTS_WHILE_IDLE)] == []
    for setting in ("ProvisionedConcurrencyConfig", "ProvisionedThroughput", "CacheClusterEnabled"):
        assert [one for one in told if setting in one] == []
    assert {table["Properties"]["BillingMode"] for table in resources("AWS::DynamoDB::Table").values()} == {
        "PAY_PER_REQUEST"
    }


# Stacks

BESIDE = [*ROOT.glob("infra/*.yaml"), *ROOT.glob("examples/events/*.yaml")]
TEMPLATES = [ROOT / "template.yaml", *STACKS, *sorted(BESIDE)]
NESTED = {name: one for name, one in read(ROOT / "template.yaml")["Resources"].items() if "TemplateURL" in str(one)}
OPTIONAL = {"Network", "Kafka", "LargeImages", "Redshift", "QuickSight", "Governance"}
ROOT_LINES = 1000


def test_the_root_can_be_read() -> None:
    assert len((ROOT / "template.yaml").read_text(encoding="utf-8").splitlines()) < ROOT_LINES


def test_every_nested_stack_is_in_the_root_and_the_optional_ones_have_one_condition() -> None:
    urls = {str(path.relative_to(ROOT)) for path in STACKS} | {"analytics/template.yaml", "dashboards/template.yaml"}
    conditions = {name: one.get("Condition") for name, one in NESTED.items()}

    assert {one["Properties"]["TemplateURL"] for one in NESTED.values()} == urls
    assert {name for name, condition in conditions.items() if condition} == OPTIONAL
    assert len({conditions[name] for name in OPTIONAL}) == len(OPTIONAL)


@pytest.mark.parametrize("name", NESTED)
def test_a_parameter_of_a_nested_stack_is_passed_or_has_a_default(name: str) -> None:
    wanted = read(ROOT / NESTED[name]["Properties"]["TemplateURL"])["Parameters"]
    passed = NESTED[name]["Properties"]["Parameters"].keys()

    assert passed == {parameter for parameter, one in wanted.items() if "Default" not in one}


def test_no_bucket_is_deeper_than_the_commands_look_that_empty_them() -> None:
    nested = [ROOT / one["Properties"]["TemplateURL"] for one in NESTED.values()]
    deeper = [
        path.parent / one["Properties"]["TemplateURL"]
        for path in nested
        for one in read(path)["Resources"].values()
        if one["Type"] == "AWS::CloudFormation::Stack"
    ]

    assert deeper
    assert "AWS::S3::Bucket" not in {one["Type"] for path in deeper for one in read(path)["Resources"].values()}


def test_operators_can_read_what_a_dead_letter_of_the_template_means() -> None:
    reasons = set(re.findall(r'"reason": "(\w+):', (ROOT / "stacks/kafka.yaml").read_text(encoding="utf-8")))
    described = set(re.findall(r"`code: (\w+)`", (ROOT / "docs/operations.md").read_text(encoding="utf-8")))

    assert reasons
    assert reasons <= described


def test_every_way_to_deploy_allows_roles_and_nested_stacks_with_functions() -> None:
    environments = tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
    deploys = [
        one["deploy"]["parameters"] for one in environments.values() if isinstance(one, dict) and "deploy" in one
    ]

    assert [one["capabilities"] for one in deploys] == ["CAPABILITY_IAM CAPABILITY_AUTO_EXPAND"] * 3


def test_logical_ids_are_unique() -> None:
    ids = [name for path in TEMPLATES[: 1 + len(STACKS)] for name in read(path)["Resources"]]

    assert sorted(ids) == sorted(set(ids))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_has_nothing_that_is_not_used(path: Path) -> None:
    template = read(path)
    body = {name: one for name, one in template.items() if name != "Parameters"}
    text = json.dumps(body)
    referred = set(re.findall(r'"Ref": "(\w+)"', text)) | set(re.findall(r"\$\{(\w+)[.}]", text))
    tested = set(re.findall(r'"Condition": "(\w+)"', text)) | set(re.findall(r'"Fn::If": \["(\w+)"', text))

    assert set(template["Parameters"]) - referred == set()
    assert set(template.get("Conditions", {})) - tested == set()
    assert set(template.get("Mappings", {})) == set(re.findall(r'"Fn::FindInMap": \["(\w+)"', text))


@pytest.mark.parametrize("path", STACKS, ids=lambda path: path.name)
def test_a_nested_stack_has_no_output_that_is_not_used_and_no_name_of_its_own(path: Path) -> None:
    [name] = [name for name, one in NESTED.items() if one["Properties"]["TemplateURL"] == f"stacks/{path.name}"]
    root = json.dumps(read(ROOT / "template.yaml"))
    used = set(re.findall(rf'"{name}", "Outputs\.(\w+)"', root))
    if name == "Governance":  # the command line reads them
        roles = [one.role for one in grants.read(ROOT / grants.FILE).grants if one.role]
        used |= {f"{role}{part}" for role in roles for part in ("Arn", "WorkGroup")}

    assert set(read(path).get("Outputs", {})) == used
    assert "AWS::StackName" not in path.read_text(encoding="utf-8"), "LakeName is what names are made of"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_what_starts_by_itself_has_its_permissions_in_its_role(path: Path) -> None:
    template = read(path)["Resources"].values()
    beside = [role for one in template if one["Type"] == "AWS::IAM::Policy" for role in one["Properties"]["Roles"]]
    roles = [one["Properties"]["Role"]["Fn::GetAtt"][0] for one in template if "Events" in one.get("Properties", {})]

    # CloudFormation would not wait for a policy beside the role before it makes the schedule.
    assert [role for role in roles if {"Ref": role} in beside] == []


def test_the_purge_may_start_executions_of_itself() -> None:
    name = TEMPLATE["Resources"]["EnforceRetentionStateMachine"]["Properties"]["Name"]["Fn::Sub"]
    [policy] = TEMPLATE["Resources"]["EnforceRetentionStateMachineRole"]["Properties"]["Policies"]
    fan_out = {one["Sid"]: one["Resource"] for one in policy["PolicyDocument"]["Statement"]}

    account = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}"
    assert fan_out["FanOut"] == {"Fn::Sub": f"{account}:stateMachine:{name}"}
    assert fan_out["FollowFanOut"] == {"Fn::Sub": f"{account}:execution:{name}/*"}


def test_every_function_says_what_it_answers_to_its_sample() -> None:
    assert set(EXPECTED) == set(FUNCTION_FOLDERS)


# The stores


def test_nothing_takes_a_client_of_aws_out_of_the_stores() -> None:
    package = ROOT / "layers" / "imagelake" / "imagelake"
    files = [*package.rglob("*.py"), *(ROOT / "functions").rglob("*.py"), *(ROOT / "tasks").rglob("*.py")]
    clients = {
        f"imagelake.stores.{store.stem}.{name}"
        for store in (package / "stores").glob("[!_]*.py")
        for name, value in vars(importlib.import_module(f"imagelake.stores.{store.stem}")).items()
        if hasattr(value, "cache_clear")
    }
    taken = {str(file.relative_to(ROOT)): clients & _taken(file) for file in files if file.parent.name != "stores"}

    assert {"imagelake.stores.buckets.s3_client", "imagelake.stores.dead_letters._sqs"} <= clients
    assert {file: names for file, names in taken.items() if names} == {}


def _taken(file: Path) -> set[str]:
    """What a module imports by name, and what it takes from the modules that it imports."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    imported = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    attributes = {
        f"{imported[node.value.id]}.{node.attr}"
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in imported
    }
    return attributes | set(imported.values())


# Dead letters

REASONS = {
    "plain": "truncated: the decoder gave up: OSError",
    "not_ascii": "script_error: größe: Ошибка in line 3 — 😀",
    "control": "fault: one\nline\t\x00\x1b[31m and \x7f\x85",
    "quoted": "fault: not a raw image key: 'raw/\"a\\b/c\"' \\u00e9",
    "unsendable": "fault: \ufffe and \uffff",
    "long": "fault: " + "😀é\x01" * 100_000,
}
UNCARRIED = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What SQS refuses in a message."""
LETTER: dict[str, Any] = {
    "version": "1",
    "image_id": "an-id",
    "status": "failed",
    "code": "fault",
    "bucket": "raw",
    "key": "raw/ключ \uffff",
    "object_version": "a-version",
    "step": "Open image",
    "attempts": 6,
    "first_at": "2026-11-22T09:30:16.000Z",
    "execution": "arn:é",
}


def _from_python(letter: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    sqs = MagicMock()
    monkeypatch.setattr(dead_letters, "_sqs", lambda: sqs)
    DeadLetterQueue("queue").report(DeadLetter.model_validate(letter | {"last_at": datetime.now(UTC)}))
    body: str = sqs.send_message.call_args.kwargs["MessageBody"]
    return body


def _from_workflow(letter: dict[str, Any]) -> str:
    expression = WORKFLOW["States"]["Report to dead-letter queue"]["Arguments"]["MessageBody"]
    execution = {"context": {"Execution": {"Id": letter["execution"], "StartTime": letter["first_at"]}}}
    given = letter | {"states": execution, "version_id": letter["object_version"]}
    body: str = evaluate(expression, given, {"RawBucketName": letter["bucket"]})
    return body


@pytest.mark.parametrize("reason", REASONS.values(), ids=REASONS)
def test_a_dead_letter_is_the_same_message_from_python_and_from_the_workflow(
    reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    letter = LETTER | {"reason": reason.replace("truncated", "fault").replace("script_error", "lost")}
    letter["code"] = reason = letter["reason"].partition(":")[0]
    reason = letter["reason"]

    sent = [_from_python(letter, monkeypatch), _from_workflow(letter)]

    for body in sent:
        told = json.loads(body)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told.pop("last_at"))
        assert _without_unsendable(told) == _without_unsendable(letter | {"reason": reason[:MAX_REASON]})
        assert UNCARRIED.search(body) is None
        assert len(body.encode()) < 262_144
        DeadLetter.model_validate_json(body)


def _without_unsendable(letter: dict[str, Any]) -> dict[str, str]:
    """SQS takes them escaped only, as not every writer of JSON does it."""
    return {name: re.sub("[\ufffe\uffff]", "?", str(value)) for name, value in letter.items()}


def test_the_workflow_sends_every_field_of_a_dead_letter_that_it_can_know() -> None:
    sent = json.loads(_from_workflow(LETTER | {"reason": "fault: of a test"}))
    unknown = _from_workflow(LETTER | {"reason": "fault: of a test", "attempts": None, "object_version": None})

    assert sent.keys() == DeadLetter.model_fields.keys() - {"kept_at"}
    assert DeadLetter.model_validate_json(unknown).attempts is None


def test_what_lambda_gives_up_of_kafka_is_a_dead_letter_too() -> None:
    [target] = TEMPLATE["Resources"]["RecordsGivenUpRule"]["Properties"]["Targets"]
    template = target["InputTransformer"]["InputTemplate"].replace("<time>", '"2026-11-22T09:30:16Z"')

    letter = DeadLetter.model_validate_json(template)

    assert (letter.code, letter.image_id, letter.kept_at) == (FaultCode.GIVEN_UP, None, "s3://<bucket>/<key>")


def test_every_fault_says_the_step_that_failed_and_how_often_it_was_tried() -> None:
    for state in TASKS.values():
        for catcher in state.get("Catch", ()):
            if "reason" in catcher.get("Assign", {}):
                assert catcher["Assign"]["step"] == "{% $states.context.State.Name %}"
                assert catcher["Assign"]["attempts"] == "{% $states.context.State.RetryCount + 1 %}"


def test_a_code_is_what_the_reason_begins_with() -> None:
    assert [FaultCode.of(f"{code}: x") for code in FaultCode] == list(FaultCode)
    assert FaultCode.of("odd: x") is FaultCode.FAULT
    described = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    assert [code for code in FaultCode if f"`{code}`" not in described] == []


def test_a_letter_whose_text_is_no_unicode_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    letter = LETTER | {"reason": "fault: half a character: \ud83d"}

    assert json.loads(_from_python(letter, monkeypatch))["reason"] == "fault: half a character: ?"


RAISED = [catcher for state in TASKS.values() for catcher in state.get("Catch", ()) if "errorMessage" in str(catcher)]


@pytest.mark.parametrize("catcher", RAISED)
@pytest.mark.parametrize("is_ascii", [True, False])
@pytest.mark.parametrize("message", REASONS.values(), ids=REASONS)
def test_what_a_function_raised_reaches_the_reason_as_it_was(
    message: str, is_ascii: bool, catcher: dict[str, Any]
) -> None:
    payload = json.dumps({"errorMessage": message, "errorType": "Fault"}, ensure_ascii=is_ascii)
    for cause in (payload, f"The cause could not be determined. Returned payload: {payload}"):
        error = {"errorOutput": {"Error": "Fault", "Cause": cause}}

        reason = evaluate(catcher["Assign"]["reason"], {"states": error})

        told = reason.removeprefix("fault: ")
        assert message.startswith(told)
        assert len(told) >= min(len(message), 600)
        assert len(reason) <= MAX_REASON


@pytest.mark.parametrize("catcher", RAISED)
@pytest.mark.parametrize("damaged", ["", "on\ntwo lines", "an \\x escape", "half an escape \\u00", "a backslash\\"])
def test_a_message_that_is_no_json_is_cut_and_breaks_no_state(damaged: str, catcher: dict[str, Any]) -> None:
    error = {"errorOutput": {"Error": "Fault", "Cause": '{"errorMessage": "' + damaged}}

    told = evaluate(catcher["Assign"]["reason"], {"states": error}).removeprefix("fault: ")

    assert told == re.split(r"[\\\n]", damaged)[0]
