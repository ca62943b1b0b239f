"""Which rights of AWS each command of operators takes; the documentation's table is held against this."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from imagelake_cli.stack import Resource, Stack

type Place = Literal[
    "dead-letter queue", "audit bucket", "objects of reports", "raw and lake bucket", "index by_expiry", "log groups",
    "redrive_images", "rebuild_catalog", "publish_outcomes", "user pool", "work group", "stack and nested stacks",
    "roles of the grants", "dashboards", "everything",
]  # fmt: skip

OF_RESOURCES: Final[frozenset[Place]] = frozenset({"log groups", "dashboards"})
"""Places that only the list of the stack's resources names."""


@dataclass(frozen=True)
class Right:
    """Actions on one place that a command needs, and a request that changes nothing and needs one of them."""

    command: str
    actions: Sequence[str]
    place: Place
    attempt: Callable[[Stack, Mapping[str, str]], object] | None = None

    def resources(
        self, outputs: Mapping[str, str], resources: Sequence[Resource], stack: Stack, caller: str
    ) -> list[str]:
        """The ARNs of the place in a stack."""
        partition, account = caller.split(":")[1], caller.split(":")[4]

        def arn(service: str, name: str) -> str:
            return f"arn:{partition}:{service}:{stack.session.region_name}:{account}:{name}"

        match self.place:
            case "dead-letter queue":
                return [arn("sqs", outputs["DeadLetterQueueUrl"].rpartition("/")[2])]
            case "audit bucket":
                return [f"arn:{partition}:s3:::{outputs['AuditBucketName']}"]
            case "objects of reports":
                return [f"arn:{partition}:s3:::{outputs['AuditBucketName']}/reports/*"]
            case "raw and lake bucket":
                return [f"arn:{partition}:s3:::{outputs[name]}" for name in ("RawBucketName", "LakeBucketName")]
            case "index by_expiry":
                return [arn("dynamodb", f"table/{outputs['ImagesTableName']}/index/by_expiry")]
            case "log groups":
                groups = [one.physical_id for one in resources if one.type == "AWS::Logs::LogGroup"]
                return [arn("logs", f"log-group:{name}:*") for name in groups] or ["*"]
            case "redrive_images":
                return [arn("lambda", f"function:{outputs['RedriveImagesFunctionName']}")]
            case "rebuild_catalog":
                return [arn("lambda", f"function:{outputs['RebuildCatalogFunctionName']}")]
            case "publish_outcomes":
                return [arn("lambda", f"function:{outputs['PublishOutcomesFunctionName']}")]
            case "user pool":
                return [arn("cognito-idp", f"userpool/{outputs['UserPoolId']}")]
            case "work group":
                return [arn("athena", f"workgroup/{outputs['AthenaWorkGroup']}")]
            case "stack and nested stacks":
                nested = [one.physical_id for one in resources if one.type == "AWS::CloudFormation::Stack"]
                return [arn("cloudformation", f"stack/{stack.name}/*"), *nested]
            case "roles of the grants":
                roles = [one.physical_id for one in resources if one.type == "AWS::IAM::Role"]
                return [f"arn:{partition}:iam::{account}:role/{name}" for name in roles if "-Governance-" in name] or [
                    "*"
                ]
            case "dashboards":
                names = [one.physical_id for one in resources if one.type == "AWS::CloudWatch::Dashboard"]
                return [f"arn:{partition}:cloudwatch::{account}:dashboard/{name}" for name in names] or ["*"]
            case "everything":
                return ["*"]


def _dry_invoke(output: str) -> Callable[[Stack, Mapping[str, str]], object]:
    return lambda stack, outputs: stack.client("lambda").invoke(
        FunctionName=outputs[output], InvocationType="DryRun", Payload=b"{}"
    )


RIGHTS: Final = (
    Right(
        "dead-letters",
        ("sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:ChangeMessageVisibility", "sqs:DeleteMessage"),
        "dead-letter queue",
        lambda stack, outputs: stack.client("sqs").get_queue_attributes(
            QueueUrl=outputs["DeadLetterQueueUrl"], AttributeNames=["ApproximateNumberOfMessages"]
        ),
    ),
    Right("access", ("cloudformation:DescribeStackResource",), "stack and nested stacks"),
    Right("access", ("sts:AssumeRole",), "roles of the grants"),
    Right("redrive", ("lambda:InvokeFunction",), "redrive_images", _dry_invoke("RedriveImagesFunctionName")),
    Right("catalog rebuild", ("lambda:InvokeFunction",), "rebuild_catalog", _dry_invoke("RebuildCatalogFunctionName")),
    Right("events publish", ("lambda:InvokeFunction",), "publish_outcomes", _dry_invoke("PublishOutcomesFunctionName")),
    Right(
        "retention report",
        ("s3:ListBucket",),
        "audit bucket",
        lambda stack, outputs: stack.client("s3").list_objects_v2(
            Bucket=outputs["AuditBucketName"], Prefix="reports/", MaxKeys=1
        ),
    ),
    Right("retention report", ("s3:GetObject",), "objects of reports"),
    Right(
        "retention due",
        ("s3:ListBucketVersions",),
        "raw and lake bucket",
        lambda stack, outputs: [
            stack.client("s3").list_object_versions(Bucket=outputs[name], MaxKeys=1)
            for name in ("RawBucketName", "LakeBucketName")
        ],
    ),
    Right(
        "retention due",
        ("dynamodb:Query",),
        "index by_expiry",
        lambda stack, outputs: stack.client("dynamodb").query(
            TableName=outputs["ImagesTableName"],
            IndexName="by_expiry",
            KeyConditionExpression="expiry_shard = :shard AND expires_at <= :until",
            ExpressionAttributeValues={":shard": {"S": "0"}, ":until": {"N": "0"}},
            Limit=1,
        ),
    ),
    Right(
        "dashboard",
        ("cloudwatch:GetDashboard",),
        "dashboards",
        lambda stack, outputs: stack.client("cloudwatch").get_dashboard(
            DashboardName=outputs["DashboardUrl"].rpartition("name=")[2]
        ),
    ),
    # CloudWatch has no narrower resource for numbers, nor for alarms where composite ones are among them.
    Right(
        "dashboard",
        ("cloudwatch:GetMetricData", "cloudwatch:DescribeAlarms"),
        "everything",
        lambda stack, _: stack.client("cloudwatch").describe_alarms(MaxRecords=1),
    ),
    Right("logs", ("logs:FilterLogEvents",), "log groups"),
    Right(
        "logs",
        ("cloudformation:ListStackResources",),
        "stack and nested stacks",
        lambda stack, _: stack.resources(),
    ),
    Right(
        "users",
        (
            "cognito-idp:AdminCreateUser", "cognito-idp:AdminSetUserPassword", "cognito-idp:AdminUserGlobalSignOut",
            "cognito-idp:CreateGroup", "cognito-idp:AdminAddUserToGroup", "cognito-idp:AdminRemoveUserFromGroup",
        ),
        "user pool",
    ),
    Right(
        "query",
        (
            "athena:StartQueryExecution", "athena:StopQueryExecution", "athena:GetQueryExecution",
            "athena:GetQueryResults", "athena:ListNamedQueries", "athena:BatchGetNamedQuery",
        ),
        "work group",
        lambda stack, outputs: stack.client("athena").list_named_queries(WorkGroup=outputs["AthenaWorkGroup"]),
    ),
)  # fmt: skip
"""Beside these, every command takes `cloudformation:DescribeStacks`."""
