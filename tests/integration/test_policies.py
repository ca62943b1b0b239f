"""What each role may do, spelled out: nothing more, and nothing by accident.

The local lake checks every call a function makes against its role's policies, and runs a test with a permission taken
away. It does not check the roles of Step Functions, EventBridge and API Gateway; for those this proof on the
translated template, which is what CloudFormation gets, is the only one.
"""

import json
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import botocore.session
import pytest

from tests import application

type Grants = set[tuple[str, str]]
"""Pairs of an action and a resource."""

FUNCTION, WORKFLOW, RULE = "lambda.amazonaws.com", "states.amazonaws.com", "events.amazonaws.com"
SCHEDULE = "scheduler.amazonaws.com"
GLUE = "arn:${AWS::Partition}:glue:${AWS::Region}:${AWS::AccountId}"
ATHENA = "arn:${AWS::Partition}:athena:${AWS::Region}:${AWS::AccountId}"
STATES = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}"
EC2 = (
    "arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:*/*",
    "arn:${AWS::Partition}:ec2:${AWS::Region}:*:subnet/*",
)
"""Where Lambda may put interfaces; what runs in a function may not, as test_network_template.py says."""

REHEARSALS = "${LakeBucket.Arn}/derived/*/rehearsal/*"
"""Of any hour: narrower than all derivatives."""

