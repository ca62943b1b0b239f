"""An image goes through functions of one release, and whatever changes a function makes a version of it."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.application import ROOT, TEMPLATE, read, resolve, translated

ROOT_TEMPLATE = read(ROOT / "template.yaml")
INGEST = read(ROOT / "stacks/ingest.yaml")
LASTING = ("AWS::S3::Bucket", "AWS::DynamoDB::Table", "AWS::IAM::Role", "AWS::Logs::LogGroup")
"""What no deployment changes as long as there is the stack."""


def _versioned() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for template in (ROOT_TEMPLATE, INGEST):
        for name, resource in template["Resources"].items():
            if "AutoPublishAlias" in resource.get("Properties", {}) and name.endswith("Function"):
                yield name, resource, template


def _named(value: Any, template: dict[str, Any]) -> set[str]:
    """The parameters and layers that `value` depends on, those behind conditions included, by the root's names."""
    text = json.dumps(value)
    names = set(re.findall(r'"Ref": "([\w:]+)"', text)) | set(re.findall(r"\$\{([\w:]+)\}", text))
    for condition in re.findall(r'"Fn::If": \["(\w+)"', text):
        names |= _named(template["Conditions"][condition], template)
    if template is INGEST:
        given = ROOT_TEMPLATE["Resources"]["Ingest"]["Properties"]["Parameters"]
        names = set().union(*(_named(given.get(name, {}), ROOT_TEMPLATE) for name in names))
    resources = {name: one["Type"] for name, one in ROOT_TEMPLATE["Resources"].items()}
    return {
        name
        for name in names
        if name in ROOT_TEMPLATE["Parameters"] or resources.get(name) == "AWS::Serverless::LayerVersion"
    }


def test_the_workflow_calls_versions_of_functions() -> None:
    workflow = TEMPLATE["Resources"]["IngestImageStateMachine"]["Properties"]
    called = {name: value for name, value in workflow["DefinitionSubstitutions"].items() if "Function" in name}

    assert {name: value["Ref"] for name, value in called.items()} == {
        f"{name}Arn": f"{name}.Version" for name, _, _ in _versioned() if name != "HttpApiFunction"
    }
    assert workflow["AutoPublishAlias"] == "live"


@pytest.mark.parametrize(("name", "resource", "template"), list(_versioned()), ids=lambda value: str(value)[:20])
def test_whatever_changes_a_function_changes_the_description_of_its_version(
    name: str, resource: dict[str, Any], template: dict[str, Any]
) -> None:
    """SAM makes a version when the code changes, CloudFormation when the description does, and nobody for the rest."""
    properties = resource["Properties"]
    described = properties["VersionDescription"]
    of_all_versions = ("VersionDescription", "Role", "ReservedConcurrentExecutions", "DeploymentPreference")
    shaping = {key: value for key, value in properties.items() if key not in of_all_versions}
    shaping["Globals"] = template["Globals"]["Function"]["Environment"]

    assert _named(shaping, template) - _named(described, template) == set(), name
    assert resource["UpdateReplacePolicy"] == "Retain", "images are under way in the version of before"
    assert "DeletionPolicy" not in resource


def _longest(value: Any, template: dict[str, Any]) -> int:
    """Characters that a substitution can take at most."""
    match value:
        case {"Fn::Select": [7, _]}:
            return len("9" * 10)  # the number of a layer's version
        case {"Fn::If": [_, one, other]}:
            return max(_longest(one, template), _longest(other, template))
        case {"Ref": str(name)} if template is INGEST:
            given = ROOT_TEMPLATE["Resources"]["Ingest"]["Properties"]["Parameters"][name]
            return _longest(given, ROOT_TEMPLATE)
        case {"Ref": str(name)}:
            parameter = template["Parameters"][name]
            allowed = [len(one) for one in parameter.get("AllowedValues", [])]
            return max([*allowed, len(str(parameter.get("MaxValue", ""))), int(parameter.get("MaxLength", 0))])
    return len(value)


