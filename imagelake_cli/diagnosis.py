"""What keeps a deployed lake from working, or soon will: one check a function, each with what to do."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from imagelake_cli.dead_letter_queue import DeadLetterQueue
from imagelake_cli.kept_data import STALE, KeptData, ReportError
from imagelake_cli.rights import OF_RESOURCES, RIGHTS, Right
from imagelake_cli.stack import Resource, Stack

OUTPUTS: Final = (
    "ApiUrl", "AthenaWorkGroup", "AuditBucketName", "CatalogDatabase", "CatalogTable", "DashboardUrl",
    "DeadLetterQueueUrl", "ImagesTableName", "IngestImageStateMachineArn", "LakeBucketName", "RawBucketName",
    "PublishOutcomesFunctionName", "RebuildCatalogFunctionName", "RedriveImagesFunctionName", "UserPoolClientId",
    "UserPoolId",
)  # fmt: skip
"""Of every stack, whatever its parameters."""
PERIOD: Final = timedelta(days=1)
"""How far back load is looked at."""
NEAR: Final = 0.8
"""From this part of a quota on it is worth a look."""
_OF_KEPT_DATA: Final = ("AuditBucketName", "RawBucketName", "LakeBucketName", "ImagesTableName")
FEW_EXECUTIONS: Final = 100
"""Fewer executions at once than this are those of a new account."""


class State(StrEnum):
    """How a check ended: fine, worth a look, not as it has to be, or nobody could say."""

    OK = "ok"
    LOOK = "look"
    BROKEN = "broken"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """What a check found, and what to do about it."""

    check: str
    state: State
    said: str
    to_do: str = ""


class OutputMissingError(Exception):
    """The stack lacks an output: it is older, or was never whole. The message is its name."""


class _Outputs(dict[str, str]):
    def __missing__(self, name: str) -> str:
        raise OutputMissingError(name)


@dataclass(frozen=True)
class Diagnosis:
    """A stack, what CloudFormation says of it, and what it keeps, which takes outputs that it may lack."""

    stack: Stack
    described: Mapping[str, Any]
    kept: Callable[[], KeptData]
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def findings(self) -> Iterator[Finding]:
        """What each check found, one after the other; what AWS refuses or the stack lacks is a finding, too."""
        resources: Sequence[Resource] = []
        try:
            resources = self.stack.resources()
        except (ClientError, BotoCoreError) as error:
            yield _refused("resources", error)
        checks: Sequence[tuple[str, Callable[[], Iterator[Finding]]]] = [
            ("stack", self._stack),
            ("outputs", self._outputs),
            ("permissions", lambda: self._permissions(resources)),
            ("lambda concurrency", self._concurrency),
            ("api throttle", self._api),
            ("workflow throttle", self._workflow),
            ("dead letters", self._dead_letters),
            ("audit", self._audit),
        ]
        of_resources: Sequence[tuple[str, Callable[[Sequence[Resource]], Iterator[Finding]]]] = [
            ("alarms", self._alarms),
            ("event sources", self._event_sources),
            ("schedules", self._schedules),
        ]
        for name, check in checks:
            yield from _ended(name, check)
        for name, look in of_resources:
            yield from _ended(name, partial(look, resources)) if resources else [_without_resources(name)]

    @property
    def _values(self) -> _Outputs:
        return _Outputs({one["OutputKey"]: one["OutputValue"] for one in self.described.get("Outputs", [])})

    def _stack(self) -> Iterator[Finding]:
        status = self.described["StackStatus"]
        if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE"):
            yield Finding("stack", State.OK, status)
        elif status.endswith("_IN_PROGRESS"):
            yield Finding("stack", State.LOOK, status, "wait until the deployment has ended")
        else:
            yield Finding("stack", State.BROKEN, status, "read the stack's events in CloudFormation, and deploy again")

    def _outputs(self) -> Iterator[Finding]:
        if missing := [name for name in OUTPUTS if name not in self._values]:
            said = f"{', '.join(missing)} missing"
            yield Finding("outputs", State.BROKEN, said, "deploy the template of this version: sam build && sam deploy")
        else:
            yield Finding("outputs", State.OK, f"all {len(OUTPUTS)} are there")

    def _permissions(self, resources: Sequence[Resource]) -> Iterator[Finding]:
        identity = self.stack.client("sts").get_caller_identity()
        caller = identity["Arn"]
        yield Finding("credentials", State.OK, f"{caller} of account {identity['Account']}")
        if caller.endswith(":root"):
            yield Finding("permissions", State.OK, "the root user may do everything")
            return
        for right in RIGHTS:
            check = f"permissions of {right.command}"
            if right.place in OF_RESOURCES and not resources:
                yield _without_resources(check)
            else:
                yield from _ended(check, partial(self._permission, check, right, caller, resources))

    def _permission(self, check: str, right: Right, caller: str, resources: Sequence[Resource]) -> Iterator[Finding]:
        arns = right.resources(self._values, resources, self.stack, caller)
        try:
            denied = sorted(self._denied(right, caller, arns))
        except ClientError:  # whoever may not simulate policies may still have what the command needs
            yield self._tried(check, right, arns)
            return
        if denied:
            yield Finding(check, State.LOOK, f"{', '.join(denied)} denied", f"allow them on {', '.join(arns)}")
        else:
            yield Finding(check, State.OK, f"{', '.join(right.actions)} allowed")

    def _denied(self, right: Right, caller: str, arns: Sequence[str]) -> set[str]:
        iam = self.stack.client("iam")
        source = caller
        if ":assumed-role/" in caller:  # a session; policies are those of its role, whose path only IAM knows
            source = iam.get_role(RoleName=caller.split("/")[1])["Role"]["Arn"]
        answer = iam.simulate_principal_policy(
            PolicySourceArn=source, ActionNames=list(right.actions), ResourceArns=list(arns)
        )
        return {
            one["EvalActionName"]
            for one in answer["EvaluationResults"]
            for decision in (
                one["EvalDecision"],
                *(of["EvalResourceDecision"] for of in one.get("ResourceSpecificResults", [])),
            )
            if decision != "allowed"
        }

    def _tried(self, check: str, right: Right, arns: Sequence[str]) -> Finding:
        if right.attempt is None:
            to_do = "allow iam:SimulatePrincipalPolicy and iam:GetRole to have it checked"
            return Finding(check, State.UNKNOWN, f"{', '.join(right.actions)} could not be checked", to_do)
        try:
            right.attempt(self.stack, self._values)
        except ClientError as error:
            return Finding(check, State.LOOK, _words(error), f"allow {', '.join(right.actions)} on {', '.join(arns)}")
        return Finding(check, State.OK, "a request that changes nothing was answered")

    def _concurrency(self) -> Iterator[Finding]:
        limit = self.stack.client("lambda").get_account_settings()["AccountLimit"]
        most, free = limit["ConcurrentExecutions"], limit["UnreservedConcurrentExecutions"]
        used = self._most("AWS/Lambda", "ConcurrentExecutions", {}, "Maximum")
        throttled = self._sum("AWS/Lambda", "Throttles", {})
        said = (
            f"{used:.0f} of the account's {most} executions at once were used in 24 h, {most - free} are reserved, "
            f"{throttled:.0f} calls throttled"
        )
        to_do = "ask for a higher quota of concurrent executions (Service Quotas, L-B99A9384); docs/limits.md"
        is_near = throttled > 0 or used >= NEAR * most or most < FEW_EXECUTIONS
        yield (
            Finding("lambda concurrency", State.LOOK, said, to_do)
            if is_near
            else Finding("lambda concurrency", State.OK, said)
        )

    def _api(self) -> Iterator[Finding]:
        api_id = self._values["ApiUrl"].removeprefix("https://").split(".")[0]
        gateway = self.stack.client("apigateway")
        settings = gateway.get_stage(restApiId=api_id, stageName="v1").get("methodSettings", {}).get("*/*", {})
        rate, burst = settings.get("throttlingRateLimit"), settings.get("throttlingBurstLimit")
        name = gateway.get_rest_api(restApiId=api_id)["name"]
        dimensions = {"ApiName": name, "Stage": "v1"}
        busiest = self._most("AWS/ApiGateway", "Count", dimensions, "Sum", seconds=60) / 60
        failed = self._sum("AWS/ApiGateway", "5XXError", dimensions)
        said = f"{busiest:.1f} requests a second in the busiest minute of 24 h, of {rate} and bursts of {burst}"
        if rate is None or busiest >= NEAR * rate:
            yield Finding(
                "api throttle", State.LOOK, said, "raise ThrottlingRateLimit in template.yaml; docs/limits.md"
            )
        else:
            yield Finding("api throttle", State.OK, said)
        if failed:
            yield Finding(
                "api errors", State.LOOK, f"{failed:.0f} answers with status 5xx in 24 h", "read the log of http_api"
            )

    def _workflow(self) -> Iterator[Finding]:
        machine = {"StateMachineArn": self._values["IngestImageStateMachineArn"]}
        names = ("ExecutionThrottled", "ExecutionsTimedOut", "ExecutionsFailed")
        throttled, timed_out, failed = (self._sum("AWS/States", name, machine) for name in names)
        said = f"{throttled:.0f} throttled, {timed_out:.0f} out of time, {failed:.0f} failed in 24 h"
        if throttled or timed_out or failed:
            to_do = "imagelake dead-letters list; images without an outcome reconcile starts again within 75 minutes"
            yield Finding("workflow throttle", State.LOOK, said, to_do)
        else:
            yield Finding("workflow throttle", State.OK, said)

    def _dead_letters(self) -> Iterator[Finding]:
        queue = DeadLetterQueue(self.stack.client("sqs"), self._values["DeadLetterQueueUrl"])
        waiting = queue.waiting()
        if waiting:
            yield Finding("dead letters", State.LOOK, f"{waiting} are waiting", "imagelake dead-letters list")
        else:
            yield Finding("dead letters", State.OK, "none is waiting")

    def _audit(self) -> Iterator[Finding]:
        for name in _OF_KEPT_DATA:
            self._values[name]
        try:
            report = self.kept().report(self.now)
        except ReportError as error:
            yield Finding("audit", State.LOOK, str(error), "a new stack has its first at 05:55 UTC; wait for it")
            return
        said = (
            f"{report.as_of:%Y-%m-%d %H:%M} UTC: overdue {report.overdue}, early {report.early}, other {report.other}"
        )
        if report.findings:
            yield Finding("audit", State.BROKEN, said, "imagelake retention report")
        elif self.now - report.as_of > STALE:
            yield Finding("audit", State.BROKEN, f"the last was at {said}", "read the log of audit_retention")
        else:
            yield Finding("audit", State.OK, said)

    def _alarms(self, resources: Sequence[Resource]) -> Iterator[Finding]:
        kinds = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
        names = {one.physical_id: one.logical_id for one in resources if one.type in kinds}
        ringing = []
        pages = self.stack.client("cloudwatch").get_paginator("describe_alarms")
        for page in pages.paginate(AlarmTypes=["MetricAlarm", "CompositeAlarm"], StateValue="ALARM"):
            ringing += [*page.get("MetricAlarms", []), *page.get("CompositeAlarms", [])]
        own = [one for one in ringing if one["AlarmName"] in names]
        for one in own:
            since = f"{one['StateUpdatedTimestamp']:%Y-%m-%d %H:%M} UTC"
            said = f"{names[one['AlarmName']]} rings since {since}: {one.get('AlarmDescription', '')}"
            yield Finding("alarms", State.BROKEN, said, "docs/operations.md says what it means and what to do")
        if not own:
            yield Finding("alarms", State.OK, f"none of {len(names)} rings")
        parameters = {one["ParameterKey"]: one.get("ParameterValue") for one in self.described.get("Parameters", [])}
        if self.stack.endpoint_url is None and not parameters.get("AlarmRecipient"):
            said, do = (
                "alarms tell nobody",
                "deploy with AlarmRecipient, an SNS topic or an e-mail address somebody reads",
            )
            yield Finding("alarm topic", State.LOOK, said, do)

    def _event_sources(self, resources: Sequence[Resource]) -> Iterator[Finding]:
        functions = {one.physical_id: one.logical_id for one in resources if one.type == "AWS::Lambda::Function"}
        mappings = 0
        for page in self.stack.client("lambda").get_paginator("list_event_source_mappings").paginate():
            for one in page["EventSourceMappings"]:
                name = functions.get(one["FunctionArn"].split(":")[6])
                if name is None:
                    continue
                mappings += 1
                result = str(one.get("LastProcessingResult", ""))
                if one["State"] not in ("Enabled", "Enabling", "Updating"):
                    to_do = f"aws lambda update-event-source-mapping --uuid {one['UUID']} --enabled"
                    yield Finding("event sources", State.BROKEN, f"that of {name} is {one['State']}", to_do)
                elif result.startswith("PROBLEM"):
                    to_do = f"read the log of {name}"
                    yield Finding("event sources", State.BROKEN, f"that of {name} says {result}", to_do)
        state = State.OK if mappings else State.BROKEN
        yield Finding("event sources", state, f"{mappings} there", "" if mappings else "deploy the stack again")

    def _schedules(self, resources: Sequence[Resource]) -> Iterator[Finding]:
        scheduler = self.stack.client("scheduler")
        schedules = [one for one in resources if one.type == "AWS::Scheduler::Schedule"]
        off = [
            one.logical_id for one in schedules if scheduler.get_schedule(Name=one.physical_id)["State"] != "ENABLED"
        ]
        for name in off:
            yield Finding("schedules", State.BROKEN, f"{name} is disabled", "enable it, or deploy the stack again")
        if not off:
            yield Finding("schedules", State.OK, f"{len(schedules)} enabled")

    def _most(
        self, namespace: str, metric: str, dimensions: Mapping[str, str], statistic: str, seconds: int = 300
    ) -> float:
        points = self._points(namespace, metric, dimensions, statistic, seconds)
        return max(points, default=0.0)

    def _sum(self, namespace: str, metric: str, dimensions: Mapping[str, str]) -> float:
        return sum(self._points(namespace, metric, dimensions, "Sum", 3600))

    def _points(
        self, namespace: str, metric: str, dimensions: Mapping[str, str], statistic: str, seconds: int
    ) -> list[float]:
        answer = self.stack.client("cloudwatch").get_metric_statistics(
            Namespace=namespace,
            MetricName=metric,
            Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
            StartTime=self.now - PERIOD,
            EndTime=self.now,
            Period=seconds,
            Statistics=[statistic],
        )
        return [float(one[statistic]) for one in answer["Datapoints"]]


def _ended(check: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a check finds, and how it ended where AWS refused or an output is missing."""
    try:
        yield from look()
    except OutputMissingError as missing:
        said = f"it cannot be checked: the stack has no output {missing}"
        yield Finding(check, State.UNKNOWN, said, "deploy the template of this version: sam build && sam deploy")
    except (ClientError, BotoCoreError) as error:
        yield _refused(check, error)


def _without_resources(check: str) -> Finding:
    said = "it cannot be checked: CloudFormation names no resources of the stack"
    return Finding(check, State.UNKNOWN, said, "allow cloudformation:ListStackResources on it and its nested stacks")


def _refused(check: str, error: ClientError | BotoCoreError) -> Finding:
    return Finding(check, State.UNKNOWN, _words(error), "see to the permission or the service that is named")


def _words(error: Exception) -> str:
    return " ".join(str(error).split())