ROLES: dict[str, tuple[str, Grants]] = {
    "HttpApiRole": (
        FUNCTION,
        {
            ("s3:PutObject", "${RawBucket.Arn}/raw/*"),
            ("s3:ListBucket", "${RawBucket.Arn}"),
            ("s3:GetObject", "${LakeBucket.Arn}/derived/*"),
            ("dynamodb:BatchWriteItem", "${ImagesTable.Arn}"),
            ("dynamodb:GetItem", "${ImagesTable.Arn}"),
            ("dynamodb:Query", "${ImagesTable.Arn}/index/by_uploader"),
            ("logs:CreateLogStream", "${HttpApiLogGroup.Arn}"),
            ("logs:PutLogEvents", "${HttpApiLogGroup.Arn}"),
        },
    ),
    "OpenImageRole": (
        FUNCTION,
        {
            ("dynamodb:GetItem", "${ImagesTable.Arn}"),
            ("s3:ListBucketVersions", "${RawBucket.Arn}"),
            ("s3:GetObjectVersion", "${RawBucket.Arn}/raw/*"),
            ("s3:PutObject", "${LakeBucket.Arn}/derived/*"),
            ("logs:CreateLogStream", "${OpenImageLogGroup.Arn}"),
            ("logs:PutLogEvents", "${OpenImageLogGroup.Arn}"),
        },
    ),
    "ProcessImageRole": (
        FUNCTION,
        {
            ("logs:CreateLogStream", "${ProcessImageLogGroup.Arn}"),
            ("logs:PutLogEvents", "${ProcessImageLogGroup.Arn}"),
            *((f"ec2:{action}NetworkInterface", where) for action in ("Create", "Delete") for where in EC2),
            *((f"ec2:{action}PrivateIpAddresses", where) for action in ("Assign", "Unassign") for where in EC2),
            ("ec2:DescribeNetworkInterfaces", "*"),
            ("ec2:DescribeSubnets", "*"),
        },
    ),
    "CloseImageRole": (
        FUNCTION,
        {
            ("s3:GetObject", "${LakeBucket.Arn}/derived/*"),
            ("s3:ListBucket", "${LakeBucket.Arn}"),
            ("logs:CreateLogStream", "${CloseImageLogGroup.Arn}"),
            ("logs:PutLogEvents", "${CloseImageLogGroup.Arn}"),
        },
    ),
    "ApiShiftRole": (
        "codedeploy.amazonaws.com",
        {
            *(
                (f"lambda:{action}", f"${{HttpApiFunction.Arn}}{part}")
                for action in ("GetAlias", "GetProvisionedConcurrencyConfig", "UpdateAlias")
                for part in ("", ":live")
            ),
            ("cloudwatch:DescribeAlarms", "${NewVersionApiAlarm.Arn}"),
        },
    ),
    "RehearseReleaseRole": (
        FUNCTION,
        {
            ("lambda:InvokeFunction", "${ProcessImageFunction.Arn}:*"),
            ("s3:GetObject", "${LakeBucket.Arn}/derived/*/rehearsal/*"),
            ("s3:PutObject", "${LakeBucket.Arn}/derived/*/rehearsal/*"),
            ("s3:DeleteObject", "${LakeBucket.Arn}/derived/*/rehearsal/*"),
            ("s3:ListBucket", "${LakeBucket.Arn}"),
            ("logs:CreateLogStream", "${RehearseReleaseLogGroup.Arn}"),
            ("logs:PutLogEvents", "${RehearseReleaseLogGroup.Arn}"),
        },
    ),
    "WriteCatalogRole": (
        FUNCTION,
        {
            ("dynamodb:DescribeStream", "${ImagesTable.StreamArn}"),
            ("dynamodb:GetRecords", "${ImagesTable.StreamArn}"),
            ("dynamodb:GetShardIterator", "${ImagesTable.StreamArn}"),
            ("dynamodb:ListStreams", "*"),
            ("s3:PutObject", "${LakeBucket.Arn}/catalog/*"),
            ("s3:PutObject", "${LakeBucket.Arn}/compaction/*"),
            ("s3:GetObject", "${LakeBucket.Arn}/catalog/*"),
            ("s3:GetObject", "${LakeBucket.Arn}/compaction/*"),
            ("s3:ListBucket", "${LakeBucket.Arn}"),
            ("glue:BatchCreatePartition", f"{GLUE}:catalog"),
            ("glue:BatchCreatePartition", f"{GLUE}:database/${{CatalogDatabase}}"),
            ("glue:BatchCreatePartition", f"{GLUE}:table/${{CatalogDatabase}}/${{CatalogTable}}"),
            ("lambda:InvokeFunction", "${EraseImageFunction.Arn}"),
            ("sqs:SendMessage", "${DeadLetterQueue.Arn}"),
            ("logs:CreateLogStream", "${WriteCatalogLogGroup.Arn}"),
            ("logs:PutLogEvents", "${WriteCatalogLogGroup.Arn}"),
        },
    ),
    "IngestImageRole": (
        WORKFLOW,
        {
            ("lambda:InvokeFunction", "${OpenImageFunction.Arn}:*"),
            ("lambda:InvokeFunction", "${ProcessImageFunction.Arn}:*"),
            ("lambda:InvokeFunction", "${CloseImageFunction.Arn}:*"),
            ("dynamodb:GetItem", "${ImagesTable.Arn}"),
            ("dynamodb:PutItem", "${ImagesTable.Arn}"),
            ("dynamodb:UpdateItem", "${ImagesTable.Arn}"),
            ("sqs:SendMessage", "${DeadLetterQueue.Arn}"),
            ("logs:CreateLogDelivery", "*"),
            ("logs:GetLogDelivery", "*"),
            ("logs:UpdateLogDelivery", "*"),
            ("logs:DeleteLogDelivery", "*"),
            ("logs:ListLogDeliveries", "*"),
            ("logs:PutResourcePolicy", "*"),
            ("logs:DescribeResourcePolicies", "*"),
            ("logs:DescribeLogGroups", "*"),
        },
    ),
    "CompactCatalogRole": (
        FUNCTION,
        {
            ("s3:ListBucket", "${LakeBucket.Arn}"),
            ("s3:GetObject", "${LakeBucket.Arn}/catalog/*"),
            ("s3:GetObject", "${LakeBucket.Arn}/compaction/*"),
            ("s3:PutObject", "${LakeBucket.Arn}/catalog/*"),
            ("s3:PutObject", "${LakeBucket.Arn}/compaction/*"),
            ("s3:DeleteObject", "${LakeBucket.Arn}/catalog/*"),
            ("s3:DeleteObject", "${LakeBucket.Arn}/compaction/*"),
            ("glue:GetPartitions", f"{GLUE}:catalog"),
            ("glue:GetPartitions", f"{GLUE}:database/${{CatalogDatabase}}"),
            ("glue:GetPartitions", f"{GLUE}:table/${{CatalogDatabase}}/${{CatalogTable}}"),
            ("glue:BatchUpdatePartition", f"{GLUE}:catalog"),
            ("glue:BatchUpdatePartition", f"{GLUE}:database/${{CatalogDatabase}}"),
            ("glue:BatchUpdatePartition", f"{GLUE}:table/${{CatalogDatabase}}/${{CatalogTable}}"),
            ("sqs:SendMessage", "${DeadLetterQueue.Arn}"),
            ("logs:CreateLogStream", "${CompactCatalogLogGroup.Arn}"),
            ("logs:PutLogEvents", "${CompactCatalogLogGroup.Arn}"),
        },
    ),
    "RebuildCatalogRole": (
        FUNCTION,
        {
            ("dynamodb:Query", "${ImagesTable.Arn}/index/by_expiry"),
            ("dynamodb:BatchGetItem", "${ImagesTable.Arn}"),
            ("s3:ListBucket", "${LakeBucket.Arn}"),
            ("s3:GetObject", "${LakeBucket.Arn}/catalog/*"),
            ("s3:GetObject", "${LakeBucket.Arn}/compaction/*"),
            ("s3:PutObject", "${LakeBucket.Arn}/catalog/*"),
            ("s3:PutObject", "${LakeBucket.Arn}/compaction/*"),
            ("s3:DeleteObject", "${LakeBucket.Arn}/compaction/*"),
            *(
                (f"glue:{action}", f"{GLUE}:{resource}")
                for action in ("GetPartition", "BatchCreatePartition", "BatchUpdatePartition")
                for resource in ("catalog", "database/${CatalogDatabase}", "table/${CatalogDatabase}/${CatalogTable}")
            ),
            ("logs:CreateLogStream", "${RebuildCatalogLogGroup.Arn}"),
            ("logs:PutLogEvents", "${RebuildCatalogLogGroup.Arn}"),
        },
    ),
    "PublishOutcomesRole": (
        FUNCTION,
        {
            ("dynamodb:DescribeStream", "${ImagesTable.StreamArn}"),
            ("dynamodb:GetRecords", "${ImagesTable.StreamArn}"),
            ("dynamodb:GetShardIterator", "${ImagesTable.StreamArn}"),
            ("dynamodb:ListStreams", "*"),
            ("dynamodb:Query", "${ImagesTable.Arn}/index/by_expiry"),
            ("dynamodb:BatchGetItem", "${ImagesTable.Arn}"),
            ("events:PutEvents", "${EventBus.Arn}"),
            ("sqs:SendMessage", "${DeadLetterQueue.Arn}"),
            ("logs:CreateLogStream", "${PublishOutcomesLogGroup.Arn}"),
            ("logs:PutLogEvents", "${PublishOutcomesLogGroup.Arn}"),
        },
    ),
    "EraseImageRole": (
        FUNCTION,
        {
            ("events:PutEvents", "${EventBus.Arn}"),
            ("dynamodb:GetItem", "${ImagesTable.Arn}"),
            ("dynamodb:PutItem", "${ImagesTable.Arn}"),
            ("dynamodb:UpdateItem", "${ImagesTable.Arn}"),
            ("s3:ListBucketVersions", "${RawBucket.Arn}"),
            ("s3:ListBucketVersions", "${LakeBucket.Arn}"),
            ("s3:ListBucket", "${LakeBucket.Arn}"),
            ("s3:DeleteObject", "${RawBucket.Arn}/raw/*"),
            ("s3:DeleteObject", "${LakeBucket.Arn}/derived/*"),
            ("s3:DeleteObjectVersion", "${RawBucket.Arn}/raw/*"),
            ("s3:DeleteObjectVersion", "${LakeBucket.Arn}/derived/*"),
            ("s3:GetObject", "${LakeBucket.Arn}/catalog/*"),
            ("s3:GetObject", "${LakeBucket.Arn}/compaction/*"),
            ("s3:PutObject", "${LakeBucket.Arn}/catalog/*"),
            ("s3:PutObject", "${LakeBucket.Arn}/compaction/*"),
            ("s3:ListBucket", "${AuditBucket.Arn}"),
            ("s3:PutObject", "${AuditBucket.Arn}/receipts/erasures/*"),
            ("sqs:SendMessage", "${DeadLetterQueue.Arn}"),
            ("logs:CreateLogStream", "${EraseImageLogGroup.Arn}"),
            ("logs:PutLogEvents", "${EraseImageLogGroup.Arn}"),
        },
    ),
    "EnforceRetentionRole": (
        FUNCTION,
        {
            ("s3:ListBucketVersions", "${RawBucket.Arn}"),
            ("s3:ListBucketVersions", "${LakeBucket.Arn}"),
            ("s3:ListBucketMultipartUploads", "${RawBucket.Arn}"),
            ("s3:ListBucketMultipartUploads", "${LakeBucket.Arn}"),
            ("s3:DeleteObject", "${RawBucket.Arn}/*"),
            ("s3:DeleteObject", "${LakeBucket.Arn}/*"),
            ("s3:DeleteObjectVersion", "${RawBucket.Arn}/*"),
            ("s3:DeleteObjectVersion", "${LakeBucket.Arn}/*"),
            ("s3:AbortMultipartUpload", "${RawBucket.Arn}/*"),
            ("s3:AbortMultipartUpload", "${LakeBucket.Arn}/*"),
            ("dynamodb:Query", "${ImagesTable.Arn}/index/by_expiry"),
            ("dynamodb:DeleteItem", "${ImagesTable.Arn}"),
            ("dynamodb:BatchGetItem", "${ImagesTable.Arn}"),
            ("s3:ListBucket", "${AuditBucket.Arn}"),
            ("s3:GetObject", "${AuditBucket.Arn}/receipts/purges/*"),
            ("s3:PutObject", "${AuditBucket.Arn}/receipts/purges/*"),
            ("events:PutEvents", "${EventBus.Arn}"),
            ("glue:GetPartitions", f"{GLUE}:catalog"),
            ("glue:GetPartitions", f"{GLUE}:database/${{CatalogDatabase}}"),
            ("glue:GetPartitions", f"{GLUE}:table/${{CatalogDatabase}}/${{CatalogTable}}"),
            ("glue:DeletePartition", f"{GLUE}:catalog"),
            ("glue:DeletePartition", f"{GLUE}:database/${{CatalogDatabase}}"),
            ("glue:DeletePartition", f"{GLUE}:table/${{CatalogDatabase}}/${{CatalogTable}}"),
            ("logs:CreateLogStream", "${EnforceRetentionLogGroup.Arn}"),
            ("logs:PutLogEvents", "${EnforceRetentionLogGroup.Arn}"),
        },
    ),
    "AuditRetentionRole": (
        FUNCTION,
        {
            ("s3:ListBucketVersions", "${RawBucket.Arn}"),
            ("s3:ListBucketVersions", "${LakeBucket.Arn}"),
            ("s3:ListBucketVersions", "${AuditBucket.Arn}"),
            ("s3:ListBucketMultipartUploads", "${RawBucket.Arn}"),
            ("s3:ListBucketMultipartUploads", "${LakeBucket.Arn}"),
            *(
                (f"s3:{action}", f"${{{bucket}.Arn}}")
                for action in (
                    *("GetBucketVersioning", "GetBucketObjectLockConfiguration"),
                    *("GetLifecycleConfiguration", "GetReplicationConfiguration"),
                )
                for bucket in ("RawBucket", "LakeBucket", "AuditBucket")
            ),
            ("s3:ListBucket", "${LakeBucket.Arn}"),
            ("s3:GetObject", "${LakeBucket.Arn}/catalog/*"),
            ("s3:GetObject", "${LakeBucket.Arn}/compaction/*"),
            ("s3:GetObjectVersion", "${AuditBucket.Arn}/receipts/*"),
            ("s3:PutObject", "${AuditBucket.Arn}/reports/*"),
            ("dynamodb:Scan", "${ImagesTable.Arn}"),
            ("dynamodb:DescribeTable", "${ImagesTable.Arn}"),
            ("dynamodb:DescribeTimeToLive", "${ImagesTable.Arn}"),
            ("dynamodb:DescribeContinuousBackups", "${ImagesTable.Arn}"),
            ("dynamodb:ListBackups", "*"),
            ("sqs:GetQueueAttributes", "${DeadLetterQueue.Arn}"),
            ("sqs:GetQueueAttributes", "${RejectionsQueue.Arn}"),
            ("athena:GetWorkGroup", f"{ATHENA}:workgroup/${{AnalystsWorkGroup}}"),
            ("states:DescribeStateMachine", "${IngestImageStateMachine}"),
            ("glue:GetPartitions", f"{GLUE}:catalog"),
            ("glue:GetPartitions", f"{GLUE}:database/${{CatalogDatabase}}"),
            ("glue:GetPartitions", f"{GLUE}:table/${{CatalogDatabase}}/${{CatalogTable}}"),
            ("logs:DescribeLogGroups", "*"),
            ("sqs:SendMessage", "${DeadLetterQueue.Arn}"),
            ("logs:CreateLogStream", "${AuditRetentionLogGroup.Arn}"),
            ("logs:PutLogEvents", "${AuditRetentionLogGroup.Arn}"),
        },
    ),
    "ReconcileRole": (
        FUNCTION,
        {
            ("s3:ListBucketVersions", "${RawBucket.Arn}"),
            ("dynamodb:BatchGetItem", "${ImagesTable.Arn}"),
            ("dynamodb:UpdateItem", "${ImagesTable.Arn}"),
            ("dynamodb:Query", "${ImagesTable.Arn}/index/unsettled"),
            ("states:StartExecution", "${IngestImageStateMachineAliaslive}"),
            ("sqs:SendMessage", "${DeadLetterQueue.Arn}"),
            ("logs:CreateLogStream", "${ReconcileLogGroup.Arn}"),
            ("logs:PutLogEvents", "${ReconcileLogGroup.Arn}"),
        },
    ),
    "RedriveImagesRole": (
        FUNCTION,
        {
            ("dynamodb:Query", "${ImagesTable.Arn}/index/by_expiry"),
            ("dynamodb:BatchGetItem", "${ImagesTable.Arn}"),
            ("dynamodb:UpdateItem", "${ImagesTable.Arn}"),
            ("s3:ListBucketVersions", "${RawBucket.Arn}"),
            ("states:StartExecution", "${IngestImageStateMachineAliaslive}"),
            ("logs:CreateLogStream", "${RedriveImagesLogGroup.Arn}"),
            ("logs:PutLogEvents", "${RedriveImagesLogGroup.Arn}"),
        },
    ),
    "EnforceRetentionStateMachineRole": (
        WORKFLOW,
        {
            ("lambda:InvokeFunction", "${EnforceRetentionFunction.Arn}"),
            ("states:StartExecution", f"{STATES}:stateMachine:${{AWS::StackName}}-purge"),
            ("states:DescribeExecution", f"{STATES}:execution:${{AWS::StackName}}-purge/*"),
            ("states:StopExecution", f"{STATES}:execution:${{AWS::StackName}}-purge/*"),
        },
    ),
    "EnforceRetentionStateMachineTwiceAnHourRole": (
        SCHEDULE,
        {("states:StartExecution", "${EnforceRetentionStateMachine}"), ("sqs:SendMessage", "${DeadLetterQueue.Arn}")},
    ),
    "AuditRetentionFunctionEveryDayRole": (
        SCHEDULE,
        {("lambda:InvokeFunction", "${AuditRetentionFunction.Arn}"), ("sqs:SendMessage", "${DeadLetterQueue.Arn}")},
    ),
    "CompactCatalogFunctionEveryHourRole": (
        SCHEDULE,
        {("lambda:InvokeFunction", "${CompactCatalogFunction.Arn}"), ("sqs:SendMessage", "${DeadLetterQueue.Arn}")},
    ),
    "ReconcileFunctionEveryHourRole": (
        SCHEDULE,
        {("lambda:InvokeFunction", "${ReconcileFunction.Arn}"), ("sqs:SendMessage", "${DeadLetterQueue.Arn}")},
    ),
    "IngestImageStateMachineImageArrivedRole": (
        RULE,
        {("states:StartExecution", "${IngestImageStateMachineAliaslive}")},
    ),
}

