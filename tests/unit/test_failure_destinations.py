"""Whatever starts something without waiting for it has a place for what fails: in all stacks, and in the examples."""

import copy
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.application import ROOT, read, translated

type Resources = dict[str, Any]

BESIDE = [*ROOT.glob("infra/*.yaml"), *ROOT.glob("examples/events/*.yaml")]


@cache
def everything() -> Resources:
    """The resources of the whole, options included, and of the stacks beside it; those by the names of their files."""
    found = dict(translated()["Resources"])
    for path in BESIDE:
        found |= {f"{path.stem} {name}": one for name, one in read(path)["Resources"].items()}
    return found


def without_destination(resources: Resources) -> set[str]:
    """What has no failure destination: targets of rules and schedules, mappings, pipes, subscriptions, functions."""
    found = {
        place
        for name, one in resources.items()
        for place in _of_source(name, one.get("Type", ""), one.get("Properties", {}), resources)
    }
    for name in called_asynchronously(resources):
        function = resources[name]["Properties"]
        if not function.get("DeadLetterConfig", {}).get("TargetArn") and name not in _configured(resources):
            found.add(name)
    return found


def _queue_of(name: str, properties: dict[str, Any], resources: Resources) -> dict[str, Any]:
    """The queue that a mapping reads, if it is one: what fails goes where the queue says."""
    source = properties.get("EventSourceArn")
    queue = source["Fn::GetAtt"][0] if isinstance(source, dict) and "Fn::GetAtt" in source else ""
    found = resources.get(f"{name.rpartition(' ')[0]} {queue}".strip(), {})
    return dict(found) if found.get("Type") == "AWS::SQS::Queue" else {}


def _of_source(name: str, kind: str, properties: dict[str, Any], resources: Resources) -> Iterator[str]:
    match kind:
        case "AWS::Events::Rule":
            for target in properties["Targets"]:
                if not (target.get("DeadLetterConfig", {}).get("Arn") and "RetryPolicy" in target):
                    yield f"{name}: {target['Id']}"
        case "AWS::Scheduler::Schedule":
            target = properties["Target"]
            if not (target.get("DeadLetterConfig", {}).get("Arn") and "RetryPolicy" in target):
                yield name
        case "AWS::Lambda::EventSourceMapping":
            of_queue = _queue_of(name, properties, resources).get("Properties", {}).get("RedrivePolicy")
            if not (of_queue or properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")):
                yield name
        case "AWS::Pipes::Pipe":
            if "DeadLetterConfig" not in json.dumps(properties.get("SourceParameters", {})):
                yield name
        case "AWS::SNS::Subscription":
            if "RedrivePolicy" not in properties:
                yield name


def called_asynchronously(resources: Resources) -> set[str]:
    """The functions that a rule, a schedule, a bucket, or another function starts without waiting for it."""
    functions = {name for name, one in resources.items() if one.get("Type") == "AWS::Lambda::Function"}
    callers: list[Any] = []
    for one in resources.values():
        properties = one.get("Properties", {})
        match one.get("Type"):
            case "AWS::Events::Rule":
                callers += [target["Arn"] for target in properties["Targets"]]
            case "AWS::Scheduler::Schedule":
                callers.append(properties["Target"]["Arn"])
            case "AWS::S3::Bucket":
                callers.append(properties.get("NotificationConfiguration", {}).get("LambdaConfigurations", []))
            case "AWS::IAM::Role" if "lambda.amazonaws.com" in json.dumps(properties["AssumeRolePolicyDocument"]):
                callers += [
                    statement["Resource"]
                    for policy in properties.get("Policies", ())
                    for statement in policy.get("PolicyDocument", {}).get("Statement", ())
                    if "lambda:InvokeFunction" in json.dumps(statement.get("Action", ""))
                ]
    # One that calls a version waits for its answer.
    return functions & set(re.findall(r"\w+", re.sub(r"\$\{\w+\.Arn\}:\*", "", json.dumps(callers))))


def _configured(resources: Resources) -> set[str]:
    """The functions whose asynchronous invocations have a destination for failures."""
    configured = [
        one["Properties"] for one in resources.values() if one.get("Type") == "AWS::Lambda::EventInvokeConfig"
    ]
    destined = [one["FunctionName"] for one in configured if "OnFailure" in one.get("DestinationConfig", {})]
    return set(re.findall(r"\w+", json.dumps(destined)))


def test_whatever_starts_something_has_a_place_for_what_fails() -> None:
    assert without_destination(everything()) == set()


STREAM_FORGETS = 24 * 3600
"""https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html"""


def test_a_record_of_a_stream_is_given_up_before_the_stream_forgets_it() -> None:
    mappings = {
        name: one["Properties"]
        for name, one in everything().items()
        if one.get("Type") == "AWS::Lambda::EventSourceMapping"
        and "StreamArn" in json.dumps(one["Properties"].get("EventSourceArn"))
    }

    assert len(mappings) == 2
    for name, mapping in mappings.items():
        assert 0 < mapping["MaximumRecordAgeInSeconds"] <= STREAM_FORGETS - 3600, name
        assert mapping.get("MaximumRetryAttempts", -1) == -1, f"{name}: only age ends its tries"


SOURCES = ("AWS::Events::Rule", "AWS::Scheduler::Schedule", "AWS::Lambda::EventSourceMapping")


def _sources() -> list[str]:
    return sorted(name for name, one in everything().items() if one.get("Type") in SOURCES)


def test_sources_of_each_kind_are_looked_at() -> None:
    kinds = {everything()[name]["Type"] for name in _sources()}

    assert kinds == set(SOURCES)
    assert {"own_queue OutcomesRule", "webhook WebhookRule", "signed_webhook OutcomesOfQueue"} <= set(_sources())
    assert {"RejectionsRule", "ImageTopicOfMsk"} <= set(_sources())
    # CloudFormation calls `configure_redshift` and `rehearse_release` so too; what they do not answer fails the stack.
    assert called_asynchronously(everything()) == {
        *("AuditRetentionFunction", "CompactCatalogFunction", "ReconcileFunction", "EraseImageFunction"),
    }


@pytest.mark.parametrize("name", _sources())
def test_a_source_whose_destination_is_taken_away_is_noticed(name: str) -> None:
    resources = copy.deepcopy(everything())
    properties = resources[name]["Properties"]
    if queue := _queue_of(name, properties, resources):
        del queue["Properties"]["RedrivePolicy"]
    for place in (properties, properties.get("Target", {}), *properties.get("Targets", ())):
        for key in ("DeadLetterConfig", "DestinationConfig"):
            place.pop(key, None)

    assert {one.partition(":")[0] for one in without_destination(resources)} == {name}


@pytest.mark.parametrize("name", sorted(called_asynchronously(everything())))
def test_a_function_whose_dead_letter_queue_is_taken_away_is_noticed(name: str) -> None:
    resources = copy.deepcopy(everything())
    del resources[name]["Properties"]["DeadLetterConfig"]

    assert without_destination(resources) == {name}


@pytest.mark.parametrize("kind", ["AWS::Pipes::Pipe", "AWS::SNS::Subscription"])
def test_a_kind_of_source_that_there_is_not_yet_is_noticed(kind: str) -> None:
    assert without_destination({"New": {"Type": kind, "Properties": {}}}) == {"New"}
