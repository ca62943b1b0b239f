"""docs/retention.md says what the template does, and nothing that can keep data is missing from it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from samcli.yamlhelper import yaml_parse

from tests.application import ROOT, TEMPLATE, complaints, resources

TEXT = (ROOT / "docs/retention.md").read_text(encoding="utf-8")
TABLE = [line for line in TEXT.splitlines() if line.startswith("| ")][1:]
PROPERTIES = re.findall(r"`(\w+)\.([\w.]+)` = `([^`]+)`", TEXT)

KEEPS_NOTHING = {
    "AWS::ApiGateway::GatewayResponse", "AWS::Athena::NamedQuery", "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::Dashboard", "AWS::Events::Rule",
    "AWS::Cognito::UserPool", "AWS::Cognito::UserPoolClient", "AWS::Cognito::UserPoolGroup", "AWS::Glue::Database",
    "AWS::IAM::Role", "AWS::Lambda::EventSourceMapping", "AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy",
    "AWS::SNS::Topic", "AWS::SNS::TopicPolicy", "AWS::Serverless::Api", "AWS::Serverless::Function",
    "AWS::Serverless::LayerVersion", "AWS::KMS::Key", "AWS::KMS::Alias", "AWS::IAM::Policy",
    "AWS::EC2::VPC", "AWS::EC2::Subnet", "AWS::EC2::RouteTable", "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::EC2::VPCEndpoint", "AWS::EC2::SecurityGroup",
    "AWS::Route53Resolver::FirewallDomainList", "AWS::Route53Resolver::FirewallRuleGroup",
    "AWS::Route53Resolver::FirewallRuleGroupAssociation",
    "AWS::ECR::Repository", "AWS::ECS::Cluster", "AWS::ECS::TaskDefinition",
    "AWS::LakeFormation::PrincipalPermissions", "Custom::RedshiftCatalog",
    "AWS::QuickSight::Analysis", "AWS::QuickSight::Dashboard", "AWS::QuickSight::DataSource",
}  # fmt: skip
"""Types that hold no image, no row and no name of one; functions have their lines for logs and `/tmp`."""


PLACES = (
    "versions", "markers", "multipart", "stream", "point-in-time", "queue", "failed-records", "logs", "traces",
    "history", "athena results", "query history", "spice", "redshift", "kafka topic", "memory of functions", "replica",
    "record of tasks",
)  # fmt: skip


@pytest.mark.parametrize(("resource", "path", "value"), PROPERTIES)
def test_a_property_in_the_register_is_as_in_the_template(resource: str, path: str, value: str) -> None:
    found: Any = TEMPLATE["Resources"][resource]["Properties"]
    for step in path.split("."):
        found = found[int(step)] if isinstance(found, list) else found[step]

    assert (
        found == {"Ref": "RetentionDays"}
        if value == "RetentionDays"
        else str(found).removesuffix(".0")
        in (
            value,
            value.capitalize(),
        )
    )


def test_every_store_of_the_template_is_in_the_register() -> None:
    named = {resource for resource, _, _ in PROPERTIES} | {"IngestImageLogGroup"}

    assert set(_storing(TEMPLATE)) <= named


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


def test_every_log_group_keeps_what_the_register_says() -> None:
    groups = resources("AWS::Logs::LogGroup").values()

    assert {str(group["Properties"]["RetentionInDays"]) for group in groups} == {str({"Ref": "LogRetentionDays"})}


def test_there_is_no_recovery_and_no_tracing_that_would_keep_more() -> None:
    assert "PointInTimeRecoverySpecification" not in TEMPLATE["Resources"]["ImagesTable"]["Properties"]
    assert "Tracing" not in TEMPLATE["Globals"]["Function"]
    assert not any("Tracing" in one["Properties"] for one in resources("AWS::Serverless::Function").values())


def test_the_register_has_a_line_for_every_kind_of_place() -> None:
    lines = " ".join(line.split("|")[1].lower() for line in TABLE)

    for place in PLACES:
        assert place in lines


# Deploy-time rules


@pytest.mark.parametrize("log_days", TEMPLATE["Parameters"]["LogRetentionDays"]["AllowedValues"])
def test_logs_outlive_images_in_no_stack_that_deploys(log_days: int) -> None:
    limits = TEMPLATE["Parameters"]["RetentionDays"]
    for days in range(limits["MinValue"], limits["MaxValue"] + 1):
        refused = complaints(RetentionDays=str(days), LogRetentionDays=str(log_days))
        assert bool(refused) == (log_days + 3 > days)


def test_dead_letters_and_failed_records_are_gone_before_the_shortest_retention() -> None:
    shortest = TEMPLATE["Parameters"]["RetentionDays"]["MinValue"]
    queue = TEMPLATE["Resources"]["DeadLetterQueue"]["Properties"]["MessageRetentionPeriod"] / 86400
    [rule] = TEMPLATE["Resources"]["FailedRecordsBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]

    assert queue + 1 <= shortest
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


def test_every_alarm_tells_the_topic_of_its_beginning_and_its_end() -> None:
    tells = [{"Fn::If": ["HasAlarmTopic", {"Ref": "AlarmTopicArn"}, {"Ref": "AWS::NoValue"}]}]

    for name, alarm in resources("AWS::CloudWatch::Alarm").items():
        assert alarm["Properties"]["AlarmActions"] == alarm["Properties"]["OKActions"] == tells, name


def test_the_evidence_is_locked() -> None:
    bucket = TEMPLATE["Resources"]["AuditBucket"]["Properties"]

    assert bucket["ObjectLockEnabled"] is True
    assert bucket["ObjectLockConfiguration"]["Rule"]["DefaultRetention"] == {
        "Mode": "GOVERNANCE",
        "Days": {"Ref": "EvidenceDays"},
    }