KNOW_NO_RESOURCES = re.compile(
    r"dynamodb:List(Streams|Backups)|ec2:Describe\w+"
    r"|logs:(\w+LogDelivery|ListLogDeliveries|\w*ResourcePolic\w+|DescribeLogGroups)"
)
"""Actions that IAM grants on `*` only; the template says so beside each."""


@pytest.fixture(scope="module")
def translated() -> dict[str, dict[str, Any]]:
    """The resources of the default profile that CloudFormation gets, by logical id; options have tests of their own."""
    resources = application.translated()["Resources"]
    return {name: resource for name, resource in resources.items() if "Condition" not in resource}


def _of(kind: str, translated: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: one["Properties"] for name, one in translated.items() if one["Type"] == kind}


def _spelled(value: Any) -> str:
    """An ARN as the template would write it in a `Fn::Sub`."""
    match value:
        case str():
            return value
        case {"Ref": name}:
            return f"${{{name}}}"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"${{{name}.{attribute}}}"
        case {"Fn::Sub": str(text)}:
            return text
        case {"Fn::Sub": [text, names]}:
            return re.sub(r"\$\{(__\w+__)\}", lambda match: _spelled(names[match[1]]), text)
        case _:
            raise NotImplementedError(value)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _grants(role: dict[str, Any]) -> Grants:
    policies = [policy for policy in role["Policies"] if "Fn::If" not in policy]  # options have tests of their own
    listed = [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]
    statements = [one["Fn::If"][1] if "Fn::If" in one else one for one in listed]
    assert {one["Sid"] for one in statements if one["Effect"] != "Allow"} <= {"KeepNetworkFromCode"}
    assert not any(statement.keys() & {"NotAction", "NotResource"} for statement in statements)
    return {
        (action, _spelled(resource))
        for statement in statements
        if statement["Effect"] == "Allow"
        for action in _list(statement["Action"])
        for resource in _list(statement["Resource"])
    }