@pytest.mark.parametrize(("name", "resource", "template"), list(_versioned()), ids=lambda value: str(value)[:20])
def test_the_description_of_a_version_is_not_too_long_whatever_goes_into_it(
    name: str, resource: dict[str, Any], template: dict[str, Any]
) -> None:
    """Lambda takes 256 characters: https://docs.aws.amazon.com/lambda/latest/api/API_PublishVersion.html."""
    text, given = resource["Properties"]["VersionDescription"]["Fn::Sub"]
    lengths = [_longest(given.get(part, {"Ref": part}), template) for part in re.findall(r"\$\{(\w+)\}", text)]

    assert all(lengths), name
    assert len(re.sub(r"\$\{\w+\}", "", text)) + sum(lengths) <= 256, name


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        ("all-at-once", {"Type": "ALL_AT_ONCE"}),
        ("10-percent-for-10-minutes", {"Type": "CANARY", "Percentage": "10", "Interval": "10"}),
        ("10-percent-for-60-minutes", {"Type": "CANARY", "Percentage": "10", "Interval": "60"}),
    ],
)
def test_the_alias_shifts_as_the_parameter_says(
    shift: str, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Percentage` and `Interval` (minutes) are of https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-properties-stepfunctions-statemachinealias-deploymentpreference.html."""
    parameter = ROOT_TEMPLATE["Parameters"]["ReleaseShift"]
    monkeypatch.setitem(TEMPLATE["Parameters"]["ReleaseShift"], "Default", shift)
    preference = dict(TEMPLATE["Resources"]["IngestImageStateMachine"]["Properties"]["DeploymentPreference"])
    alarms = preference.pop("Alarms")

    assert shift in parameter["AllowedValues"]
    assert resolve(preference) == expected
    assert alarms["Fn::If"][0] == "ShiftsInSteps"
    assert alarms["Fn::If"][2] == {"Ref": "AWS::NoValue"}


def test_every_alarm_of_the_stack_of_releases_watches_the_shift_and_new_versions_only() -> None:
    """CloudWatch takes a name that is no alarm's for one that never rings."""
    release = read(ROOT / "stacks/release.yaml")
    alarms = {name for name, one in release["Resources"].items() if one["Type"] == "AWS::CloudWatch::Alarm"}
    of_workflow = {one["Ref"] for one in release["Outputs"]["Alarms"]["Value"]["Fn::Join"][1]}
    of_api = {release["Outputs"]["ApiAlarm"]["Value"]["Ref"]}
    of_a_version = {"Resource", "version"}

    assert of_workflow | of_api == alarms
    assert not of_workflow & of_api, "one that rings would keep CodeDeploy from going back, too"
    for name in alarms:
        assert "Version" in json.dumps(release["Resources"][name]["Properties"]["AlarmName"]), (
            "one that rings stays behind"
        )
    for name in of_workflow:
        metrics = [one["MetricStat"]["Metric"] for one in TEMPLATE["Resources"][name]["Properties"]["Metrics"][1:]]
        of_all = [one for one in metrics if not of_a_version & {entry["Name"] for entry in one["Dimensions"]}]
        assert len(of_all) == {"NewVersionSlowAlarm": 1, "NewVersionScriptsAlarm": 2}.get(name, 0), (
            "what it is compared with"
        )


@pytest.mark.parametrize(
    ("shift", "minutes"), [("10-percent-for-10-minutes", "10"), ("10-percent-for-60-minutes", "60")]
)
def test_requests_to_the_api_shift_as_images_do(shift: str, minutes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEMPLATE["Parameters"]["ReleaseShift"], "Default", shift)
    given = translated()["Resources"]
    group = given["HttpApiFunctionDeploymentGroup"]["Properties"]

    routing = resolve(given["ApiShift"]["Properties"]["TrafficRoutingConfig"])
    assert routing["TimeBasedCanary"] == {"CanaryPercentage": "10", "CanaryInterval": minutes}
    assert group["DeploymentConfigName"]["Fn::If"][1] == {"Ref": "ApiShift"}
    assert group["DeploymentConfigName"]["Fn::If"][2]["Fn::Sub"][1] == {"ConfigName": "AllAtOnce"}
    assert group["AlarmConfiguration"]["Fn::If"][1] == {
        "Enabled": True,
        "Alarms": [{"Name": {"Ref": "NewVersionApiAlarm"}}],
    }


def test_the_api_calls_its_alias_and_the_workflow_comes_after_it() -> None:
    """A new version of the workflow may write what only a new API reads."""
    given = translated()["Resources"]

    alias = given["HttpApiFunctionAliaslive"]
    assert alias["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]["DeploymentGroupName"] == {
        "Ref": "HttpApiFunctionDeploymentGroup"
    }
    assert "HttpApiFunctionAliaslive" in given["IngestImageStateMachine"]["DependsOn"]
    called = json.dumps(given["Api"]["Properties"]["Body"])
    assert "${HttpApiFunctionAliaslive}/invocations" in called
    assert "${HttpApiFunction.Arn}" not in called
