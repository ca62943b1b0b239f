"""The application's files, as the tests read them: the templates, the workflow, the sample events.

Tests see one template: root and nested stacks together, with what the root passes in place of a parameter of a nested
stack, its default where nothing is passed, and what an output refers to in place of the output.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

from samcli.yamlhelper import yaml_parse

from tools.check_template import translate

type Resources = dict[str, dict[str, Any]]

ROOT = Path(__file__).parent.parent
STACKS = sorted(ROOT.glob("stacks/*.yaml"))
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


def whole(read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Root and nested stacks as one template.

    Args:
        read: gives a template file as it is, or as it is translated.

    Raises:
        ValueError: two stacks have the same logical id, or mean something else by a condition or by Globals.
    """
    root = read(ROOT / "template.yaml")
    nested: Resources = {}
    for name, stack in list(root["Resources"].items()):
        if stack["Type"] != "AWS::CloudFormation::Stack" or not stack["Properties"]["TemplateURL"].startswith(
            "stacks/"
        ):
            continue
        nested[name] = _nested(read(ROOT / stack["Properties"]["TemplateURL"]), stack)
        del root["Resources"][name]
    outputs = {name: one["Outputs"] for name, one in nested.items()}
    # An output may be of a stack that got another stack's output: until nothing is left to put in.
    merged = {
        section: _put_in(dict(root.get(section, {})), {}, outputs) for section in ("Resources", "Conditions", "Outputs")
    }
    for one in nested.values():
        if one.get("Globals", root.get("Globals")) != root.get("Globals"):
            raise ValueError("Globals differ")
        for section in ("Resources", "Conditions"):
            for name, value in _put_in(one[section], {}, outputs).items():
                if merged[section].setdefault(name, value) != value:
                    raise ValueError(f"two stacks have {name}")
    return root | merged


def _nested(template: dict[str, Any], stack: dict[str, Any]) -> dict[str, Any]:
    """A nested stack with its parameters put in, and the condition of the stack at each of its resources."""
    given = {name: one["Default"] for name, one in template["Parameters"].items() if "Default" in one}
    given |= stack["Properties"].get("Parameters", {})
    for name, one in template["Parameters"].items():
        match given[name]:  # a list is passed as a text
            case {"Fn::Join": [",", items]} if one["Type"] == "CommaDelimitedList":
                given[name] = items
    result: dict[str, Any] = {"Conditions": {}, "Outputs": {}}
    for section in ("Globals", "Conditions", "Resources", "Outputs"):
        if section in template:
            result[section] = _put_in(template[section], given, {})
    if outer := stack.get("Condition"):
        for one in result["Resources"].values():
            if inner := one.get("Condition"):
                both = f"{outer}And{inner}"
                result["Conditions"][both] = {"Fn::And": [{"Condition": outer}, {"Condition": inner}]}
                one["Condition"] = both
            else:
                one["Condition"] = outer
    result["Outputs"] = {name: one["Value"] for name, one in result["Outputs"].items()}
    return result


def _put_in(value: Any, given: Mapping[str, Any], outputs: Mapping[str, Mapping[str, Any]]) -> Any:
    """`value` with what `given` has for parameters, and `outputs` for outputs of nested stacks."""
    match value:
        case {"Ref": name} if name in given:
            return given[name]
        case {"Fn::GetAtt": [stack, attribute]} if stack in outputs and attribute.startswith("Outputs."):
            return _put_in(outputs[stack][attribute.removeprefix("Outputs.")], given, outputs)
        case {"Fn::Sub": str(text)}:
            return _substituted(text, {}, given)
        case {"Fn::Sub": [text, names]}:
            return _substituted(text, _put_in(names, given, outputs), given)
        case dict():
            return {name: _put_in(entry, given, outputs) for name, entry in value.items()}
        case list():
            return [_put_in(entry, given, outputs) for entry in value]
        case _:
            return value