def test_the_stack_has_these_roles_and_no_other_policies(translated: dict[str, dict[str, Any]]) -> None:
    assert set(_of("AWS::IAM::Role", translated)) == set(ROLES)
    assert {one["Type"] for one in translated.values() if one["Type"].startswith("AWS::IAM::")} == {"AWS::IAM::Role"}


@pytest.mark.parametrize("name", ROLES)
def test_a_role_has_exactly_its_permissions(name: str, translated: dict[str, dict[str, Any]]) -> None:
    role = translated[name]["Properties"]
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    service, grants = ROLES[name]

    assert _grants(role) == grants
    assert not role.get("ManagedPolicyArns")
    assert (trust["Effect"], _list(trust["Action"])) == ("Allow", ["sts:AssumeRole"])
    assert {kind: _list(who) for kind, who in trust["Principal"].items()} == {"Service": [service]}


@pytest.mark.parametrize("name", ROLES)
def test_a_role_has_no_wildcard_but_where_iam_knows_no_resource(name: str) -> None:
    for action, resource in ROLES[name][1]:
        assert "*" not in action
        assert (resource == "*") == bool(KNOW_NO_RESOURCES.fullmatch(action))
        assert resource in (*EC2, REHEARSALS) or re.fullmatch(
            r"[^*]*(/\*)?|\*|\$\{\w+Function\.Arn\}:\*", resource
        )  # its versions


