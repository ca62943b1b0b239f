"""docs/retention.md says what the template does, and nothing that can keep data is missing from it."""

import ast
import copy
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from samcli.yamlhelper import yaml_parse

from tests.application import ROOT, TEMPLATE, complaints, resources

TEXT = (ROOT / "docs/retention.md").read_text(encoding="utf-8")
REGISTER = TEXT.partition("## The register\n")[2].partition("\n## ")[0]
TABLE = [line for line in REGISTER.splitlines() if line.startswith("| ")][1:]
PROPERTIES = re.findall(r"`(\w+)\.([\w.]+)` = `([^`]+)`", TEXT)

KEEPS_NOTHING = {
    "AWS::ApiGateway::GatewayResponse", "AWS::Athena::NamedQuery", "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::CompositeAlarm", "AWS::CloudWatch::Dashboard", "AWS::Logs::QueryDefinition", "AWS::Events::Rule",
    "AWS::Cognito::UserPool", "AWS::Cognito::UserPoolClient", "AWS::Cognito::UserPoolGroup", "AWS::Glue::Database",
    "AWS::IAM::Role", "AWS::Lambda::EventSourceMapping", "AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy",
    "AWS::SNS::Topic", "AWS::SNS::TopicPolicy", "AWS::Serverless::Api", "AWS::Serverless::Function",
    "AWS::Serverless::LayerVersion", "AWS::KMS::Key", "AWS::KMS::Alias", "AWS::IAM::Policy",
    "AWS::EC2::VPC", "AWS::EC2::Subnet", "AWS::EC2::RouteTable", "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::EC2::VPCEndpoint", "AWS::EC2::SecurityGroup",
    "AWS::Route53Resolver::FirewallDomainList", "AWS::Route53Resolver::FirewallRuleGroup",
    "AWS::Route53Resolver::FirewallRuleGroupAssociation",
    "AWS::ECR::Repository", "AWS::ECS::Cluster", "AWS::ECS::TaskDefinition",
    "AWS::LakeFormation::PrincipalPermissions", "Custom::RedshiftCatalog", "Custom::RehearsedRelease",
    "AWS::QuickSight::Analysis", "AWS::QuickSight::Dashboard", "AWS::QuickSight::DataSource",
    "AWS::CodeDeploy::DeploymentConfig", "AWS::LakeFormation::Resource", "AWS::LakeFormation::Tag",
    "AWS::LakeFormation::TagAssociation", "AWS::LakeFormation::DataCellsFilter",
}  # fmt: skip
"""Types that hold no image, no row and no name of one; functions have their lines for logs and `/tmp`."""


PLACES = (
    "versions", "markers", "multipart", "stream", "point-in-time", "queue", "event bus", "failed-records", "logs",
    "traces", "history", "athena results", "query history", "spice", "redshift", "kafka topic", "memory of functions",
    "replica", "record of tasks",
)  # fmt: skip


HOLDS_MORE = {
    "AWS::S3::Bucket": (
        *("ReplicationConfiguration", "LoggingConfiguration", "InventoryConfigurations"),
        *("AnalyticsConfigurations", "MetadataConfiguration", "MetadataTableConfiguration"),
    ),
    "AWS::DynamoDB::Table": (
        *("PointInTimeRecoverySpecification", "KinesisStreamSpecification", "ContributorInsightsSpecification"),
    ),
    "AWS::Serverless::Function": ("Tracing", "FileSystemConfigs"),
    "AWS::Serverless::StateMachine": ("Tracing",),
    "AWS::Events::EventBus": ("LogConfig",),
    "AWS::Serverless::Api": ("AccessLogSetting", "TracingEnabled", "CacheClusterEnabled"),
}
"""Properties that make a resource keep something in a place that the register does not have."""
REFUSED = [(kind, name) for kind, names in HOLDS_MORE.items() for name in names]


