"""The emulator with faults between the parts of a stack, as tests ask for them.

    hypercorn local.emulator.faulty_aws:app

Until a test asks, it is the emulator. `PUT /_faults` with a plan (see `faults.Plan`) begins, `DELETE /_faults` ends
and answers with the ledger, `GET /_faults` answers with it meanwhile. `PUT /_faults/stream` with `true` holds the
streams of all tables, with `false` lets them go. `PUT /_faults/clock` with seconds sets the clock of the emulator and
of all functions ahead. Every answer says what is going on (`busy`), and how many requests functions have made.

No schedule starts anything here: tests call what schedules would, at the time of their clock.
"""

import asyncio
import contextvars
import functools
import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import time_machine
from hypercorn.protocol.http_stream import ASGIHTTPState
from ministack.core import lambda_runtime, sigv4
from ministack.services import dynamodb, lambda_svc, s3, scheduler, stepfunctions, sts

from local.emulator import clock, emulated_aws, emulated_metrics, lambda_like
from local.emulator.emulated_aws import Message
from local.emulator.faults import Fault, Injection, Kind, Plan

type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]

CONTROL: Final = "/_faults"
POLLED: Final = ("consumeimagetopic", "failedrecords")
"""What in the names of functions and buckets says that the poller calls them, as the emulator's root user."""
_APIS: Final = "/_aws/execute-api/"
_INVOKES: Final = "/2015-03-31/functions/"
_SERVICES: Final = {"lambda": "Lambda", "dynamodb": "DynamoDB", "sqs": "SQS", "ecs": "ECS"}
"""As errors of a workflow name them."""
_THROTTLED: Final = {"Lambda": "TooManyRequestsException", "DynamoDB": "ProvisionedThroughputExceededException"}


class _State:
    """Of this emulator."""

    injection: Injection | None = None
    is_stream_held: bool = False
    ahead: float = 0.0
    travel: Any = None
    worked: int = 0


_state = _State()
_execution: contextvars.ContextVar[tuple[str, str] | None] = contextvars.ContextVar("execution", default=None)


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """The emulator, whose answers may be faulty."""
    if scope["type"] == "http" and scope["path"].startswith(CONTROL):
        await _control(scope, receive, send)
        return
    injection, point = _state.injection, None
    if scope["type"] == "http":
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        key, _, _, service, *_ = f"{headers.get('authorization', '').partition('Credential=')[2]}/////".split("/")[:5]
        caller = _function_of(key)
        _state.worked += caller is not None
        point = _point(scope, headers, caller, service) if injection else None
    fault = injection.draw(point) if injection and point else None
    if fault is None or injection is None or point is None:
        await emulated_aws.app(scope, receive, send)
        return
    injection.count(point, fault)
    match fault.kind:
        case Kind.SLOWED:
            await asyncio.sleep(fault.chance.uniform(0.1, 2))
            await emulated_aws.app(scope, receive, send)
        case Kind.CUT:
            _cut(send)
        case Kind.ANSWER_LOST:
            await emulated_aws.app(scope, receive, _nowhere)
            _cut(send)
        case _:
            await _read(receive)
            refusal = _refusal(point, throttled=fault.kind is Kind.THROTTLED)
            if scope["path"].startswith(_APIS):
                api_id, stage, *_ = scope["path"].removeprefix(_APIS).split("/")
                emulated_metrics.count_request(api_id, stage, refusal[0])
            await _answer(send, *refusal)


async def _nowhere(_message: Message) -> None:
    pass


def _cut(send: Send) -> None:
    """Hypercorn closes the connection of a stream that is closed without an answer."""
    send.__self__.state = ASGIHTTPState.CLOSED  # type: ignore[attr-defined]  # a method of its stream


