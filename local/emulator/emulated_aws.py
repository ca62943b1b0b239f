"""ministack, corrected where it differs from AWS in a way that this stack relies on.

    hypercorn local.emulator.emulated_aws:app

Each correction says what AWS does. They reach into ministack's modules, which is why its version is pinned.
"""

import contextvars
import functools
import hashlib
import json
import os
import subprocess
import threading
import zipfile
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Final, override

from jsonata.jsonata import Jsonata
from jsonata.parser import Parser
from ministack import app as ministack
from ministack.core import iam_actions, iam_evaluator, lambda_runtime
from ministack.core.arn import parse_arn
from ministack.core.responses import AccountScopedDict, error_response_json, get_account_id
from ministack.services import (
    apigateway_v1,
    athena,
    cognito,
    dynamodb,
    eventbridge,
    lambda_svc,
    s3,
    sqs,
    stepfunctions,
)
from ministack.services.cloudformation import engine, provisioners

from local.emulator import (
    ENVIRONMENTS,
    ROOT,
    emulated_athena,
    emulated_cloudwatch,
    emulated_lake_formation,
    emulated_metrics,
    emulated_versions,
    lambda_like,
)

type Message = MutableMapping[str, Any]

PATIENCE_SECONDS: Final = 900.0
"""The longest that a function may run on AWS."""
_INHERITED: Final = ("PATH", "TZ")

_stored_at: contextvars.ContextVar[str | None] = contextvars.ContextVar("stored_at", default=None)
_version_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("version_id", default=None)
_rule: contextvars.ContextVar[tuple[str, str | None]] = contextvars.ContextVar("rule")


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """The emulator. Loopback counts as TLS, so that policies keep their `Deny` of plain HTTP.

    A caller who sends `X-Forwarded-Proto: http` is on plain HTTP. One who sends `X-Emulated-Time`, ISO 8601, stores
    objects as of that time: tests have no days to wait.
    """
    stored_at = next((value for name, value in scope.get("headers", ()) if name.lower() == b"x-emulated-time"), None)
    _stored_at.set(stored_at.decode() if stored_at else None)
    if scope["type"] == "http" and not any(name.lower() == b"x-forwarded-proto" for name, _ in scope["headers"]):
        scope = {**scope, "headers": [*scope["headers"], (b"x-forwarded-proto", b"https")]}
    await ministack.app(scope, receive, send)


def _services_call_each_other_over_tls() -> None:
    iam_evaluator._request_origin = contextvars.ContextVar("request_origin", default=("127.0.0.1", True))


def _queries_are_of_their_work_group() -> None:
    """IAM asks whether the caller may see the work group of a query; the emulator, whether all of them."""
    extract = iam_actions.extract_resource_arn

    @functools.wraps(extract)
    def of_work_group(service: str, method: str, path: str, headers: Any, body: bytes, *rest: Any) -> str:
        arn: str = extract(service, method, path, headers, body, *rest)
        if service != "athena" or arn != "*":
            return arn
        asked = json.loads(body or b"{}")
        found = athena._executions.get(asked.get("QueryExecutionId")) or athena._named_queries.get(
            (asked.get("NamedQueryIds") or [asked.get("NamedQueryId")])[0]
        )
        if not found:
            return arn
        region, account = rest[-2:]
        return f"arn:aws:athena:{region}:{account}:workgroup/{found['WorkGroup']}"

    iam_actions.extract_resource_arn = of_work_group


def _apis_keep_gateway_responses() -> None:
    """AWS reads `x-amazon-apigateway-gateway-responses` in the body of an API."""
    import_rest_api = apigateway_v1._import_rest_api

    @functools.wraps(import_rest_api)
    def corrected(spec: dict[str, Any], base_data: dict[str, Any] | None = None) -> str:
        api_id: str = import_rest_api(spec, base_data)
        for response_type, response in spec.get("x-amazon-apigateway-gateway-responses", {}).items():
            apigateway_v1._put_gateway_response(api_id, response_type, response)
        return api_id

    apigateway_v1._import_rest_api = corrected