def departures(template: dict[str, Any]) -> set[str]:
    """Where a template is not what the register says."""
    resources = template["Resources"].items()
    found = {f"{resource}.{path}" for resource, path, value in PROPERTIES if not _is(template, resource, path, value)}
    found |= {f"{name} is in no row" for name in _storing(template) if name not in NAMED}
    for name, one in resources:
        properties = one.get("Properties", {})
        found |= {f"{one['Type']}.{held}" for held in HOLDS_MORE.get(one["Type"], ()) if held in properties}
        if one["Type"] == "AWS::Logs::LogGroup" and properties.get("RetentionInDays") != {"Ref": "LogRetentionDays"}:
            found.add(f"{name}.RetentionInDays")
        if one["Type"] == "AWS::QuickSight::DataSet" and properties["ImportMode"] != "DIRECT_QUERY":
            found.add("AWS::QuickSight::DataSet.ImportMode")
        if any(volume.keys() - {"Name"} for volume in properties.get("Volumes", ())):
            found.add(f"{name}.Volumes")
    defaults = template["Globals"]["Function"]
    return found | {
        f"AWS::Serverless::Function.{name}" for name in HOLDS_MORE["AWS::Serverless::Function"] if name in defaults
    }


NAMED = {resource for resource, _, _ in PROPERTIES} | {"IngestImageLogGroup"}


def _is(template: dict[str, Any], resource: str, path: str, value: str) -> bool:
    found: Any = template["Resources"][resource]["Properties"]
    for step in path.split("."):
        found = found[int(step)] if isinstance(found, list) else found[step]
    if value in ("RetentionDays", "AWS::StackName"):
        return bool(found == {"Ref": value})
    return str(found).removesuffix(".0") in (value, value.capitalize())


def _change(template: dict[str, Any], resource: str, path: str) -> None:
    found: Any = template["Resources"][resource]["Properties"]
    *way, last = (int(step) if step.isdecimal() else step for step in path.split("."))
    for step in way:
        found = found[step]
    found[last] = "something else"


def _storing(template: dict[str, Any]) -> Iterator[str]:
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::CloudFormation::Stack":
            # The generated ones are named from the root, or from a stack beside them.
            url = resource["Properties"]["TemplateURL"].removeprefix("../")
            yield from _storing(yaml_parse((ROOT / url).read_text(encoding="utf-8")))
        elif resource["Type"] not in KEEPS_NOTHING | {"AWS::Logs::LogGroup"} and not _holds_no_rows(resource):
            yield name


def _holds_no_rows(resource: dict[str, Any]) -> bool:
    """Whether it is a view, or a data set that asks each time."""
    properties = resource["Properties"]
    is_view = properties.get("TableInput", {}).get("TableType") == "VIRTUAL_VIEW"
    return bool(is_view or properties.get("ImportMode") == "DIRECT_QUERY")


def test_the_register_and_the_template_agree() -> None:
    assert departures(TEMPLATE) == set()


@pytest.mark.parametrize(("resource", "path"), [(resource, path) for resource, path, _ in PROPERTIES])
def test_a_property_that_changes_is_noticed(resource: str, path: str) -> None:
    template = copy.deepcopy(TEMPLATE)
    _change(template, resource, path)

    assert departures(template) == {f"{resource}.{path}"}


@pytest.mark.parametrize(("kind", "name"), REFUSED)
def test_a_property_that_holds_more_is_noticed(kind: str, name: str) -> None:
    template = copy.deepcopy(TEMPLATE)
    first = next(one for one in template["Resources"].values() if one["Type"] == kind)
    first["Properties"][name] = {}

    assert departures(template) == {f"{kind}.{name}"}


@pytest.mark.parametrize("kind", ["AWS::S3::Bucket", "AWS::Events::Archive", "AWS::EFS::FileSystem", "Our::Own::Kind"])
def test_a_place_that_is_in_no_row_is_noticed(kind: str) -> None:
    template = copy.deepcopy(TEMPLATE)
    template["Resources"]["Attic"] = {"Type": kind, "Properties": {}}

    assert departures(template) == {"Attic is in no row"}


def test_a_log_group_a_data_set_a_volume_and_a_default_that_keep_more_are_noticed() -> None:
    template = copy.deepcopy(TEMPLATE)
    template["Resources"]["ProcessImageLogGroup"]["Properties"]["RetentionInDays"] = 90
    template["Resources"]["ProcessLargeImageTask"]["Properties"]["Volumes"] = [
        {"Name": "a", "EFSVolumeConfiguration": {}}
    ]
    template["Resources"]["Spice"] = {"Type": "AWS::QuickSight::DataSet", "Properties": {"ImportMode": "SPICE"}}
    template["Globals"]["Function"]["Tracing"] = "Active"

    assert departures(template) == {
        "ProcessImageLogGroup.RetentionInDays",
        "ProcessLargeImageTask.Volumes",
        "Spice is in no row",
        "AWS::QuickSight::DataSet.ImportMode",
        "AWS::Serverless::Function.Tracing",
    }


