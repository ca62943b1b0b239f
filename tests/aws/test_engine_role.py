"""The engine's role as it is deployed: nothing to steal."""

from typing import Any

import pytest

from tests.aws.live import Live, Probe

ACTIONS = [
    "s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket", "s3:ListAllMyBuckets",
    "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Scan", "sqs:SendMessage", "sqs:ReceiveMessage",
    "states:StartExecution", "lambda:InvokeFunction", "lambda:GetFunction", "glue:GetTables",
    "athena:StartQueryExecution",
    "iam:PassRole", "iam:ListRoles", "sts:AssumeRole", "kms:Decrypt", "secretsmanager:GetSecretValue",
    "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets",
    "logs:GetLogEvents", "logs:FilterLogEvents", "cloudformation:DescribeStacks",
]  # fmt: skip


def _decisions(live: Live, actions: list[str], resource: str) -> dict[str, str]:
    """What IAM decides for code that runs in the engine's function."""
    of_function = {
        "ContextKeyName": "lambda:SourceFunctionArn",
        "ContextKeyValues": [live.engine["FunctionArn"]],
        "ContextKeyType": "string",
    }
    answer: dict[str, Any] = live.client("iam").simulate_principal_policy(
        PolicySourceArn=live.engine["Role"],
        ActionNames=actions,
        ResourceArns=[resource],
        ContextEntries=[of_function],
    )
    return {one["EvalActionName"]: one["EvalDecision"] for one in answer["EvaluationResults"]}


@pytest.mark.parametrize("bucket", ["RawBucketName", "LakeBucketName", "AuditBucketName"])
def test_code_in_the_engine_s_function_may_do_nothing(live: Live, bucket: str) -> None:
    # An emulator simulates without the context, and with it without the denial of EC2.
    actions = [action for action in ACTIONS if not (live.is_emulated and action.startswith("ec2:"))]
    partition = live.engine["Role"].split(":")[1]
    for resource in ("*", f"arn:{partition}:s3:::{live.outputs[bucket]}/raw/x"):
        assert [action for action, said in _decisions(live, actions, resource).items() if said == "allowed"] == []


def test_it_may_write_its_log(live: Live) -> None:
    group = live.engine["LoggingConfig"]["LogGroup"]
    (found,) = live.client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]

    assert _decisions(live, ["logs:PutLogEvents"], found["arn"]) == {"logs:PutLogEvents": "allowed"}


def test_its_credentials_read_no_image(deployed: Live, probe: Probe) -> None:
    assert probe("read_object", bucket=deployed.outputs["RawBucketName"], key="raw/nothing") == "AccessDenied"
