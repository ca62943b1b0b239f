"""`imagelake doctor --stack`: each check says what is missing and what to do; AWS is a stand-in here."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from imagelake_cli import connection
from imagelake_cli.diagnosis import OUTPUTS, Diagnosis
from imagelake_cli.kept_data import AuditReport, ReportError
from imagelake_cli.main import app
from imagelake_cli.rights import RIGHTS
from imagelake_cli.stack import Resource

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
ROLE = "arn:aws:sts::123456789012:assumed-role/operator/ana"
RESOURCES = [
    Resource("WriteCatalogFunction", "write", "AWS::Lambda::Function"),
    Resource("OverdueObjectsAlarm", "overdue-alarm", "AWS::CloudWatch::Alarm"),
    Resource("EveryDay", "every-day", "AWS::Scheduler::Schedule"),
    Resource("OpenImageLogGroup", "open", "AWS::Logs::LogGroup"),
]


def refuse(operation: str) -> Any:
    raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not yours"}}, operation)


class Aws:
    """Answers all operations that the checks ask for; a well lake, unless a test changes an answer."""

    def __init__(self) -> None:
        self.denied: set[str] = set()
        self.metrics: dict[str, float] = {}
        self.mapping = {"State": "Enabled", "LastProcessingResult": "OK"}
        self.answers: dict[str, Callable[..., Any]] = {
            "get_caller_identity": lambda **_: {"Arn": ROLE, "Account": "123456789012"},
            "get_role": lambda **_: {"Role": {"Arn": "arn:aws:iam::123456789012:role/path/operator"}},
            "simulate_principal_policy": self._simulate,
            "get_account_settings": lambda **_: {
                "AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 900}
            },
            "get_stage": lambda **_: {
                "methodSettings": {"*/*": {"throttlingRateLimit": 200.0, "throttlingBurstLimit": 400}}
            },
            "get_rest_api": lambda **_: {"name": "lake"},
            "get_queue_attributes": lambda **_: {"Attributes": {"ApproximateNumberOfMessages": "0"}},
            "get_metric_statistics": lambda MetricName, Statistics, **_: {  # noqa: N803  # boto3's names
                "Datapoints": [{Statistics[0]: self.metrics[MetricName]}] if MetricName in self.metrics else []
            },
            "describe_alarms": lambda **_: {"MetricAlarms": [], "CompositeAlarms": []},
            "list_event_source_mappings": lambda **_: {
                "EventSourceMappings": [
                    {"UUID": "u1", "FunctionArn": "arn:aws:lambda:us-east-1:1:function:write", **self.mapping},
                    {"UUID": "u2", "FunctionArn": "arn:aws:lambda:us-east-1:1:function:foreign", "State": "Disabled"},
                ]
            },
            "get_schedule": lambda **_: {"State": "ENABLED"},
            "list_resources": lambda: RESOURCES,
        }

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation not in self.answers:
            raise AttributeError(operation)
        return self.answers[operation]

    def get_paginator(self, operation: str) -> Any:
        return SimpleNamespace(paginate=lambda **asked: iter([self.answers[operation](**asked)]))

    def _simulate(self, PolicySourceArn: str, ActionNames: list[str], **_: Any) -> dict[str, Any]:  # noqa: N803
        assert PolicySourceArn == "arn:aws:iam::123456789012:role/path/operator"
        results = [
            {"EvalActionName": one, "EvalDecision": "implicitDeny" if one in self.denied else "allowed"}
            for one in ActionNames
        ]
        return {"EvaluationResults": results}


class Kept:
    """The reports of the audit."""

    found: AuditReport | None = AuditReport(
        as_of=NOW - timedelta(hours=3), retention_days=7, overdue=0, early=0, other=0, oldest_age_hours=1.0, places=[],
        findings=[],
    )  # fmt: skip

    def report(self, _now: datetime) -> AuditReport:
        if self.found is None:
            raise ReportError("There is no report")
        return self.found


@pytest.fixture
def aws() -> Aws:
    return Aws()


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def described() -> dict[str, Any]:
    values = dict.fromkeys(OUTPUTS, "x") | {
        "ApiUrl": "https://abc.execute-api.us-east-1.amazonaws.com/v1",
        "DeadLetterQueueUrl": "https://sqs.us-east-1.amazonaws.com/123456789012/letters",
    }
    return {
        "StackStatus": "UPDATE_COMPLETE",
        "Outputs": [{"OutputKey": name, "OutputValue": value} for name, value in values.items()],
        "Parameters": [{"ParameterKey": "AlarmRecipient", "ParameterValue": "arn:aws:sns:us-east-1:1:t"}],
    }


type Doctor = Callable[..., list[dict[str, str]]]


@pytest.fixture
def doctor(aws: Aws, kept: Kept, described: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Doctor:
    stack = SimpleNamespace(
        session=SimpleNamespace(region_name="us-east-1"), name="lake", endpoint_url=None,
        client=lambda _service: aws, resources=lambda: aws.list_resources(),
    )  # fmt: skip
    monkeypatch.setattr(connection, "diagnosis", lambda *_: Diagnosis(stack, described, lambda: kept, NOW))  # type: ignore[arg-type,return-value]  # as much of them as is asked

    def run(code: int = 3) -> list[dict[str, str]]:
        ended = CliRunner().invoke(app, ["doctor", "--stack", "lake", "--json"])
        assert ended.exit_code == code, ended.output
        return [json.loads(line) for line in ended.stdout.splitlines()]

    return run


def unwell(found: list[dict[str, str]]) -> list[tuple[str, str]]:
    assert all(one["to_do"] for one in found if one["state"] != "ok")
    return [(one["check"], one["state"]) for one in found if one["state"] != "ok"]


def test_a_well_lake_is_ok_in_all_and_ends_with_0(doctor: Doctor) -> None:
    found = doctor(code=0)

    assert unwell(found) == []
    assert [one["check"] for one in found if not one["check"].startswith("permissions of")] == [
        "stack", "outputs", "credentials", "lambda concurrency", "api throttle", "workflow throttle", "dead letters",
        "audit", "alarms", "event sources", "schedules",
    ]  # fmt: skip
    assert {one["check"].removeprefix("permissions of ") for one in found if "permissions" in one["check"]} == {
        right.command for right in RIGHTS
    }


def test_a_denied_action_is_named_with_its_command(doctor: Doctor, aws: Aws) -> None:
    aws.denied = {"sqs:DeleteMessage"}

    [found] = [one for one in doctor() if one["state"] != "ok"]

    assert (found["check"], found["said"]) == ("permissions of dead-letters", "sqs:DeleteMessage denied")
    assert found["to_do"] == "allow them on arn:aws:sqs:us-east-1:123456789012:letters"


def test_where_policies_cannot_be_simulated_requests_that_change_nothing_are_tried(doctor: Doctor, aws: Aws) -> None:
    aws.answers["simulate_principal_policy"] = lambda **_: refuse("SimulatePrincipalPolicy")
    for operation in ("list_objects_v2", "list_object_versions", "query", "list_named_queries", "get_dashboard"):
        aws.answers[operation] = lambda **_: {}
    dry: list[str] = []

    def invoke(**asked: Any) -> None:
        dry.append(asked["InvocationType"])
        refuse("Invoke")

    aws.answers["invoke"] = invoke

    found = {one["check"]: one for one in doctor() if one["check"].startswith("permissions of")}

    assert found["permissions of redrive"]["state"] == "look"
    assert "not yours" in found["permissions of redrive"]["said"]
    assert set(dry) == {"DryRun"}
    assert found["permissions of dead-letters"]["state"] == "ok"
    assert found["permissions of users"]["state"] == "unknown"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda aws, _: aws.metrics.update(ConcurrentExecutions=850), ("lambda concurrency", "look")),
        (lambda aws, _: aws.metrics.update(Throttles=1), ("lambda concurrency", "look")),
        (lambda aws, _: aws.metrics.update(Count=170 * 60), ("api throttle", "look")),
        (lambda aws, _: aws.metrics.update({"5XXError": 1}), ("api errors", "look")),
        (lambda aws, _: aws.metrics.update(ExecutionThrottled=1), ("workflow throttle", "look")),
        (lambda aws, _: aws.mapping.update(State="Disabled"), ("event sources", "broken")),
        (lambda aws, _: aws.mapping.update(LastProcessingResult="PROBLEM: Function call failed"),
         ("event sources", "broken")),
        (lambda aws, _: aws.answers.update(get_schedule=lambda **_: {"State": "DISABLED"}), ("schedules", "broken")),
        (lambda aws, _: aws.answers.update(
            get_queue_attributes=lambda **_: {"Attributes": {"ApproximateNumberOfMessages": "4"}}),
         ("dead letters", "look")),
        (lambda aws, _: aws.answers.update(describe_alarms=lambda **_: {"MetricAlarms": [
            {"AlarmName": name, "StateUpdatedTimestamp": NOW} for name in ("overdue-alarm", "of-others")]}),
         ("alarms", "broken")),
        (lambda aws, _: aws.answers.update(get_account_settings=lambda **_: {
            "AccountLimit": {"ConcurrentExecutions": 10, "UnreservedConcurrentExecutions": 10}}),
         ("lambda concurrency", "look")),
        (lambda _, described: described.update(StackStatus="UPDATE_ROLLBACK_FAILED"), ("stack", "broken")),
        (lambda _, described: described.update(StackStatus="UPDATE_IN_PROGRESS"), ("stack", "look")),
        (lambda _, described: described["Outputs"].pop(0), ("outputs", "broken")),
        (lambda _, described: described.update(Parameters=[]), ("alarm topic", "look")),
        (lambda aws, _: aws.answers.update(get_account_settings=lambda **_: refuse("GetAccountSettings")),
         ("lambda concurrency", "unknown")),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found_and_the_other_checks_go_on(
    change: Callable[[Aws, dict[str, Any]], object],
    expected: tuple[str, str],
    doctor: Doctor,
    aws: Aws,
    described: dict[str, Any],
) -> None:
    described["Outputs"].insert(0, {"OutputKey": "DashboardUrl", "OutputValue": "x"})
    described["Outputs"] = list({one["OutputKey"]: one for one in described["Outputs"]}.values())
    change(aws, described)

    assert unwell(doctor()) == [expected]


@pytest.mark.parametrize(
    ("report", "state"),
    [
        (None, "look"),
        (Kept.found.model_copy(update={"as_of": NOW - timedelta(hours=31)}) if Kept.found else None, "broken"),
        (
            Kept.found.model_copy(
                update={"findings": [{"kind": "overdue", "place": "raw", "what": "x", "count": 1, "names": []}]}
            )
            if Kept.found
            else None,
            "broken",
        ),
    ],
)
def test_an_audit_that_found_something_is_old_or_missing_is_said(
    report: AuditReport | None, state: str, doctor: Doctor, kept: Kept
) -> None:
    kept.found = report

    assert unwell(doctor()) == [("audit", state)]


@pytest.mark.usefixtures("doctor")
def test_for_people_each_line_says_the_state_and_what_to_do(aws: Aws) -> None:
    aws.mapping["State"] = "Disabled"

    ended = CliRunner().invoke(app, ["doctor", "--stack", "lake"])

    assert "broken  event sources: that of WriteCatalogFunction is Disabled. To do: aws lambda update" in ended.stdout
    assert "1 of " in ended.stderr


def test_a_lake_that_runs_here_and_a_stack_are_not_checked_at_once() -> None:
    assert CliRunner().invoke(app, ["doctor", "--lake", "--stack", "lake"]).exit_code == 2


def test_the_rights_are_those_to_nested_stacks_and_to_the_stack_s_dashboards_too() -> None:
    nested = "arn:aws:cloudformation:us-east-1:123456789012:stack/lake-Catalog-1/0"
    resources = [
        Resource("Catalog", nested, "AWS::CloudFormation::Stack"),
        Resource("FlowDashboard", "lake-flow", "AWS::CloudWatch::Dashboard"),
    ]
    stack: Any = SimpleNamespace(session=SimpleNamespace(region_name="us-east-1"), name="lake")
    caller = "arn:aws:sts::123456789012:assumed-role/operator/ana"

    found = {(one.command, *one.actions): one.resources({}, resources, stack, caller) for one in RIGHTS
             if one.command == "dashboard" or "cloudformation:ListStackResources" in one.actions}  # fmt: skip

    assert found == {
        ("dashboard", "cloudwatch:GetDashboard"): ["arn:aws:cloudwatch::123456789012:dashboard/lake-flow"],
        ("dashboard", "cloudwatch:GetMetricData", "cloudwatch:DescribeAlarms"): ["*"],
        ("logs", "cloudformation:ListStackResources"): [
            "arn:aws:cloudformation:us-east-1:123456789012:stack/lake/*", nested,
        ],
    }  # fmt: skip


@pytest.mark.parametrize("simulates", [True, False])
@pytest.mark.parametrize("missing", [*OUTPUTS, None])
def test_an_output_that_is_missing_keeps_only_the_checks_that_need_it(
    missing: str | None, simulates: bool, doctor: Doctor, aws: Aws, described: dict[str, Any]
) -> None:
    """`None`: all of them are, as after a creation that failed."""
    for operation in (
        "list_objects_v2",
        "list_object_versions",
        "query",
        "list_named_queries",
        "get_dashboard",
        "invoke",
    ):
        aws.answers[operation] = lambda **_: {}
    if not simulates:
        aws.answers["simulate_principal_policy"] = lambda **_: refuse("SimulatePrincipalPolicy")
    names = [one["check"] for one in doctor()] if not simulates else [one["check"] for one in doctor(code=0)]
    described["Outputs"] = [one for one in described["Outputs"] if missing not in (one["OutputKey"], None)]

    found = doctor()

    assert [one["check"] for one in found] == names
    assert {one["check"]: one["state"] for one in found}["outputs"] == "broken"
    said = [one for one in found if "has no output" in one["said"]]
    assert {one["state"] for one in said} <= {"unknown"}
    assert all(missing is None or one["said"].endswith(f"output {missing}") for one in said)
    assert {"dead letters", "audit", "api throttle", "permissions of redrive"} <= {
        one["check"] for one in said
    } or missing


def test_without_the_list_of_resources_what_needs_it_is_unknown(doctor: Doctor, aws: Aws) -> None:
    aws.answers["list_resources"] = lambda: refuse("ListStackResources")

    found = doctor()

    assert "not yours" in next(one["said"] for one in found if one["check"] == "resources")
    assert unwell(found) == [
        (name, "unknown")
        for name in (
            "resources",
            "permissions of dashboard",
            "permissions of logs",
            "alarms",
            "event sources",
            "schedules",
        )
    ]