def test_every_data_set_of_quicksight_asks_each_time() -> None:
    template = yaml_parse((ROOT / "analytics/dashboard/template.yaml").read_text(encoding="utf-8"))
    data_sets = [one for one in template["Resources"].values() if one["Type"] == "AWS::QuickSight::DataSet"]

    assert {one["Properties"]["ImportMode"] for one in data_sets} == {"DIRECT_QUERY"}


def test_kafka_keeps_records_for_a_day() -> None:
    assert "log.retention.hours=24" in (ROOT / "infra/msk_cluster.yaml").read_text(encoding="utf-8")


def test_the_register_has_a_line_for_every_kind_of_place() -> None:
    lines = " ".join(line.split("|")[1].lower() for line in TABLE)

    for place in PLACES:
        assert place in lines


# Violations


PLANTS = ast.parse((ROOT / "tests/integration/plants.py").read_text(encoding="utf-8")).body
IN_LAKES = {one.name for one in PLANTS if isinstance(one, ast.FunctionDef) and one.decorator_list}
"""The violations that tests plant in a lake, each with what the audit has to find."""
IN_TEMPLATES = {
    *(f"{kind}.{name}" for kind, name in REFUSED),
    *(f"{resource}.{path}" for resource, path, _ in PROPERTIES),
    "AWS::QuickSight::DataSet.ImportMode",
    "log.retention.hours=24",
}
"""Those that the tests above plant in the template, or look for in it."""


def unplanted(table: list[str]) -> set[str]:
    """The rows of a register without a violation of their own that a test plants."""
    planted = [(row[1].strip(), re.findall(r"`([^`]+)`", row[6])) for row in (line.split("|") for line in table)]
    rows = Counter(name for _, names in planted for name in set(names))
    return {
        place
        for place, names in planted
        if not names or any(name not in IN_LAKES | IN_TEMPLATES or rows[name] > 1 for name in names)
    }


def test_every_row_has_a_violation_of_its_own() -> None:
    assert unplanted(TABLE) == set()
    assert len({line.split("|")[1] for line in TABLE}) == len(TABLE)


@pytest.mark.parametrize("number", range(len(TABLE)))
@pytest.mark.parametrize("violation", ["", "`nobody_plants_this`"])
def test_a_row_whose_violation_nobody_plants_is_noticed(number: int, violation: str) -> None:
    columns = TABLE[number].split("|")
    table = [*TABLE[:number], "|".join([*columns[:6], violation, *columns[7:]]), *TABLE[number + 1 :]]

    assert unplanted(table) == {columns[1].strip()}


def test_two_rows_that_share_a_violation_are_noticed() -> None:
    second = "| Attic | rows | 0 | nobody | — | `an_overdue_image` |"

    assert unplanted([*TABLE, second]) == {"Raw bucket, current objects", "Attic"}


# Workflow


WHERE_IT_RESTS = {
    "lambda:invoke": "`/tmp` and memory of functions, and of tasks for large images",
    "dynamodb:putItem": "Images table",
    "dynamodb:updateItem": "Images table",
    "dynamodb:getItem": "Images table",
    "sqs:sendMessage": "Dead-letter queue",
    "ecs:runTask": "Record of tasks for large images",
}
"""The row of the place that an integration of the workflows hands data to."""


def handed_to(workflow: dict[str, Any]) -> set[str]:
    """The places that a workflow hands data to; an integration that has no row stands for itself."""
    found = set()
    for state in workflow["States"].values():
        for inner in (state.get("ItemProcessor"), *state.get("Branches", ())):
            found |= handed_to(inner) if inner else set()
        if state["Type"] == "Task":
            integration = state["Resource"].partition(":states:::")[2].partition(".")[0]
            found.add(WHERE_IT_RESTS.get(integration, state["Resource"]))
    return found


WORKFLOWS = sorted((ROOT / "statemachine").glob("*.asl.json"))
ROWS = {line.split("|")[1].strip() for line in TABLE}


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_whatever_a_workflow_hands_data_to_has_its_row(file: Path) -> None:
    assert handed_to(json.loads(file.read_text(encoding="utf-8"))) <= ROWS