def _apis_take_id_tokens_where_no_scope_is_asked_for() -> None:
    """AWS takes an access token only for a method that asks for scopes; the emulator takes either for any."""
    validate = apigateway_v1._validate_cognito_authorizer

    @functools.wraps(validate)
    async def corrected(authorizer: Any, method: dict[str, Any], *request: Any) -> Any:
        claims, refusal = await validate(authorizer, method, *request)
        if claims and not method.get("authorizationScopes") and claims.get("token_use") != "id":
            return None, apigateway_v1._gw_error("UNAUTHORIZED", "Unauthorized")
        return claims, refusal

    apigateway_v1._validate_cognito_authorizer = corrected


def _user_pools_can_be_closed() -> None:
    """With `AllowAdminCreateUserOnly`, nobody signs up by themselves; the emulator lets them."""
    sign_up = cognito._sign_up

    @functools.wraps(sign_up)
    def corrected(request: dict[str, Any]) -> Any:
        pools = [pool for _, pool in cognito._user_pools.items() if request.get("ClientId") in pool["_clients"]]
        if any(pool["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"] for pool in pools):
            message = "SignUp is not permitted for this user pool"
            return error_response_json("NotAuthorizedException", message, 400)
        return sign_up(request)

    cognito._sign_up = corrected


def _users_do_not_write_their_groups() -> None:
    """Claims of Cognito's own are no attributes on AWS; the emulator copies whatever a user writes into the token."""
    update = cognito._update_user_attributes

    @functools.wraps(update)
    def corrected(request: dict[str, Any]) -> Any:
        for attribute in request.get("UserAttributes", ()):
            if attribute["Name"].startswith("cognito:"):
                message = f"user.{attribute['Name']}: Attribute does not exist in the schema."
                return error_response_json("InvalidParameterException", message, 400)
        return update(request)

    cognito._update_user_attributes = corrected


def _object_events_name_the_version() -> None:
    """AWS puts `version-id` into `detail.object` when the bucket has versions."""
    fire, dispatch = s3._fire_s3_event, eventbridge._dispatch_event

    @functools.wraps(fire)
    def remember(*arguments: Any, version_id: str | None = None, **options: Any) -> None:
        _version_id.set(version_id)
        fire(*arguments, version_id=version_id, **options)

    @functools.wraps(dispatch)
    def corrected(event: dict[str, Any], *view: Any) -> Any:
        if event["Source"] == "aws.s3" and (version_id := _version_id.get()):
            detail = json.loads(event["Detail"])
            detail["object"]["version-id"] = version_id
            event = {**event, "Detail": json.dumps(detail)}
        return dispatch(event, *view)

    s3._fire_s3_event = remember
    eventbridge._dispatch_event = corrected


def _objects_are_stored_as_of_the_time_a_test_says() -> None:
    now = s3.now_iso
    s3.now_iso = lambda: _stored_at.get() or now()


def _links_have_signatures_of_version_4() -> None:
    """AWS takes no others for buckets made since June 2020; the emulator takes those of version 2 without a look."""
    verify = s3._verify_presigned_sigv4

    @functools.wraps(verify)
    def corrected(method: str, path: str, headers: Any, query: dict[str, Any]) -> Any:
        if "AWSAccessKeyId" in query:
            message = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
            return s3._error("InvalidRequest", message, 400, path)
        return verify(method, path, headers, query)

    s3._verify_presigned_sigv4 = corrected


def _forms_are_held_to_their_checksum() -> None:
    """AWS refuses a file of another checksum than its form names; the emulator looks at that of other uploads only."""
    post = s3._post_object

    @functools.wraps(post)
    def corrected(bucket: str, body: bytes, headers: dict[str, str]) -> Any:
        parts = {name.lower(): value for name, _, _, value in s3._parse_multipart_form(headers["content-type"], body)}
        announced = {name: value.decode() for name, value in parts.items() if name.startswith("x-amz-checksum-")}
        _, refusal = s3._resolve_object_checksums(parts.get("file", b""), announced) if announced else (None, None)
        return refusal or post(bucket, body, headers)

    s3._post_object = corrected