def _substituted(text: str, names: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A `Fn::Sub` whose names are those of the whole: a parameter becomes the reference that was passed for it."""
    left = dict(names)

    def spelled(match: re.Match[str]) -> str:
        name = match[1]
        match left.get(name):
            case {"Ref": other} if not name.startswith("__"):  # those are the transform's
                del left[name]
                return f"${{{other}}}"
        if name in names or name not in given:
            return match[0]
        match given[name]:
            case {"Ref": other}:
                return f"${{{other}}}"
            case {"Fn::GetAtt": [resource, attribute]} if not attribute.startswith("Outputs."):
                return f"${{{resource}.{attribute}}}"
            case {"Fn::GetAtt": [stack, attribute]}:
                left[name] = {"Fn::GetAtt": [stack, attribute]}
                return match[0]
            case plain:
                return str(plain)

    result = re.sub(r"\$\{([^}!]+)\}", spelled, text)
    return {"Fn::Sub": [result, left] if left else result}


def read(path: Path) -> dict[str, Any]:
    """A template file as it is."""
    return cast("dict[str, Any]", yaml_parse(path.read_text(encoding="utf-8")))


TEMPLATE: dict[str, Any] = whole(read)


@cache
def translated() -> dict[str, Any]:
    """The whole as the transform leaves it: what CloudFormation is given."""
    return whole(lambda path: cast("dict[str, Any]", yaml_parse(translate(path))))


def event(name: str) -> dict[str, Any]:
    """The sample event `name`, a fresh copy at every call."""
    sample: dict[str, Any] = json.loads((ROOT / f"events/{name}.json").read_text(encoding="utf-8"))
    return sample


def as_caller(sample: dict[str, Any], subject: str, *groups: str) -> dict[str, Any]:
    """A request to the API, as API Gateway passes on one of this user."""
    audience = resolve({"Ref": "UserPoolClient"})
    claims = {"sub": subject, "aud": audience, "token_use": "id", "cognito:groups": list(groups)}
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    sample["headers"]["Authorization"] = f"e30.{payload}.c2FtcGxl"
    sample["requestContext"]["authorizer"]["claims"] |= claims | {"cognito:groups": ",".join(groups)}
    return sample


def resources(kind: str) -> Resources:
    """The template's resources of a type, such as `AWS::S3::Bucket`, by logical id."""
    return {name: resource for name, resource in TEMPLATE["Resources"].items() if resource["Type"] == kind}


def logical_id(function_folder: str) -> str:
    """The resource of a function: `ProcessImageFunction` of `process_image`."""
    return function_folder.title().replace("_", "") + "Function"


def variables(function_folder: str) -> dict[str, Any]:
    """The environment variables the template gives to one function alone, unresolved."""
    properties = TEMPLATE["Resources"][logical_id(function_folder)]["Properties"]
    found: dict[str, Any] = properties.get("Environment", {}).get("Variables", {})
    return found


def task_variables() -> dict[str, Any]:
    """The environment variables the template gives to the task for large images, unresolved."""
    (container,) = TEMPLATE["Resources"]["ProcessLargeImageTask"]["Properties"]["ContainerDefinitions"]
    return {variable["Name"]: variable["Value"] for variable in container["Environment"]}


def physical_name(name: str) -> str:
    """What the stack of the tests calls a resource; what `Ref` gives, but for queues and workflows."""
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
        case {"Ref": str(name)} if name.endswith(".Version"):
            return f"{_arn(name.removesuffix('.Version'))}:1"
        case {"Ref": name}:
            return _reference(name)
        case {"Fn::GetAtt": [name, "Arn"]}:
            return _arn(name)
        case {"Fn::Sub": str(text)}:
            return re.sub(r"\$\{([^}]+)\}", lambda match: str(_substitute(match[1])), text)
        case {"Fn::Join": [separator, parts]}:
            return separator.join(resolve(parts))
        case {"Fn::If": [condition, yes, no]}:
            return resolve(yes if _is_met(condition) else no)
        case {"Fn::Split": [separator, text]}:
            return resolve(text).split(separator)
        case {"Fn::Select": [number, several]}:
            return resolve(several)[int(number)]
        case dict():
            if unknown := [name for name in value if name.startswith("Fn::")]:
                raise NotImplementedError(unknown[0])
            return {name: one for name, entry in value.items() if (one := resolve(entry)) is not _NO_VALUE}
        case list():
            return [one for entry in value if (one := resolve(entry)) is not _NO_VALUE]
        case _:
            return value


_NO_VALUE = object()
"""What `AWS::NoValue` gives: the property is not there."""


def _is_met(condition: str) -> bool:
    defaults = {name: str(one["Default"]) for name, one in TEMPLATE["Parameters"].items()}
    return bool(_holds(TEMPLATE["Conditions"][condition], defaults))


def complaints(template: dict[str, Any] | None = None, /, **parameters: str) -> list[str]:
    """What CloudFormation's rules say of a stack with `parameters`, and the defaults for all others."""
    rules = (template or TEMPLATE)["Rules"].values()
    defaults = (template or TEMPLATE)["Parameters"].items()
    given = {name: str(one["Default"]) for name, one in defaults if "Default" in one} | parameters
    return [
        str(assertion["AssertDescription"])
        for rule in rules
        if _holds(rule.get("RuleCondition", True), given)
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
        case {"Fn::And": some}:
            return all(_holds(one, parameters) for one in some)
        case {"Fn::Contains": [values, value]}:
            return _holds(value, parameters) in values
        case _:
            return expression


def _substitute(expression: str) -> Any:
    name, _, attribute = expression.partition(".")
    return resolve({"Fn::GetAtt": [name, attribute]} if attribute else {"Ref": name})


def _reference(name: str) -> Any:
    if name == "AWS::NoValue":
        return _NO_VALUE
    if name in _PSEUDO_PARAMETERS:
        return _PSEUDO_PARAMETERS[name]
    if name in TEMPLATE["Parameters"]:
        return TEMPLATE["Parameters"][name]["Default"]
    if name.endswith("Aliaslive"):  # SAM makes it
        return f"{_reference(name.removesuffix('Aliaslive'))}:live"
    match TEMPLATE["Resources"][name]["Type"]:
        case "AWS::SQS::Queue":
            return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{physical_name(name)}"
        case "AWS::Serverless::StateMachine":
            return f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{physical_name(name)}"
        case _:
            return physical_name(name)


def _arn(name: str) -> str:
    match TEMPLATE["Resources"][name]["Type"]:
        case "AWS::S3::Bucket":
            return f"arn:aws:s3:::{physical_name(name)}"
        case "AWS::SQS::Queue":
            return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{physical_name(name)}"
        case "AWS::IAM::Role":
            return f"arn:aws:iam::{ACCOUNT}:role/{physical_name(name)}"
        case "AWS::Serverless::Function":
            return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{physical_name(name)}"
        case kind:
            raise NotImplementedError(f"ARN of {kind}")