ENGINE_LOGS = ("logs:CreateLogStream", "logs:PutLogEvents")


@cache
def _every_action() -> list[str]:
    """Every operation of every service that botocore knows, as IAM would be asked for it."""
    loader = botocore.session.get_session().get_component("data_loader")
    actions = []
    for service in loader.list_available_services("service-2"):
        model = loader.load_service_model(service, "service-2")
        prefix = model["metadata"].get("signingName") or model["metadata"]["endpointPrefix"]
        actions += [f"{prefix}:{operation}" for operation in model["operations"]]
    return actions


OF_A_FUNCTION = {
    "ArnLike": {
        "lambda:SourceFunctionArn": {
            "Fn::Sub": "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:*"
        }
    }
}
"""Holds for each call with the credentials that a function has in its environment, and for none of Lambda's own."""


def _simulated(role: dict[str, Any], action: str, resource: str) -> bool:
    """Whether the policies of a role of the translated template allow code in a function an action on a resource."""
    assert not role.get("ManagedPolicyArns")
    assert not role.get("PermissionsBoundary")
    effects = {
        statement["Effect"]
        for policy in role.get("Policies", [])
        for statement in policy["PolicyDocument"]["Statement"]
        if statement.get("Condition", OF_A_FUNCTION) == OF_A_FUNCTION
        for named in _list(statement["Action"])
        for place in _list(statement["Resource"])
        if fnmatchcase(action.lower(), named.lower()) and fnmatchcase(resource, _spelled(place))
    }
    return effects == {"Allow"}


