"""What the template says of the stores in process, besides their names: versions, lifecycle, retention."""

import re
from typing import Any

from tests.application import ACCOUNT, STACK, TEMPLATE, physical_name, resolve, resources
from tests.integration.conftest import client


def configure_stores() -> None:
    """Give the stores of the test the settings that the template gives them, and make what only has settings."""
    for name, bucket in resources("AWS::S3::Bucket").items():
        _configure_bucket(physical_name(name), resolve(bucket["Properties"]))
    for name, table in resources("AWS::DynamoDB::Table").items():
        properties, dynamodb = table["Properties"], client("dynamodb")
        dynamodb.update_time_to_live(
            TableName=physical_name(name), TimeToLiveSpecification=properties["TimeToLiveSpecification"]
        )
        stream = {"StreamEnabled": True} | properties["StreamSpecification"]
        dynamodb.update_table(TableName=physical_name(name), StreamSpecification=stream)
    for name, queue in resources("AWS::SQS::Queue").items():
        url, kept = resolve({"Ref": name}), str(queue["Properties"]["MessageRetentionPeriod"])
        client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"MessageRetentionPeriod": kept})
    for name, group in resources("AWS::Logs::LogGroup").items():
        _make_log_group(name, resolve(group["Properties"]))
    work_group = TEMPLATE["Resources"]["AnalystsWorkGroup"]["Properties"]["WorkGroupConfiguration"]
    client("athena").create_work_group(Name=physical_name("AnalystsWorkGroup"), Configuration=work_group)
    workflow = TEMPLATE["Resources"]["IngestImageStateMachine"]["Properties"]
    client("stepfunctions").create_state_machine(
        name=physical_name("IngestImageStateMachine"),
        definition='{"StartAt": "End", "States": {"End": {"Type": "Succeed"}}}',
        roleArn=f"arn:aws:iam::{ACCOUNT}:role/{STACK}",
        type=workflow["Type"],
        loggingConfiguration={
            "level": workflow["Logging"]["Level"],
            "includeExecutionData": workflow["Logging"]["IncludeExecutionData"],
        },
    )


def _configure_bucket(name: str, properties: dict[str, Any]) -> None:
    s3 = client("s3")
    rules = [_rule(rule) for rule in properties["LifecycleConfiguration"]["Rules"]]
    s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": rules})
    if lock := properties.get("ObjectLockConfiguration"):
        s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=lock)


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    """A lifecycle rule of CloudFormation as the API takes it."""
    expiration = {}
    if "ExpirationInDays" in rule:
        expiration["Days"] = rule["ExpirationInDays"]
    if "ExpiredObjectDeleteMarker" in rule:
        expiration["ExpiredObjectDeleteMarker"] = rule["ExpiredObjectDeleteMarker"]
    taken = {"NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload", "Status"} & rule.keys()
    return {
        "ID": rule["Id"],
        "Filter": {"Prefix": rule.get("Prefix", "")},
        "Expiration": expiration,
        **{part: rule[part] for part in taken},
    }


def _make_log_group(name: str, properties: dict[str, Any]) -> None:
    """As CloudFormation names it: after the stack and its logical id."""
    logs, given = client("logs"), properties.get("LogGroupName", f"{STACK}-{name}-{'Ab3' * 4}")
    assert re.fullmatch(r"[\w./-]+", given)
    logs.create_log_group(logGroupName=given)
    logs.put_retention_policy(logGroupName=given, retentionInDays=properties["RetentionInDays"])