def test_the_workflows_use_every_integration_that_has_a_row() -> None:
    found = set().union(*(handed_to(json.loads(file.read_text(encoding="utf-8"))) for file in WORKFLOWS))

    assert found == set(WHERE_IT_RESTS.values())


def test_a_workflow_that_hands_data_to_another_place_is_noticed() -> None:
    elsewhere = "arn:aws:states:::firehose:putRecord"
    inner = {"States": {"Copy": {"Type": "Task", "Resource": elsewhere}}}

    assert handed_to(inner) == {elsewhere}
    assert handed_to({"States": {"Each": {"Type": "Map", "ItemProcessor": inner}}}) == {elsewhere}
    assert handed_to({"States": {"Both": {"Type": "Parallel", "Branches": [inner]}}}) == {elsewhere}


# Deploy-time rules


@pytest.mark.parametrize("log_days", TEMPLATE["Parameters"]["LogRetentionDays"]["AllowedValues"])
def test_logs_outlive_images_in_no_stack_that_deploys(log_days: int) -> None:
    limits = TEMPLATE["Parameters"]["RetentionDays"]
    for days in range(limits["MinValue"], limits["MaxValue"] + 1):
        refused = complaints(RetentionDays=str(days), LogRetentionDays=str(log_days))
        assert bool(refused) == (log_days + 3 > days)


def test_dead_letters_and_failed_records_are_gone_before_the_shortest_retention() -> None:
    shortest = TEMPLATE["Parameters"]["RetentionDays"]["MinValue"]
    queues = [one["Properties"]["MessageRetentionPeriod"] / 86400 for one in resources("AWS::SQS::Queue").values()]
    [rule] = TEMPLATE["Resources"]["FailedRecordsBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]

    assert max(queues) + 1 <= shortest
    assert rule["ExpirationInDays"] + 2 <= shortest
    assert "VersioningConfiguration" not in TEMPLATE["Resources"]["FailedRecordsBucket"]["Properties"]


def test_the_alarm_of_the_oldest_image_follows_the_retention() -> None:
    alarm = TEMPLATE["Resources"]["OldestObjectAgeAlarm"]["Properties"]
    age, overdue = alarm["Metrics"]

    assert age["MetricStat"]["Metric"]["MetricName"] == "OldestObjectAgeHours"
    assert (age["Id"], age["ReturnData"], age["MetricStat"]["Stat"]) == ("age", False, "Maximum")
    assert overdue["Expression"] == {"Fn::Sub": "age - 24 * ${RetentionDays} - 2"}
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (0, "GreaterThanThreshold")


def test_silence_is_an_alarm() -> None:
    alarms = resources("AWS::CloudWatch::Alarm")
    watched = {
        name
        for alarm in alarms.values()
        for name in _metrics(alarm["Properties"])
        if alarm["Properties"].get("TreatMissingData") == "breaching"
    }

    assert watched >= {"OverdueObjects", "OldestObjectAgeHours", "EarlyDeletions", "ExecutionsSucceeded"}


def _metrics(alarm: dict[str, Any]) -> list[str]:
    return (
        [alarm["MetricName"]]
        if "MetricName" in alarm
        else [one["MetricStat"]["Metric"]["MetricName"] for one in alarm["Metrics"] if "MetricStat" in one]
    )


def test_every_alarm_tells_topic_and_address_of_its_beginning_and_its_end() -> None:
    tells = [
        {"Fn::If": ["TellsTopic", {"Ref": "AlarmRecipient"}, {"Ref": "AWS::NoValue"}]},
        {"Fn::If": ["TellsEmail", {"Ref": "AlarmTopic"}, {"Ref": "AWS::NoValue"}]},
    ]

    for name, alarm in resources("AWS::CloudWatch::Alarm").items():
        if name.startswith("NewVersion"):  # CloudFormation looks at them while it shifts a release
            assert not alarm["Properties"].keys() & {"AlarmActions", "OKActions"}
            continue
        assert alarm["Properties"]["AlarmActions"] == alarm["Properties"]["OKActions"] == tells, name


def test_the_evidence_is_locked() -> None:
    bucket = TEMPLATE["Resources"]["AuditBucket"]["Properties"]

    assert bucket["ObjectLockEnabled"] is True
    assert bucket["ObjectLockConfiguration"]["Rule"]["DefaultRetention"] == {
        "Mode": "GOVERNANCE",
        "Days": {"Ref": "EvidenceDays"},
    }