def test_the_role_of_the_engine_allows_none_of_aws_s_operations(translated: dict[str, dict[str, Any]]) -> None:
    role = translated["ProcessImageRole"]["Properties"]
    places = [
        "*",
        *(f"${{{name}.Arn}}" for name in translated),
        "${RawBucket.Arn}/raw/x",
        "${LakeBucket.Arn}/derived/x",
    ]
    places += [place.replace("*", "x") for place in EC2]

    allowed = {
        (action, place)
        for action in (*_every_action(), "s3:GetObjectVersion", "s3:ListBucketVersions", "sts:AssumeRole")
        for place in places
        if _simulated(role, action, place)
    }

    assert len(_every_action()) > 10_000
    assert allowed == {(action, "${ProcessImageLogGroup.Arn}") for action in ENGINE_LOGS}
    attached = [one for one in application.translated()["Resources"].values() if one["Type"] == "AWS::IAM::Policy"]
    assert not [one for one in attached if {"Ref": "ProcessImageRole"} in one["Properties"]["Roles"]]


def test_no_policy_of_a_resource_lets_the_engine_in(translated: dict[str, dict[str, Any]]) -> None:
    for name, resource in translated.items():
        if name not in ("ProcessImageRole", "ProcessImageFunction"):
            assert "ProcessImageRole" not in json.dumps(resource), name


def test_the_engine_is_told_nothing_of_the_stack(translated: dict[str, dict[str, Any]]) -> None:
    told = translated["ProcessImageFunction"]["Properties"]["Environment"]["Variables"]

    assert told.keys() == {"POWERTOOLS_SERVICE_NAME", "LOG_LEVEL"}


@pytest.mark.parametrize("module", ["functions.process_image.app", "tasks.process_large_image.app"])
def test_the_engine_has_no_client_of_aws(module: str) -> None:
    clients = {"boto3", "botocore.session", "botocore.client", "botocore.credentials", "s3transfer"}
    source = f"import sys, {module}; sys.exit(bool({clients} & sys.modules.keys()))"

    subprocess.run([sys.executable, "-c", source], check=True, cwd=application.ROOT)


def test_only_purge_erasure_and_compaction_may_delete_and_a_rehearsal_what_it_stored() -> None:
    deletes = re.compile(r"(s3|dynamodb|glue):Delete")
    deleting = {name for name, (_, grants) in ROLES.items() if any(deletes.match(action) for action, _ in grants)}

    assert deleting == {
        *("EnforceRetentionRole", "EraseImageRole"),
        *("CompactCatalogRole", "RebuildCatalogRole", "RehearseReleaseRole"),
    }
    assert {where for action, where in ROLES["RehearseReleaseRole"][1] if deletes.match(action)} == {REHEARSALS}


def test_nobody_may_bypass_the_lock_of_the_evidence_or_delete_it() -> None:
    for _, grants in ROLES.values():
        assert not any("Bypass" in action for action, _ in grants)
        assert not any("AuditBucket" in resource and ":Delete" in action for action, resource in grants)


def test_the_auditor_reads_rows_and_receipts_and_no_image() -> None:
    reads = {resource for action, resource in ROLES["AuditRetentionRole"][1] if action.startswith("s3:GetObject")}

    assert reads == {
        "${AuditBucket.Arn}/receipts/*",
        "${LakeBucket.Arn}/catalog/*",
        "${LakeBucket.Arn}/compaction/*",
    }


def test_the_auditor_lists_the_buckets_of_options_and_reads_nothing_there() -> None:
    role = application.read(application.ROOT / "stacks/retention.yaml")["Resources"]["AuditRetentionRole"]["Properties"]
    options = [policy["Fn::If"] for policy in role["Policies"] if "Fn::If" in policy]

    for condition, policy, otherwise in options:
        bucket = {"KeepsFailedRecords": "FailedRecordsBucket", "KeepsChartResults": "QuickSightResultsBucket"}[
            condition
        ]
        statements = policy["PolicyDocument"]["Statement"]
        assert {action for one in statements for action in one["Action"]} == {
            *("s3:ListBucketVersions", "s3:ListBucketMultipartUploads", "s3:GetBucketVersioning"),
            *("s3:GetBucketObjectLockConfiguration", "s3:GetLifecycleConfiguration", "s3:GetReplicationConfiguration"),
        }
        assert {_spelled(one["Resource"]) for one in statements} == {f"arn:${{AWS::Partition}}:s3:::${{{bucket}}}"}
        assert otherwise == {"Ref": "AWS::NoValue"}
    assert len(options) == 2


