"""What CloudWatch says of metrics: those of functions and queues, and GetMetricData with math and searches.

`emulated_aws` calls the functions that correct ministack. Datapoints are kept where ministack keeps them.
"""

import contextlib
import functools
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ministack.core import lambda_runtime
from ministack.services import apigateway_v1, cloudwatch, lambda_svc, sqs

from local.emulator import metric_math
from local.emulator.emulated_versions import called_alias
from local.emulator.metric_math import Series

LOOK_SECONDS: Final = 15
"""Between two looks at the queues."""
_CONCURRENCY: Final = {"Type": "Resource", "Resource": "ConcurrentExecutions", "Service": "Lambda", "Class": "None"}
_SEARCH: Final = re.compile(r"SEARCH\('([^']*)', '(\w+)', (\d+)\)")
_WANTED: Final = re.compile(r"\{([^}]*)\} (.*)")
_TERM: Final = re.compile(r'(\w+)="([^"]*)"')
_NAMED: Final = re.compile(r"\$\{PROP\('Dim\.(\w+)'\)\}")

_publishing = threading.Lock()


class _RefusedError(Exception):
    """AWS would refuse the request; the message says why."""


# What is published


def publish(namespace: str, name: str, unit: str, dimensions: Mapping[str, str], value: float, at: float) -> None:
    """Keep a datapoint; the same value in the same minute is kept once, and counted."""
    with _publishing:
        bucket = cloudwatch._metric_bucket((namespace, name, cloudwatch._dims_key(dict(dimensions))))
        last = bucket[-1] if bucket else None
        if last and last["Value"] == value and last["Timestamp"] // 60 == at // 60 and "_stat" not in last:
            last["Count"] = last.get("Count", 1.0) + 1
            return
        bucket.append({"Timestamp": at, "Value": float(value), "Unit": unit, "Dimensions": dict(dimensions)})


def _count(namespace: str, dimensions: Mapping[str, str], **counts: float) -> None:
    for name, value in counts.items():
        publish(namespace, name, "Count", dimensions, value, time.time())


def count_request(api_id: str, stage: str, status: int) -> None:
    """Count a request to an API by how it was answered; zeros too, as on AWS."""
    if api := apigateway_v1._rest_apis.get(api_id):
        kind = status // 100
        counts = {"Count": 1.0, "4XXError": float(kind == 4), "5XXError": float(kind == 5)}
        _count("AWS/ApiGateway", {"ApiName": api["name"], "Stage": stage}, **counts)


def functions_are_measured() -> None:
    """AWS measures every invocation, without the start of its environment; the emulator, those by its API only."""
    invoke, running = lambda_runtime.Worker.invoke, set[int]()

    @functools.wraps(invoke)
    def measured(worker: Any, *arguments: Any, **options: Any) -> Any:
        version = worker.config.get("Version", "$LATEST")
        every = [{"FunctionName": worker.func_name}]
        if version != "$LATEST":
            alias = called_alias.get()
            of = {"FunctionName": worker.func_name, "Resource": f"{worker.func_name}:{alias or version}"}
            every += [of, of | {"ExecutedVersion": version}] if alias else [of]
        running.add(id(worker))
        publish("AWS/Usage", "ResourceCount", "None", _CONCURRENCY, len(running), time.time())
        result: Mapping[str, Any] = {"status": "error"}
        started = time.monotonic()
        try:
            lambda_runtime.ensure_spawned(worker)
            started = time.monotonic()
            result = invoke(worker, *arguments, **options)
            return result
        finally:
            running.discard(id(worker))
            took = 1000 * (time.monotonic() - started)
            for of in every:
                publish("AWS/Lambda", "Duration", "Milliseconds", of, round(took, 1), time.time())
                _count("AWS/Lambda", of, Invocations=1, Errors=float(result["status"] == "error"), Throttles=0)

    def throttled(function: str, *_: Any, throttle: bool = False, **_options: Any) -> None:
        if throttle:
            _count("AWS/Lambda", {"FunctionName": function}, Throttles=1)

    lambda_runtime.Worker.invoke = measured
    lambda_svc._emit_lambda_metrics = throttled


def queues_are_looked_at() -> None:
    """SQS says how many messages wait, since when, and how many came; AWS of a queue in use only."""
    seen: dict[str, float] = {}

    def look() -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            with contextlib.suppress(RuntimeError, KeyError):  # one came or went meanwhile
                for queue in list(sqs._queues._data.values()):
                    sqs._refresh_counts(queue)
                    visible = float(queue["attributes"]["ApproximateNumberOfMessages"])
                    name = {"QueueName": queue["name"]}
                    _count("AWS/SQS", name, ApproximateNumberOfMessagesVisible=visible)
                    now = time.time()
                    age = now - min((one.get("sent_at", now) for one in list(queue["messages"])), default=now)
                    publish("AWS/SQS", "ApproximateAgeOfOldestMessage", "Seconds", name, round(age), now)
                    since, seen[queue["name"]] = seen.get(queue["name"], 0.0), now
                    came = sum(since <= one.get("sent_at", 0.0) < now for one in list(queue["messages"]))
                    _count("AWS/SQS", name, NumberOfMessagesSent=float(came))

    threading.Thread(target=look, daemon=True).start()


