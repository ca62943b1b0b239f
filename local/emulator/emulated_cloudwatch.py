"""What CloudWatch does with metrics: those in logs and those of services become some, and alarms are evaluated.

`emulated_aws` calls the functions that correct ministack. Alarms are evaluated whenever somebody asks CloudWatch for
something, where AWS does it every minute: an alarm that nobody asks about does not change.
"""

import functools
import time
from collections.abc import Iterator
from typing import Any, Final

from ministack.core.responses import new_uuid
from ministack.services import apigateway_v1, cloudwatch, lambda_svc, stepfunctions
from ministack.services.cloudformation import provisioners

from local.emulator import alarms, emulated_versions
from local.emulator.datapoints import Datapoint, in_logs
from local.emulator.emulated_metrics import count_request, publish

_SECONDS: Final = 5.0
"""Between two evaluations."""
_ENDINGS: Final = {"SUCCEEDED": "ExecutionsSucceeded", "FAILED": "ExecutionsFailed", "TIMED_OUT": "ExecutionsTimedOut"}


def _record(namespace: str, name: str, unit: str, dimensions: dict[str, str], value: float) -> None:
    publish(namespace, name, unit, dimensions, value, time.time())


def metrics_in_logs_are_metrics() -> None:
    """CloudWatch makes metrics of log lines in its embedded metric format; the emulator keeps the lines."""
    emit = lambda_svc._emit_lambda_logs

    @functools.wraps(emit)
    def emit_and_extract(function: dict[str, Any], request_id: str, log_text: str, *rest: Any, **options: Any) -> None:
        emit(function, request_id, log_text, *rest, **options)
        for one in in_logs((log_text or "").splitlines()):
            publish(one.namespace, one.name, one.unit, dict(one.dimensions), one.value, one.at)

    lambda_svc._emit_lambda_logs = emit_and_extract


def services_publish_their_metrics() -> None:
    """API Gateway, Step Functions and readers of streams have metrics on AWS; the emulator has none of theirs."""
    answer, run, execute = (
        apigateway_v1._handle_execute_in_scope,
        stepfunctions._run_execution,
        lambda_svc._execute_function,
    )

    @functools.wraps(answer)
    async def answer_and_count(api_id: str, stage: str, *rest: Any) -> Any:
        answered = await answer(api_id, stage, *rest)
        count_request(api_id, stage, int(answered[0]))
        return answered

    @functools.wraps(run)
    def run_and_count(execution_arn: str) -> None:
        began, execution = time.monotonic(), stepfunctions._executions.get(execution_arn)
        dimensions = {"StateMachineArn": emulated_versions.machine((execution or {}).get("stateMachineArn", ""))}
        _record("AWS/States", "ExecutionsStarted", "Count", dimensions, 1)
        run(execution_arn)
        if ending := _ENDINGS.get((execution or {}).get("status", "")):
            _record("AWS/States", ending, "Count", dimensions, 1)
            _record("AWS/States", "ExecutionTime", "Milliseconds", dimensions, (time.monotonic() - began) * 1000)

    @functools.wraps(execute)
    def execute_and_measure(function: dict[str, Any], event: Any) -> Any:
        last = (event.get("Records") or [{}])[-1] if isinstance(event, dict) else {}
        if committed_at := last.get("dynamodb", {}).get("ApproximateCreationDateTime"):
            name = (function.get("config") or function)["FunctionName"]
            age = max(0.0, time.time() - float(committed_at)) * 1000
            _record("AWS/Lambda", "IteratorAge", "Milliseconds", {"FunctionName": name}, age)
        return execute(function, event)

    apigateway_v1._handle_execute_in_scope = answer_and_count
    stepfunctions._run_execution = run_and_count
    lambda_svc._execute_function = execute_and_measure