def test_the_api_sees_arrivals_among_the_raw_images_only(translated: dict[str, dict[str, Any]]) -> None:
    [policy] = translated["HttpApiRole"]["Properties"]["Policies"]
    conditions = [one["Condition"] for one in policy["PolicyDocument"]["Statement"] if one["Action"] == "s3:ListBucket"]

    assert conditions == [{"StringLike": {"s3:prefix": "raw/*"}}]


ARN = "arn:${AWS::Partition}:%s:${AWS::Region}:${AWS::AccountId}:%s"
OF_THIS_ACCOUNT = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
IF_IT_SAYS_SO = {"StringEqualsIfExists": OF_THIS_ACCOUNT["StringEquals"]}
OF_A_RULE = OF_THIS_ACCOUNT | {"ArnLike": {"aws:SourceArn": {"Fn::Sub": ARN % ("events", "rule/*")}}}
OF_A_SCHEDULE = {
    "StringEquals": OF_THIS_ACCOUNT["StringEquals"]
    | {"aws:SourceArn": {"Fn::Sub": ARN % ("scheduler", "schedule-group/default")}}
}
CONDITIONS: dict[str, list[Any]] = {
    RULE: [OF_A_RULE],
    SCHEDULE: [OF_A_SCHEDULE],
    WORKFLOW: [OF_THIS_ACCOUNT],
    "cloudwatch.amazonaws.com": [OF_THIS_ACCOUNT],
    # These may not say their account; if they do, it has to be this one.
    "redshift-serverless.amazonaws.com": [IF_IT_SAYS_SO],
    "redshift.amazonaws.com": [IF_IT_SAYS_SO],
    "quicksight.amazonaws.com": [IF_IT_SAYS_SO],
    "codedeploy.amazonaws.com": [IF_IT_SAYS_SO],
    "lakeformation.amazonaws.com": [OF_THIS_ACCOUNT],
    # They say no source when they take a role: whoever creates a function or task has to be let pass it.
    FUNCTION: [None],
    "ecs-tasks.amazonaws.com": [None, OF_THIS_ACCOUNT],
}
"""On what a service may act with a role or on a resource of the stack: for this account, and for what of it."""


def _statements_of_services() -> dict[str, list[tuple[str, Any]]]:
    """Every statement of a trust or resource policy that lets a service in, options included, by its resource."""
    found: dict[str, list[tuple[str, Any]]] = {}
    for name, one in application.translated()["Resources"].items():
        properties = one.get("Properties", {})
        document = properties.get("AssumeRolePolicyDocument") or properties.get("PolicyDocument") or {}
        for statement in document.get("Statement", ()):
            principal = statement.get("Principal") if isinstance(statement, dict) else None
            if statement["Effect"] == "Allow" and isinstance(principal, dict):
                found.setdefault(name, []).extend((who, statement) for who in _list(principal.get("Service", [])))
    return found


@pytest.mark.parametrize("name", _statements_of_services())
def test_a_service_acts_for_this_account_only(name: str) -> None:
    for service, statement in _statements_of_services()[name]:
        assert statement.get("Condition") in CONDITIONS[service]


def test_all_roles_and_policies_with_a_service_are_looked_at() -> None:
    resources = application.translated()["Resources"]
    roles = {name for name, one in resources.items() if one["Type"] == "AWS::IAM::Role"}

    policies = {"AlarmTopicPolicy", "DeadLetterQueuePolicy", "RejectionsQueuePolicy"}
    assert _statements_of_services().keys() == roles | policies


# What is called without anybody waiting for the answer


def _everything(kind: str) -> dict[str, dict[str, Any]]:
    """Resources of a type in the stack, options included, and in the stacks of `infra/` beside it."""
    beside = [application.read(path)["Resources"] for path in application.ROOT.glob("infra/*.yaml")]
    found = {name: one for part in (application.translated()["Resources"], *beside) for name, one in part.items()}
    return {name: one["Properties"] for name, one in found.items() if one["Type"] == kind}


def test_every_rule_and_schedule_has_a_dead_letter_queue() -> None:
    targets = [target for rule in _everything("AWS::Events::Rule").values() for target in rule["Targets"]]
    targets += [schedule["Target"] for schedule in _everything("AWS::Scheduler::Schedule").values()]

    assert len(targets) == 7
    for target in targets:
        assert _spelled(target["DeadLetterConfig"]["Arn"]) == "${DeadLetterQueue.Arn}"
        assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] >= 900


def test_every_stream_and_topic_has_a_failure_destination() -> None:
    mappings = _everything("AWS::Lambda::EventSourceMapping")

    assert len(mappings) == 4
    assert [name for name, one in mappings.items() if not one["DestinationConfig"]["OnFailure"]["Destination"]] == []