async def _read(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _answer(send: Send, status: int, body: bytes, content_type: str) -> None:
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _point(scope: Message, headers: dict[str, str], caller: str | None, service: str) -> str | None:
    """Where a request stands between the parts of a stack; none if it is of somebody else, such as a test.

    Args:
        scope: the request.
        headers: its headers, by their names in small letters.
        caller: the function that has signed it, if one has.
        service: that it was signed for.
    """
    path, method = scope["path"], scope["method"]
    if path.startswith(_APIS):
        return f"door {method} /{path.split('/')[5]}"
    query = parse_qs(scope["query_string"].decode("latin-1"))
    if headers.get("content-type", "").startswith("multipart/form-data"):
        return "door form" if "raw" in path.split("/")[1] else "sdk engine form"
    if "X-Amz-Credential" in query:
        return "sdk engine s3 GET"
    if caller is None:
        name = path.lower().replace("-", "")
        is_poller = path.startswith(_INVOKES) or (service == "s3" and method == "PUT")
        return f"sdk poller {service} {method}" if is_poller and any(part in name for part in POLLED) else None
    operation = headers.get("x-amz-target", "").rpartition(".")[2] or method
    return f"sdk {caller} {service} {operation}"


def _function_of(access_key: str) -> str | None:
    arn = str(sts._sessions.get(access_key, {}).get("Arn", ""))
    return _short(arn.rpartition("/")[2]) if ":assumed-role/" in arn else None


def _short(function: str) -> str:
    """What the template calls a function, without its kind, such as `OpenImage`: the rest differs by deployment."""
    return next((part.partition("Func")[0] for part in function.split("-") if "Func" in part), function)


def _refusal(point: str, *, throttled: bool) -> tuple[int, bytes, str]:
    kind, _, _, *_ = f"{point}  ".split(" ")
    if kind == "door" and "form" not in point:
        status = HTTPStatus.TOO_MANY_REQUESTS if throttled else HTTPStatus.BAD_GATEWAY
        message = "Too Many Requests" if throttled else "Internal server error"
        return status, json.dumps({"message": message}).encode(), "application/json"
    if "form" in point or " s3 " in point:
        code = "SlowDown" if throttled else "InternalError"
        status = HTTPStatus.SERVICE_UNAVAILABLE if throttled else HTTPStatus.INTERNAL_SERVER_ERROR
        return status, f"<Error><Code>{code}</Code><Message>Of a test.</Message></Error>".encode(), "application/xml"
    if throttled:
        code = "TooManyRequestsException" if " lambda " in point else "ThrottlingException"
        status = HTTPStatus.TOO_MANY_REQUESTS if " lambda " in point else HTTPStatus.BAD_REQUEST
    else:
        code, status = "InternalServerError", HTTPStatus.INTERNAL_SERVER_ERROR
    body = json.dumps({"__type": code, "Type": "User", "message": "Of a test."}).encode()
    return status, body, "application/x-amz-json-1.0"


async def _control(scope: Message, receive: Receive, send: Send) -> None:
    body = await _read(receive)
    given: Any = json.loads(body) if body else None
    match scope["method"], scope["path"].removeprefix(CONTROL):
        case "PUT", "":
            _state.injection = Injection(Plan.of(given))
        case "PUT", "/stream":
            _state.is_stream_held = given
        case "PUT", "/clock":
            await asyncio.to_thread(_set_clock, float(given))
    answer = _state.injection.report() if _state.injection else {}
    if scope["method"] == "DELETE":
        _state.injection = None
    busy = {
        "executions": _executions_running(),
        "workers": lambda_runtime.workers_in_use(),
        "stream records": 0 if _state.is_stream_held else _records_ahead(),
    }
    body = json.dumps(answer | {"busy": busy, "worked": _state.worked}).encode()
    await _answer(send, HTTPStatus.OK, body, "application/json")


def _executions_running() -> int:
    return sum(one["status"] == "RUNNING" for one in list(stepfunctions._executions._data.values()))


def _records_ahead() -> int:
    """Records of streams that functions have not had yet."""
    ahead = 0
    for account, region, mapping in lambda_svc._iter_all_esms():
        position = lambda_svc._dynamodb_stream_positions.get_scoped(account, region, mapping["UUID"])
        if position is not None:
            table, place = mapping["EventSourceArn"].split("/")[1], {"account_id": account, "region": region}
            oldest = dynamodb.stream_start_position(table, **place)
            ahead += dynamodb.stream_end_position(table, **place) - max(position, oldest)
    return int(ahead)


def _set_clock(ahead: float) -> None:
    if _state.travel:
        _state.travel.stop()
    _state.ahead, _state.travel = ahead, None
    if ahead:
        _state.travel = time_machine.travel(time.time() + ahead, tick=True)
        _state.travel.start()
    lambda_runtime.reset()


def _clocks_may_differ() -> None:
    """A test signs its requests at another time."""
    fails = sigv4.request_time_failure

    @functools.wraps(fails)
    def corrected(*arguments: Any, **options: Any) -> Any:
        return None if _state.ahead else fails(*arguments, **options)

    sigv4.request_time_failure = corrected
    for module in list(sys.modules.values()):
        if getattr(module, "request_time_failure", None) is fails:
            module.request_time_failure = corrected  # type: ignore[attr-defined]


def _functions_have_the_clock() -> None:
    command, packages = lambda_like.command, Path(time_machine.__file__).parents[1]

    @functools.wraps(command)
    def with_clock(program: list[str], **options: Any) -> list[str]:
        if _state.ahead:
            python, *rest = program
            program = [python, clock.__file__, str(packages), str(_state.ahead), *rest]
            options["see"] = [*options.get("see", ()), Path(clock.__file__), *packages.glob("*time_machine*")]
        return command(program, **options)

    lambda_like.command = with_clock  # type: ignore[assignment]  # passes on whatever it is given


def _workers_are_killed() -> None:
    invoke = lambda_runtime.Worker.invoke

    @functools.wraps(invoke)
    def corrected(worker: Any, *arguments: Any, **options: Any) -> Any:
        point = f"worker {_short(worker.func_name)}"
        fault = _state.injection.draw(point) if _state.injection else None
        if fault is None:
            return invoke(worker, *arguments, **options)
        is_done, delay, injection = threading.Event(), fault.chance.uniform(0, 0.3), _state.injection

        def kill() -> None:
            process = worker._proc
            if not is_done.wait(delay) and process is not None and process.poll() is None:
                if injection:
                    injection.count(point, fault)
                process.kill()

        while worker._proc is None or worker._proc.poll() is not None:
            lambda_runtime.ensure_spawned(worker)
        threading.Thread(target=kill, daemon=True).start()
        try:
            return invoke(worker, *arguments, **options)
        finally:
            is_done.set()

    lambda_runtime.Worker.invoke = corrected


def _calls_of_workflows_fail() -> None:
    execute, call = stepfunctions._execute_task, stepfunctions._invoke_resource

    @functools.wraps(execute)
    def task(state: dict[str, Any], given: Any, execution: dict[str, Any], context: dict[str, Any]) -> Any:
        injection = _state.injection
        if injection is None or "IngestImage" not in context["StateMachine"]["Name"]:
            return execute(state, given, execution, context)
        point, subject = f"workflow {context['State']['Name']}", execution["executionArn"]
        fault = injection.draw(point, subject)
        if fault and fault.kind in (Kind.DIED_BEFORE, Kind.DIED_AFTER):
            injection.count(point, fault)
            if fault.kind is Kind.DIED_AFTER:
                execute(state, given, execution, context)
            raise stepfunctions._ExecutionError("Died", "Of a test.")
        token = _execution.set((point, subject))
        try:
            return execute(state, given, execution, context)
        finally:
            _execution.reset(token)

    @functools.wraps(call)
    def faulty(resource: str, given: Any) -> Any:
        injection, place = _state.injection, _execution.get()
        fault = injection.draw(*place) if injection and place else None
        if fault is None or injection is None or place is None:
            return call(resource, given)
        injection.count(place[0], fault)
        return _call_with(fault, resource, lambda: call(resource, given))

    stepfunctions._execute_task, stepfunctions._invoke_resource = task, faulty


def _call_with(fault: Fault, resource: str, call: Callable[[], Any]) -> Any:
    service = _SERVICES[resource.split(":::")[1].partition(":")[0]]
    match fault.kind:
        case Kind.SLOWED:
            time.sleep(fault.chance.uniform(0.1, 2))
            return call()
        case Kind.ANSWER_LOST:
            call()
            error = "SdkClientException"
        case Kind.THROTTLED:
            error = _THROTTLED.get(service, "ThrottlingException")
        case Kind.CUT:
            error = "SdkClientException"
        case _:
            error = "ServiceException" if service == "Lambda" else "InternalServerErrorException"
    raise stepfunctions._ExecutionError(f"{service}.{error}", "Of a test.")


def _events_of_objects_get_lost() -> None:
    fire = s3._fire_s3_event

    @functools.wraps(fire)
    def corrected(bucket: str, key: str, event_name: str, *arguments: Any, **options: Any) -> None:
        injection, point = _state.injection, "event Object Created"
        is_arrival = key.startswith("raw/") and event_name.startswith("s3:ObjectCreated")
        fault = injection.draw(point) if injection and is_arrival else None
        if injection and fault:
            injection.count(point, fault)
            if fault.kind is Kind.DROPPED:
                return
            if fault.kind is Kind.DELAYED:
                time.sleep(fault.chance.uniform(1, 5))
            else:
                fire(bucket, key, event_name, *arguments, **options)
        fire(bucket, key, event_name, *arguments, **options)

    s3._fire_s3_event = corrected


def _streams_falter() -> None:
    poll, execute = lambda_svc._poll_dynamodb_streams, lambda_svc._execute_function
    in_poll = threading.local()

    @functools.wraps(poll)
    def hold_or_poll() -> bool:
        if _state.is_stream_held:
            return False
        in_poll.is_so = True
        try:
            return bool(poll())
        finally:
            in_poll.is_so = False

    @functools.wraps(execute)
    def deliver(function: dict[str, Any], event: Any) -> Any:
        injection = _state.injection
        if injection is None or not getattr(in_poll, "is_so", False):
            return execute(function, event)
        in_poll.is_so = False  # it calls itself
        try:
            point = f"stream {_short((function.get('config') or function)['FunctionName'])}"
            fault = injection.draw(point)
            if fault is None:
                return execute(function, event)
            injection.count(point, fault)
            if fault.kind in (Kind.ANSWER_LOST, Kind.DOUBLED):
                execute(function, event)
            if fault.kind is Kind.DOUBLED:
                return execute(function, event)
            return {"error": True, "body": {"errorType": "ServiceException", "errorMessage": "Of a test."}}
        finally:
            in_poll.is_so = True

    lambda_svc._poll_dynamodb_streams, lambda_svc._execute_function = hold_or_poll, deliver


def _schedules_start_nothing() -> None:
    scheduler._tick_schedules = lambda: None


_clocks_may_differ()
_functions_have_the_clock()
_workers_are_killed()
_calls_of_workflows_fail()
_events_of_objects_get_lost()
_streams_falter()
_schedules_start_nothing()