def alarms_mean_what_they_say() -> None:
    """The emulator's alarms pass over dimensions, missing data and periods that are over, and have no expressions."""
    record, handle = provisioners._cw_metric_alarm_record, cloudwatch.handle_request
    evaluated_at = 0.0

    @functools.wraps(record)
    def record_with_expression(name: str, properties: dict[str, Any]) -> Any:
        if "Metrics" not in properties:
            return record(name, properties)
        metric = next(one["MetricStat"]["Metric"] for one in properties["Metrics"] if "MetricStat" in one)
        rest = {key: value for key, value in properties.items() if key != "Metrics"}
        made = record(name, rest | metric)
        for key in ("Namespace", "MetricName", "Dimensions", "Statistic", "ExtendedStatistic", "Period", "Unit"):
            made.pop(key, None)
        return made | {"Metrics": [_typed(one) for one in properties["Metrics"]]}

    @functools.wraps(handle)
    async def evaluate_and_handle(*arguments: Any, **options: Any) -> Any:
        nonlocal evaluated_at
        if time.monotonic() - evaluated_at >= _SECONDS:
            evaluated_at = time.monotonic()
            cloudwatch._evaluate_all_alarms()
        return await handle(*arguments, **options)

    provisioners._cw_metric_alarm_record = record_with_expression
    cloudwatch._evaluate_alarm = _evaluate
    cloudwatch.handle_request = evaluate_and_handle


def _typed(metric: dict[str, Any]) -> dict[str, Any]:
    """A metric of an alarm; CloudFormation takes numbers and truth as text."""
    typed = dict(metric) | {"ReturnData": str(metric.get("ReturnData", True)).lower() == "true"}
    if "MetricStat" in typed:
        typed["MetricStat"] = typed["MetricStat"] | {"Period": int(typed["MetricStat"]["Period"])}
    return typed


def _evaluate(alarm: dict[str, Any]) -> None:
    before = alarm["StateValue"]
    now = time.time()
    found = alarms.state(alarm, list(_points_of(alarm)), now, before)
    if found == before:
        return
    reason = f"{alarm['ComparisonOperator']} {alarm['Threshold']:g} in {alarm['EvaluationPeriods']} periods: {found}"
    alarm |= {"StateValue": found, "StateReason": reason, "StateUpdatedTimestamp": int(now)}
    cloudwatch._record_history(alarm["AlarmName"], before, found, reason)
    cloudwatch._dispatch_alarm_actions(alarm, before, found, reason)
    cloudwatch._evaluate_parent_alarms(alarm)


def _points_of(alarm: dict[str, Any]) -> Iterator[Datapoint]:
    on = [one["MetricStat"]["Metric"] for one in alarm.get("Metrics", ()) if "MetricStat" in one] or [alarm]
    for metric in on:
        dimensions = {one["Name"]: one["Value"] for one in metric.get("Dimensions") or ()}
        name = (metric["Namespace"], metric["MetricName"])
        for point in cloudwatch._metrics.get((*name, cloudwatch._dims_key(dimensions))) or ():
            made = Datapoint(*name, "", tuple(sorted(dimensions.items())), point["Timestamp"], point["Value"])
            yield from [made] * int(point.get("Count", 1))


def stacks_have_composite_alarms() -> None:
    """The emulator has composite alarms, but no stack may have one."""

    def put(name: str, properties: dict[str, Any]) -> tuple[str, dict[str, str]]:
        status, _, body = cloudwatch._put_composite_alarm({}, properties | {"AlarmName": name}, False, is_json=True)
        if status >= 400:
            raise ValueError(f"AWS::CloudWatch::CompositeAlarm: {body.decode()}")
        return name, {"Arn": cloudwatch._composite_alarms[name]["AlarmArn"]}

    def create(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, str]]:
        return put(provisioners._physical_name(stack, logical_id, max_len=255), properties)

    def update(name: str, _old: Any, properties: dict[str, Any], *_stack: Any) -> tuple[str, dict[str, str]]:
        return put(name, properties)

    def delete(name: str, _properties: Any) -> None:
        cloudwatch._composite_alarms.pop(name, None)

    handlers = {"create": create, "update": update, "delete": delete}
    provisioners._RESOURCE_HANDLERS["AWS::CloudWatch::CompositeAlarm"] = handlers


def stacks_have_saved_queries() -> None:
    """A stack keeps its queries of CloudWatch Logs; nobody can run them here."""

    def create(_logical_id: str, _properties: dict[str, Any], _stack: str) -> tuple[str, dict[str, str]]:
        query_id = new_uuid()
        return query_id, {"QueryDefinitionId": query_id}

    def update(query_id: str, _old: Any, _new: Any, *_stack: Any) -> tuple[str, dict[str, str]]:
        return query_id, {"QueryDefinitionId": query_id}

    handlers = {"create": create, "update": update, "delete": lambda _query_id, _properties: None}
    provisioners._RESOURCE_HANDLERS["AWS::Logs::QueryDefinition"] = handlers