# What is answered


def metrics_are_answered() -> None:
    """GetMetricData evaluates math and searches; the emulator refuses both. A metric has exactly its dimensions."""
    answer = cloudwatch._get_metric_data

    @functools.wraps(answer)
    def corrected(parameters: Any, request: Any, is_cbor: bool, is_json: bool = False) -> Any:
        if not (is_cbor or is_json):
            return answer(parameters, request, is_cbor, is_json)
        try:
            results = _results(request)
        except (_RefusedError, NotImplementedError, KeyError) as error:
            return cloudwatch._error("ValidationError", str(error), 400, use_json=is_json, use_cbor=is_cbor)
        if is_cbor:
            kept = [cloudwatch._cbor_metric_data_result(one) for one in results]
            return cloudwatch._cbor_ok({"MetricDataResults": kept})
        return cloudwatch._json_ok({"MetricDataResults": results})

    cloudwatch._get_metric_data = corrected


def _results(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    start, end = cloudwatch._parse_ts(request["StartTime"]), cloudwatch._parse_ts(request["EndTime"])
    queries = request["MetricDataQueries"]
    named = {
        query["Id"]: _statistics(_points(query["MetricStat"]["Metric"]), query["MetricStat"], start, end)
        for query in queries
        if "MetricStat" in query
    }
    found: list[dict[str, Any]] = []
    for query in queries:
        if "MetricStat" in query:
            several = [(query.get("Label", query["MetricStat"]["Metric"]["MetricName"]), named[query["Id"]])]
        elif search := _SEARCH.fullmatch(query["Expression"]):
            of = {"Stat": search[2], "Period": search[3]}
            several = list(_searched(search[1], of, query.get("Label", ""), start, end))
        else:
            period = int(query.get("Period") or _period(queries))
            periods = range(int(start // period) * period, int(end), period)

            def find(wanted: str, stat: str, period: int) -> list[Series]:
                return [series for _, series in _searched(wanted, {"Stat": stat, "Period": period}, "", start, end)]

            named[query["Id"]] = metric_math.evaluate(query["Expression"], named, periods, find)
            several = [(query.get("Label", query["Expression"]), named[query["Id"]])]
        if query.get("ReturnData", True):
            found += [_result(query["Id"], label, series, request) for label, series in several]
    return found


def _result(known: str, label: str, series: Series, request: Mapping[str, Any]) -> dict[str, Any]:
    moments = sorted(series, reverse=request.get("ScanBy") != "TimestampAscending")
    values = [series[moment] for moment in moments]
    stamps = [cloudwatch._ts_iso(moment) for moment in moments]
    return {"Id": known, "Label": label, "Timestamps": stamps, "Values": values, "StatusCode": "Complete"}


def _period(queries: Sequence[Mapping[str, Any]]) -> int:
    periods = [int(query["MetricStat"]["Period"]) for query in queries if "MetricStat" in query]
    if not periods:
        raise _RefusedError("An expression without metrics needs a Period")
    return min(periods)


def _points(metric: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of Lambda, what has no dimension is of all functions."""
    key = cloudwatch._dims_key(cloudwatch._dims_from_list(metric.get("Dimensions") or []))
    is_of_all = metric["Namespace"] == "AWS/Lambda" and not key
    return [
        point
        for (namespace, name, dimensions), points in list(cloudwatch._metrics.items())
        if (namespace, name) == (metric["Namespace"], metric["MetricName"]) and (is_of_all or dimensions == key)
        for point in points
    ]


def _statistics(points: Iterable[Mapping[str, Any]], of: Mapping[str, Any], start: float, end: float) -> Series:
    period, by_period = int(of["Period"]), defaultdict[int, list[Any]](list)
    for point in points:
        moment = int(point["Timestamp"] // period) * period
        if int(start // period) * period <= moment and point["Timestamp"] < end:
            by_period[moment].append(point)
    values = {
        moment: cloudwatch._stat_value(cloudwatch._calc_stats(some), of["Stat"], some)
        for moment, some in by_period.items()
    }
    return {moment: float(value) for moment, value in values.items() if value is not None}


def _searched(text: str, of: Mapping[str, Any], label: str, start: float, end: float) -> Iterator[tuple[str, Series]]:
    """Label and series of each metric that a search finds and that has a value in the time."""
    search = _WANTED.fullmatch(text)
    if search is None:
        raise NotImplementedError(f"a search for {text}")
    namespace, *dimensions = search[1].split(",")
    terms = dict(_TERM.findall(search[2]))
    wanted = terms.pop("MetricName", None)
    for (space, name, _), points in sorted(cloudwatch._metrics.items(), key=lambda one: one[0]):
        given: dict[str, str] = points[0]["Dimensions"] if points else {}
        if space != namespace or wanted not in (None, name) or given.keys() != set(dimensions):
            continue
        series = _statistics(points, of, start, end) if terms.items() <= given.items() else {}
        if series:
            yield _named(label, given) or name, series


def _named(label: str, dimensions: Mapping[str, str]) -> str:
    """A label with values in place of `${PROP('Dim.name')}`."""
    return _NAMED.sub(lambda found: dimensions[found[1]], label)