def _functions_run_as_on_lambda() -> None:
    """A function imports its own code, its layers and boto3, and is confined as Lambda confines it: see `lambda_like`.

    Its code is unpacked once for all environments, out of their reach. Of this process's environment it sees the path
    and the time zone.
    """
    detect, home = lambda_runtime._detect_runtime_binary, Path(os.environ["HOME"])
    python = os.environ["LAMBDA_RUNTIME_PYTHON"]

    @functools.wraps(detect)
    def corrected(runtime: str) -> tuple[str, str]:
        binary, worker = detect(runtime)
        return python if runtime.startswith("python") else binary, worker

    def start(program: list[str], *, cwd: str, env: dict[str, str], **options: Any) -> Any:
        folder = Path(program[1]).parent
        folder.chmod(0o755)
        code = [link.resolve() for link in folder.iterdir() if link.is_symlink()]
        own = {
            name: value
            for name, value in env.items()
            if name in _INHERITED or name.startswith("AWS_") or os.environ.get(name) != value
        }
        command = lambda_like.command(program, see=[folder, *code], hide=[home, ROOT / ".local"])
        return subprocess.Popen(command, cwd=cwd, env=own, **options)

    lambda_runtime._detect_runtime_binary = corrected
    lambda_runtime.subprocess = SimpleNamespace(**vars(subprocess) | {"Popen": start})
    lambda_runtime.zipfile = SimpleNamespace(**vars(zipfile) | {"ZipFile": _UnpackedOnce})


class _UnpackedOnce(zipfile.ZipFile):
    """A package of a function or layer; what is extracted is a link to the one copy of its content."""

    _unpacking: ClassVar = threading.Lock()

    @override
    def extractall(self, path: Any = None, members: Any = None, pwd: Any = None) -> None:
        package, folder = Path(str(self.filename)), Path(path)
        with package.open("rb") as file:
            unpacked = Path(os.environ["HOME"]) / "code" / hashlib.file_digest(file, "sha256").hexdigest()
        with self._unpacking:
            if not unpacked.exists():
                unpacked.parent.mkdir(exist_ok=True)
                part = unpacked.with_suffix(".part")
                super().extractall(part, members, pwd)
                part.rename(unpacked)
        package.unlink()
        folder.rmdir()
        folder.symlink_to(unpacked)


def _athena_reads_what_glue_knows() -> None:
    athena._parse_ddl = lambda _query: None
    athena._run_duckdb = emulated_athena.answer


def _work_groups_keep_results() -> None:
    """With managed query results, AWS keeps results where no bucket of ours is, and refuses to be told where."""
    start, save = athena._start_query_execution, athena._save_query_results

    def keeps_results(work_group: str) -> bool:
        configuration = athena._workgroups.get(work_group, {}).get("Configuration", {})
        return bool(configuration.get("ManagedQueryResultsConfiguration", {}).get("Enabled"))

    @functools.wraps(start)
    def start_without_location(data: dict[str, Any]) -> Any:
        if not keeps_results(data.get("WorkGroup", "primary")):
            return start(data)
        if "ResultConfiguration" in data:
            message = "ManagedQueryResultsConfiguration and ResultConfiguration cannot be set together."
            return error_response_json("InvalidRequestException", message, 400)
        status, headers, answer = start({**data, "ResultConfiguration": {"OutputLocation": "managed"}})
        if status < HTTPStatus.BAD_REQUEST:
            del athena._executions[json.loads(answer)["QueryExecutionId"]]["ResultConfiguration"]
        return status, headers, answer

    @functools.wraps(save)
    async def save_in_buckets(query_id: str) -> None:
        if not keeps_results(athena._executions[query_id]["WorkGroup"]):
            await save(query_id)

    athena._start_query_execution, athena._save_query_results = start_without_location, save_in_buckets


def _stacks_have_named_queries() -> None:
    def create(_logical_id: str, properties: dict[str, Any], _stack: str) -> tuple[str, dict[str, str]]:
        _, _, answer = athena._create_named_query(properties)
        query_id = json.loads(answer)["NamedQueryId"]
        return query_id, {"NamedQueryId": query_id}

    def update(query_id: str, _old: Any, properties: dict[str, Any], _stack: str) -> tuple[str, dict[str, str]]:
        delete(query_id, properties)
        return create("", properties, "")

    def delete(query_id: str, _properties: Any) -> None:
        athena._delete_named_query({"NamedQueryId": query_id})

    provisioners._RESOURCE_HANDLERS["AWS::Athena::NamedQuery"] = {"create": create, "update": update, "delete": delete}


