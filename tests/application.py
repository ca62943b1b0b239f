"""The application's files, as the tests read them: the template, the workflow, the sample events."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, cast

from samcli.yamlhelper import yaml_parse

from tools.check_template import translate

type Resources = dict[str, dict[str, Any]]

ROOT = Path(__file__).parent.parent
TEMPLATE: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
WORKFLOW_TEXT = (ROOT / "statemachine/ingest_image.asl.json").read_text(encoding="utf-8")
WORKFLOW: dict[str, Any] = json.loads(WORKFLOW_TEXT)
FUNCTION_FOLDERS = sorted(path.parent.name for path in ROOT.glob("functions/*/app.py"))

REGION = "us-east-1"
ACCOUNT = "123456789012"
STACK = "image-lake-test"
_PSEUDO_PARAMETERS = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": STACK,
    "AWS::URLSuffix": "amazonaws.com",
}


@cache
def translated() -> dict[str, Any]:
    """The template as the transform leaves it: what CloudFormation is given."""
    return cast("dict[str, Any]", yaml_parse(translate(ROOT / "template.yaml")))


def event(name: str) -> dict[str, Any]:
    """The sample event `name`, a fresh copy at every call."""
    sample: dict[str, Any] = json.loads((ROOT / f"events/{name}.json").read_text(encoding="utf-8"))
    return sample


def resources(kind: str) -> Resources:
    """The template's resources of a type, such as `AWS::S3::Bucket`, by logical id."""
    return {name: resource for name, resource in TEMPLATE["Resources"].items() if resource["Type"] == kind}


def logical_id(function_folder: str) -> str:
    """The resource of a function: `ProcessImageFunction` of `process_image`."""
    return function_folder.title().replace("_", "") + "Function"


def variables(function_folder: str) -> dict[str, Any]:
    """The environment variables the template gives to one function alone, unresolved."""
    found: dict[str, Any] = TEMPLATE["Resources"][logical_id(function_folder)]["Properties"]["Environment"]["Variables"]
    return found


def task_variables() -> dict[str, Any]:
    """The environment variables the template gives to the task for large images, unresolved."""
    (container,) = TEMPLATE["Resources"]["ProcessLargeImageTask"]["Properties"]["ContainerDefinitions"]
    return {variable["Name"]: variable["Value"] for variable in container["Environment"]}


def physical_name(name: str) -> str:
    """What the stack of the tests calls a resource; what `Ref` gives, but for queues."""
    properties = TEMPLATE["Resources"][name].get("Properties", {})
    match TEMPLATE["Resources"][name]["Type"]:
        case "AWS::Glue::Database":
            return str(resolve(properties["DatabaseInput"]["Name"]))
        case "AWS::Glue::Table":
            return str(resolve(properties["TableInput"]["Name"]))
        case _:
            return f"{STACK}-{name.lower()}"


def resolve(value: Any) -> Any:
    """`value` of the template as it would be deployed, with the parameters' defaults.

    Raises:
        NotImplementedError: an intrinsic that no test has needed so far.
    """
    match value:
        case {"Ref": name}:
            return _reference(name)
        case {"Fn::GetAtt": [name, "Arn"]}:
            return _arn(name)
        case {"Fn::Sub": str(text)}:
            return re.sub(r"\$\{([^}]+)\}", lambda match: str(_substitute(match[1])), text)
        case {"Fn::Join": [separator, parts]}:
            return separator.join(resolve(parts))
        case {"Fn::FindInMap": [mapping, key, attribute]}:
            return TEMPLATE["Mappings"][mapping][str(resolve(key))][attribute]
        case {"Fn::Split": [separator, text]}:
            return resolve(text).split(separator)
        case dict():
            if unknown := [name for name in value if name.startswith("Fn::")]:
                raise NotImplementedError(unknown[0])
            return {name: resolve(entry) for name, entry in value.items()}
        case list():
            return [resolve(entry) for entry in value]
        case _:
            return value


def complaints(**parameters: str) -> list[str]:
    """What CloudFormation's rules say of a stack with `parameters`, and the defaults for all others."""
    given = {name: str(one["Default"]) for name, one in TEMPLATE["Parameters"].items()} | parameters
    return [
        str(assertion["AssertDescription"])
        for rule in TEMPLATE["Rules"].values()
        if _holds(rule["RuleCondition"], given)
        for assertion in rule["Assertions"]
        if not _holds(assertion["Assert"], given)
    ]


def _holds(expression: Any, parameters: dict[str, str]) -> Any:
    match expression:
        case {"Ref": name}:
            return parameters[name]
        case {"Fn::Equals": [left, right]}:
            return _holds(left, parameters) == _holds(right, parameters)
        case {"Fn::Not": [inner]}:
            return not _holds(inner, parameters)
        case {"Fn::Or": some}:
            return any(_holds(one, parameters) for one in some)
        case {"Fn::Contains": [values, value]}:
            return _holds(value, parameters) in values
        case _:
            return expression


def _substitute(expression: str) -> Any:
    name, _, attribute = expression.partition(".")
    return resolve({"Fn::GetAtt": [name, attribute]} if attribute else {"Ref": name})


def _reference(name: str) -> Any:
    if name in _PSEUDO_PARAMETERS:
        return _PSEUDO_PARAMETERS[name]
    if name in TEMPLATE["Parameters"]:
        return TEMPLATE["Parameters"][name]["Default"]
    if TEMPLATE["Resources"][name]["Type"] == "AWS::SQS::Queue":
        return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{physical_name(name)}"
    return physical_name(name)


def _arn(name: str) -> str:
    match TEMPLATE["Resources"][name]["Type"]:
        case "AWS::S3::Bucket":
            return f"arn:aws:s3:::{physical_name(name)}"
        case "AWS::SQS::Queue":
            return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{physical_name(name)}"
        case "AWS::IAM::Role":
            return f"arn:aws:iam::{ACCOUNT}:role/{physical_name(name)}"
        case kind:
            raise NotImplementedError(f"ARN of {kind}")