def test_every_function_that_is_called_asynchronously_has_a_dead_letter_queue() -> None:
    targets = {_spelled(one["Target"]["Arn"]) for one in _everything("AWS::Scheduler::Schedule").values()}
    functions = _everything("AWS::Lambda::Function")
    called = {name for name in functions if f"${{{name}.Arn}}" in targets} | _started_by_functions()

    # CloudFormation calls `configure_redshift` and `rehearse_release` so too; what they do not answer fails the stack.
    assert called == {"AuditRetentionFunction", "CompactCatalogFunction", "ReconcileFunction", "EraseImageFunction"}
    for name in called:
        assert _spelled(functions[name]["DeadLetterConfig"]["TargetArn"]) == "${DeadLetterQueue.Arn}"
        assert ("sqs:SendMessage", "${DeadLetterQueue.Arn}") in ROLES[_spelled(functions[name]["Role"])[2:-5]][1]


def _started_by_functions() -> set[str]:
    """The functions that a function may invoke; a version is called by one that waits for its answer."""
    grants = (grant for service, granted in ROLES.values() if service == FUNCTION for grant in granted)
    return {place[2:-5] for action, place in grants if action == "lambda:InvokeFunction" and place.endswith(".Arn}")}


def test_every_function_and_workflow_runs_in_the_role_made_for_it(translated: dict[str, dict[str, Any]]) -> None:
    for name, function in _of("AWS::Lambda::Function", translated).items():
        assert _spelled(function["Role"]) == f"${{{name.removesuffix('Function')}Role.Arn}}"
    workflows = _of("AWS::StepFunctions::StateMachine", translated)
    assert {name: _spelled(workflow["RoleArn"]) for name, workflow in workflows.items()} == {
        "IngestImageStateMachine": "${IngestImageRole.Arn}",
        "EnforceRetentionStateMachine": "${EnforceRetentionStateMachineRole.Arn}",
    }


CALLED = {"lambda:invoke": "lambda:InvokeFunction", "ecs:runTask": "ecs:RunTask"}
"""Integrations whose action has another name than their operation."""


def _called(workflow: dict[str, Any]) -> set[str]:
    """The actions that the states of a workflow take."""
    found = set()
    for state in workflow["States"].values():
        for inner in (state.get("ItemProcessor"), *state.get("Branches", ())):
            found |= _called(inner) if inner else set()
        if state["Type"] == "Task":
            service, _, operation = state["Resource"].rpartition(":::")[2].partition(":")
            integration = f"{service}:{operation}"
            found.add(CALLED.get(integration, f"{service}:{operation[0].upper()}{operation[1:]}"))
    return found


@pytest.mark.parametrize(
    ("file", "role"), [("ingest_image", "IngestImageRole"), ("enforce_retention", "EnforceRetentionStateMachineRole")]
)
def test_a_workflow_may_make_every_call_of_its_states(file: str, role: str) -> None:
    workflow = json.loads((application.ROOT / f"statemachine/{file}.asl.json").read_text(encoding="utf-8"))

    allowed = {action for action, _ in ROLES[role][1]}

    assert _called(workflow) - allowed <= {"ecs:RunTask"}, (
        "which has a policy of its own, where a stack takes large images"
    )


def test_the_rule_starts_the_workflow_and_nothing_else(translated: dict[str, dict[str, Any]]) -> None:
    [target] = _of("AWS::Events::Rule", translated)["IngestImageStateMachineImageArrived"]["Targets"]

    assert _spelled(target["Arn"]) == "${IngestImageStateMachineAliaslive}"
    assert _spelled(target["RoleArn"]) == "${IngestImageStateMachineImageArrivedRole.Arn}"
    assert _spelled(target["DeadLetterConfig"]["Arn"]) == "${DeadLetterQueue.Arn}"


def test_the_api_is_all_that_may_call_a_function_from_outside(translated: dict[str, dict[str, Any]]) -> None:
    api = "arn:aws:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}/*"
    permissions = _of("AWS::Lambda::Permission", translated).values()

    assert {_spelled(one["SourceArn"]) for one in permissions} == {
        f"{api}/POST/uploads",
        f"{api}/GET/images",
        f"{api}/GET/images/*",
        f"{api}/DELETE/images/*",
    }
    for one in permissions:
        assert (one["Action"], one["Principal"]) == ("lambda:InvokeFunction", "apigateway.amazonaws.com")
        expected = "EraseImageFunction" if "/DELETE/" in _spelled(one["SourceArn"]) else "HttpApiFunctionAliaslive"
        assert _spelled(one["FunctionName"]) == f"${{{expected}}}"


def test_nobody_else_is_let_at_a_bucket_or_a_queue(translated: dict[str, dict[str, Any]]) -> None:
    policies = [*_of("AWS::S3::BucketPolicy", translated).values(), *_of("AWS::SQS::QueuePolicy", translated).values()]
    allowed = [one for policy in policies for one in policy["PolicyDocument"]["Statement"] if one["Effect"] == "Allow"]

    assert allowed == [
        {
            "Sid": sid,
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": {"Fn::GetAtt": [queue, "Arn"]},
            "Condition": OF_A_RULE,
        }
        for sid, queue in (("AcceptUndeliverableEvents", "DeadLetterQueue"), ("AcceptRejections", "RejectionsQueue"))
    ]