def _nested_stacks_are_transformed() -> None:
    """AWS applies the SAM transform to nested stacks too; the emulator only parses their templates."""
    parse = engine._parse_template

    @functools.wraps(parse)
    def parse_and_transform(template_body: str) -> Any:
        return engine._apply_transforms(parse(template_body))

    engine._parse_template = parse_and_transform


def _nested_stacks_keep_attributes() -> None:
    """A resource that an update of its nested stack does not touch keeps what `Fn::GetAtt` gives of it."""
    provision, update = provisioners._provision_resource, provisioners._update_resource
    attributes: dict[tuple[str, str], dict[str, Any]] = {}

    @functools.wraps(provision)
    def provision_and_note(kind: str, logical_id: str, properties: Any, stack: str, *rest: Any, **options: Any) -> Any:
        made = provision(kind, logical_id, properties, stack, *rest, **options)
        attributes[stack, logical_id] = made[1]
        return made

    @functools.wraps(update)
    def update_and_note(kind: str, name: str, old: Any, new: Any, stack: str, logical_id: str) -> Any:
        made = update(kind, name, old, new, stack, logical_id, attributes.get((stack, logical_id)))
        attributes[stack, logical_id] = made[1]
        return made

    provisioners._provision_resource = provision_and_note
    provisioners._update_resource = update_and_note


class _FunctionFailedError(Exception):
    """A function behind the API raised, was killed or timed out."""


def _callers_are_not_told_why_a_function_failed() -> None:
    """API Gateway answers with its own response of status 502; the emulator answers the error, with paths in it."""
    shape, invoke = apigateway_v1._lambda_proxy_response, apigateway_v1._invoke_lambda_proxy_v1
    answer = apigateway_v1._gateway_error_response

    @functools.wraps(shape)
    def without_error(result: dict[str, Any]) -> Any:
        response, error = shape(result)
        if error:
            raise _FunctionFailedError
        return response, None

    @functools.wraps(invoke)
    async def invoke_and_hide(*arguments: Any, **options: Any) -> Any:
        try:
            return await invoke(*arguments, **options)
        except _FunctionFailedError:
            failure = apigateway_v1._gw_error("DEFAULT_5XX", "Internal server error")
            failure.status = HTTPStatus.BAD_GATEWAY
            return failure

    @functools.wraps(answer)
    def with_status(error: Any, request: dict[str, Any]) -> Any:
        status, headers, body = answer(error, request)
        return getattr(error, "status", status), headers, body

    apigateway_v1._lambda_proxy_response = without_error
    apigateway_v1._invoke_lambda_proxy_v1 = invoke_and_hide
    apigateway_v1._gateway_error_response = with_status


def _expressions_are_parsed_once() -> None:
    """Step Functions compiles a definition once, and gives an expression a second of its own time, not of ours."""
    compiler, compiling = Parser(), threading.Lock()
    parse = functools.lru_cache(maxsize=4096)(compiler.parse)

    def parse_once(expression: str, *_engine: Any) -> Any:
        with compiling:
            return parse(expression)

    compiler.parse = parse_once
    Jsonata.get_parser = lambda: compiler
    Jsonata.jsonata = lambda expression, *_limits, **_more: Jsonata(expression)


def _events_wait_for_a_warm_environment() -> None:
    """Lambda starts an environment for every event that finds none free; a laptop is sooner done with a few.

    An event waits until one of its function's environments is free: each is at the latest when its invocation times
    out. Nothing that holds one waits for more than another function, so only a function that invokes itself could wait
    for itself; it is throttled after `PATIENCE_SECONDS`.
    """
    execute = lambda_svc._execute_function_warm
    free: dict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(ENVIRONMENTS))

    @functools.wraps(execute)
    def wait_and_execute(function: dict[str, Any], *arguments: Any) -> Any:
        name = (function.get("config") or function)["FunctionName"]
        if not free[name].acquire(timeout=PATIENCE_SECONDS):
            reason = "ConcurrentInvocationLimitExceeded"
            refusal = lambda_svc._throttle_response(reason, f"Rate Exceeded: {name} found no environment")
            refusal["body"]["errorType"] = "Lambda.TooManyRequestsException"  # what workflows retry
            return refusal
        try:
            return execute(function, *arguments)
        finally:
            free[name].release()

    lambda_svc._execute_function_warm = wait_and_execute


