"""What images go through: a version of the workflow that calls versions of functions, reached by its alias."""

import json

from tests.aws.live import Live

FUNCTIONS = ("OpenImageFunction", "ProcessImageFunction", "CloseImageFunction")


def test_the_alias_runs_a_workflow_of_published_versions(deployed: Live) -> None:
    steps, functions = deployed.client("stepfunctions"), deployed.client("lambda")
    alias = f"{deployed.outputs['IngestImageStateMachineArn']}:live"
    routing = steps.describe_state_machine_alias(stateMachineAliasArn=alias)["routingConfiguration"]

    for route in routing:
        definition = steps.describe_state_machine(stateMachineArn=route["stateMachineVersionArn"])["definition"]
        states = json.loads(definition)["States"].values()
        called = {one["Arguments"]["FunctionName"] for one in states if "FunctionName" in one.get("Arguments", {})}
        assert len(called) == len(FUNCTIONS)
        for version in called:
            number = version.rpartition(":")[2]
            assert functions.get_function_configuration(FunctionName=version)["Version"] == number != "$LATEST"


def test_the_rule_starts_the_alias(deployed: Live) -> None:
    rule = deployed.physical_ids["IngestImageStateMachineImageArrived"]
    (target,) = deployed.client("events").list_targets_by_rule(Rule=rule)["Targets"]

    assert target["Arn"] == f"{deployed.outputs['IngestImageStateMachineArn']}:live"
