"""Versions and aliases of workflows and functions, as CloudFormation makes them and calls draw them.

ministack knows those of workflows in its API of Step Functions. But what starts a version gets the latest definition,
an alias goes to the version with the higher weight only, and stacks have neither. Here an execution runs the definition
of its version, an alias draws by weight, and stacks have both. Aliases of functions draw by weight, too. An alias is
moved to its new version at once, whatever its deployment preference, or CodeDeploy, says.
"""

import functools
import json
import random
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any, Final

from ministack.core.responses import json_response
from ministack.services import apigateway_v1, lambda_svc, stepfunctions
from ministack.services.cloudformation import provisioners

type Made = tuple[str, dict[str, str]]


called_alias: Final = ContextVar[str | None]("called_alias", default=None)
"""The alias by which API Gateway calls a function meanwhile."""


def functions_have_aliases() -> None:
    """The emulator calls the version of an alias that has the higher weight, and has nothing of CodeDeploy."""
    find, call = lambda_svc._effective_func_record_for_qualifier, apigateway_v1._call_lambda_raw

    @functools.wraps(find)
    def draw(function: Any, qualifier: str | None) -> Any:
        alias = function["aliases"].get(qualifier) if function else None
        weights = ((alias or {}).get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
        for version, weight in weights.items():
            if random.random() < float(weight):  # noqa: S311  # no secret
                return find(function, version)
        return find(function, qualifier)

    @functools.wraps(call)
    async def call_by_alias(reference: str, *arguments: Any, **options: Any) -> Any:
        qualifier = reference.partition(":function:")[2].partition(":")[2]
        token = called_alias.set(qualifier if qualifier and not qualifier.isdecimal() else None)
        try:
            return await call(reference, *arguments, **options)
        finally:
            called_alias.reset(token)

    lambda_svc._effective_func_record_for_qualifier = draw
    apigateway_v1._call_lambda_raw = call_by_alias
    for kind in ("Application", "DeploymentConfig", "DeploymentGroup"):
        provisioners._RESOURCE_HANDLERS[f"AWS::CodeDeploy::{kind}"] = {
            "create": lambda logical_id, _properties, stack: (provisioners._physical_name(stack, logical_id), {}),
            "update": lambda name, _old, _new, *_stack: (name, {}),
            "delete": lambda _name, _properties: None,
        }


def workflows_have_versions() -> None:
    """Versions and aliases of workflows."""
    publish, resolve = stepfunctions._publish_state_machine_version, stepfunctions._resolve_state_machine_arn

    @functools.wraps(publish)
    def publish_as_machine(request: dict[str, Any]) -> Any:
        answer = publish(request)
        if answer[0] == HTTPStatus.OK:
            version = json.loads(answer[2])["stateMachineVersionArn"]
            stepfunctions._state_machines[version] = dict(stepfunctions._state_machines[request["stateMachineArn"]])
        return answer

    @functools.wraps(resolve)
    def draw_version(arn: str) -> Any:
        alias = stepfunctions._state_machine_aliases.get(arn)
        if alias is None:
            return resolve(arn)
        routing = alias["routingConfiguration"]
        versions, weights = zip(*((one["stateMachineVersionArn"], one["weight"]) for one in routing), strict=True)
        return random.choices(versions, weights)[0]  # noqa: S311  # no secret

    listed = stepfunctions._list_executions

    @functools.wraps(listed)
    def list_of_all_versions(request: dict[str, Any]) -> Any:
        versions = [
            version
            for version, one in stepfunctions._state_machine_versions.items()
            if one["stateMachineArn"] == request.get("stateMachineArn")
        ]
        answer = json.loads(listed(request)[2])
        for version in versions:
            answer["executions"] += json.loads(listed(request | {"stateMachineArn": version})[2])["executions"]
        return json_response(answer)

    stepfunctions._list_executions = list_of_all_versions
    stepfunctions._publish_state_machine_version = publish_as_machine
    stepfunctions._resolve_state_machine_arn = draw_version
    provisioners._RESOURCE_HANDLERS |= {
        "AWS::StepFunctions::StateMachineVersion": {
            "create": _create_version,
            # Stacks retain the version of before, for the executions that are under way in it.
            "update": lambda _arn, _old, properties, stack: _create_version("", properties, stack),
            "delete": lambda _arn, _properties: None,
        },
        "AWS::StepFunctions::StateMachineAlias": {
            "create": _create_alias,
            "update": _move_alias,
            "delete": lambda arn, _: stepfunctions._delete_state_machine_alias({"stateMachineAliasArn": arn}),
        },
    }


def machine(arn: str) -> str:
    """The workflow of a version of it."""
    return ":".join(arn.split(":")[:7])


def _create_version(_logical_id: str, properties: dict[str, Any], _stack: str) -> Made:
    request = {"stateMachineArn": properties["StateMachineArn"], "revisionId": properties.get("StateMachineRevisionId")}
    arn = _answer(stepfunctions._publish_state_machine_version(request))["stateMachineVersionArn"]
    return arn, {"Arn": arn}


def _create_alias(_logical_id: str, properties: dict[str, Any], _stack: str) -> Made:
    request = {"name": properties["Name"], "routingConfiguration": _all_to_the_new(properties)}
    arn = _answer(stepfunctions._create_state_machine_alias(request))["stateMachineAliasArn"]
    return arn, {"Arn": arn}


def _move_alias(arn: str, _old: dict[str, Any], properties: dict[str, Any], _stack: str) -> Made:
    request = {"stateMachineAliasArn": arn, "routingConfiguration": _all_to_the_new(properties)}
    _answer(stepfunctions._update_state_machine_alias(request))
    return arn, {"Arn": arn}


def _all_to_the_new(properties: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"stateMachineVersionArn": properties["DeploymentPreference"]["StateMachineVersionArn"], "weight": 100}]


def _answer(response: tuple[int, Any, Any]) -> dict[str, Any]:
    status, _, body = response
    answer: dict[str, Any] = json.loads(body)
    if status != HTTPStatus.OK:
        raise ValueError(answer)
    return answer