def _stacks_set_lifecycle_lock_and_time_to_live() -> None:
    """AWS applies these properties of a template; the emulator passes over them.

    It deletes expired items within a minute, where AWS takes days: that would hide a purge that leaves them. So the
    time to live stays as it is on AWS in its first hour, when it is known and deletes nothing.
    """
    create_table = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"]["create"]

    @functools.wraps(create_table)
    def create(logical_id: str, properties: dict[str, Any], stack: str) -> Any:
        name, attributes = create_table(logical_id, properties, stack)
        if properties.get("TimeToLiveSpecification", {}).get("Enabled"):
            attribute = properties["TimeToLiveSpecification"]["AttributeName"]
            dynamodb._ttl_settings[name] = {"TimeToLiveStatus": "ENABLING", "AttributeName": attribute}
        return name, attributes

    def put_lifecycle(bucket: str, rules: list[dict[str, Any]]) -> None:
        s3._bucket_lifecycle[bucket] = rules

    def put_lock(bucket: str, lock: dict[str, Any]) -> None:
        s3._bucket_object_lock[bucket] = lock

    provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"]["create"] = create
    provisioners._S3_BUCKET_CONFIGURATIONS = (
        *provisioners._S3_BUCKET_CONFIGURATIONS,
        ("LifecycleConfiguration", _lifecycle_rules, put_lifecycle, s3._delete_bucket_lifecycle),
        ("ObjectLockConfiguration", _object_lock, put_lock, s3._bucket_object_lock.pop),
    )


def _lifecycle_rules(configuration: dict[str, Any]) -> list[dict[str, Any]]:
    """The rules of a template as the emulator's S3 keeps them."""
    return [
        {"ID": rule["Id"], "Status": rule["Status"], "Filter": {"Prefix": rule.get("Prefix", "")}}
        | {
            name: rule[name]
            for name in ("NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload")
            if name in rule
        }
        | ({"Expiration": {"Days": int(rule["ExpirationInDays"])}} if "ExpirationInDays" in rule else {})
        | ({"Expiration": {"ExpiredObjectDeleteMarker": True}} if rule.get("ExpiredObjectDeleteMarker") else {})
        for rule in configuration["Rules"]
    ]


def _object_lock(configuration: dict[str, Any]) -> dict[str, Any]:
    """The lock of a template as the emulator's S3 keeps it."""
    retention = configuration["Rule"]["DefaultRetention"]
    return {"enabled": True, "default_retention": {"Mode": retention["Mode"], "Days": int(retention["Days"])}}


def _express_workflows_keep_no_history() -> None:
    """On AWS only Standard workflows do; the emulator keeps 100 KB in memory for each image."""
    run = stepfunctions._run_execution

    @functools.wraps(run)
    def run_and_forget(execution_arn: str) -> None:
        run(execution_arn)
        execution = stepfunctions._executions.get(execution_arn)
        machine = stepfunctions._state_machines.get(execution and execution["stateMachineArn"])
        if machine and machine["type"] == "EXPRESS":
            execution["events"].clear()

    stepfunctions._run_execution = run_and_forget


def _objects_lie_on_disk() -> None:
    """With `S3_PERSIST`, all bytes are in files, but those of versions stay in memory too until a restart."""
    record = s3._record_object_version

    @functools.wraps(record)
    def record_without_content(bucket: str, key: str, prior: Any, current: Any, _content: Any) -> Any:
        return record(bucket, key, prior, current, None)

    s3._record_object_version = record_without_content


def _stores_are_walked_for_one_account() -> None:
    """The emulator asks for each key which account the caller has; every image has S3 walk through all objects."""

    def keys(store: AccountScopedDict) -> Iterator[Any]:
        mine = get_account_id()
        return iter([key for account, key in list(store._data) if account == mine])

    AccountScopedDict.__iter__ = keys


def _an_environment_that_dies_takes_no_other_along() -> None:
    """Lambda gives the next event a new one; the emulator kills all of the function, those at work included.

    That goes on and on, since those at work die with an error, too.
    """
    invoke = lambda_runtime.Worker.invoke

    @functools.wraps(invoke)
    def invoke_alone(worker: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return invoke(worker, *arguments, **options)
        except Exception as error:  # noqa: BLE001  # whatever it is, this environment is of no use any more
            lambda_runtime.kill_workers([worker])
            return {"status": "error", "error": str(error)}

    lambda_runtime.Worker.invoke = invoke_alone


def _streams_bring_a_failed_batch_again_as_it_was() -> None:
    """Lambda tries the same batch again; the emulator adds what has come meanwhile."""
    read, sizes = dynamodb.stream_records_since, dict[tuple[str, int], int]()

    @functools.wraps(read)
    def same_batch(table: str, position: int, limit: int, **options: Any) -> Any:
        records = read(table, position, min(limit, sizes.get((table, position), limit)), **options)
        if records:
            sizes[table, position] = len(records)
        return records

    dynamodb.stream_records_since = same_batch


def _rules_reach_queues_that_let_them_in() -> None:
    """A queue takes events of a rule that its policy names; the others go to the dead-letter queue of the target."""
    invoke, send = eventbridge._invoke_target, eventbridge._dispatch_to_sqs

    @functools.wraps(invoke)
    def invoke_as_rule(target: dict[str, Any], event: Any, rule: dict[str, Any], view: Any = None) -> None:
        token = _rule.set((rule["Arn"], target.get("DeadLetterConfig", {}).get("Arn")))
        try:
            invoke(target, event, rule, view)
        finally:
            _rule.reset(token)

    @functools.wraps(send)
    def send_if_let_in(queue: Any, payload: str, parameters: Any = None) -> None:
        rule, dead_letters = _rule.get()
        for place in (str(queue), dead_letters):
            if place and sqs.queue_policy_allows(place, "events.amazonaws.com", rule, get_account_id()):
                send(parse_arn(place), payload, parameters)
                return

    eventbridge._invoke_target, eventbridge._dispatch_to_sqs = invoke_as_rule, send_if_let_in


def _streams_bring_a_batch_again_of_which_some_failed() -> None:
    """Lambda does, from the first record on that a function names; the emulator takes the batch for done."""
    execute = lambda_svc._execute_function

    @functools.wraps(execute)
    def execute_and_look(function: dict[str, Any], event: Any) -> Any:
        result = execute(function, event)
        records = event.get("Records", ()) if isinstance(event, dict) else ()
        if records and records[0].get("eventSource") == "aws:dynamodb" and not result.get("error"):
            body = result.get("body")
            answer = json.loads(body) if isinstance(body, str | bytes) else body
            if isinstance(answer, dict) and answer.get("batchItemFailures"):
                return {"error": True, "body": {"errorType": "batchItemFailures", "errorMessage": "some failed"}}
        return result

    lambda_svc._execute_function = execute_and_look


emulated_metrics.functions_are_measured()
emulated_metrics.queues_are_looked_at()
emulated_metrics.metrics_are_answered()
_services_call_each_other_over_tls()
_apis_keep_gateway_responses()
_apis_take_id_tokens_where_no_scope_is_asked_for()
_user_pools_can_be_closed()
_users_do_not_write_their_groups()
_object_events_name_the_version()
_rules_reach_queues_that_let_them_in()
_objects_are_stored_as_of_the_time_a_test_says()
_links_have_signatures_of_version_4()
_forms_are_held_to_their_checksum()
_functions_run_as_on_lambda()
_athena_reads_what_glue_knows()
_queries_are_of_their_work_group()
_work_groups_keep_results()
_stacks_have_named_queries()
emulated_lake_formation.stacks_have_lake_formation()
emulated_versions.workflows_have_versions()
emulated_versions.functions_have_aliases()
_nested_stacks_are_transformed()
_nested_stacks_keep_attributes()
emulated_cloudwatch.metrics_in_logs_are_metrics()
emulated_cloudwatch.services_publish_their_metrics()
emulated_cloudwatch.alarms_mean_what_they_say()
emulated_cloudwatch.stacks_have_composite_alarms()
emulated_cloudwatch.stacks_have_saved_queries()
_callers_are_not_told_why_a_function_failed()
_expressions_are_parsed_once()
_events_wait_for_a_warm_environment()
_an_environment_that_dies_takes_no_other_along()
_express_workflows_keep_no_history()
_objects_lie_on_disk()
_stores_are_walked_for_one_account()
_streams_bring_a_failed_batch_again_as_it_was()
_streams_bring_a_batch_again_of_which_some_failed()
_stacks_set_lifecycle_lock_and_time_to_live()
