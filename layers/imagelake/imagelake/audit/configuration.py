"""The settings that retention rests on, read from the services: what somebody changed by hand does not go unseen."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from imagelake.audit.clients import REFUSALS, client, code_of
from imagelake.audit.findings import Audit

if TYPE_CHECKING:
    from mypy_boto3_athena import AthenaClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient

LOGS_TRAIL: Final = timedelta(days=3)
"""How late CloudWatch deletes what is past its retention."""
LIFECYCLE_TRAILS: Final = timedelta(days=2)
"""How late S3 deletes what is past its lifecycle, where nothing else does."""


@dataclass(frozen=True)
class KeptBucket:
    """How a bucket has to be set.

    `expires` has the days that lifecycle may keep what is under a prefix. `is_locked` for evidence, which nobody may
    delete: it is to be kept for at least these days, and everything else for at most these.
    """

    name: str
    expires: dict[str, int]
    has_versions: bool = False
    is_locked: bool = False


@dataclass(frozen=True)
class Settings:
    """Where the settings are that are looked at."""

    buckets: Sequence[KeptBucket]
    images_table: str
    dead_letter_queue_url: str
    rejections_queue_url: str
    athena_work_group: str
    ingest_image_state_machine: str
    lake_name: str


def check_configuration(result: Audit, stack: Settings) -> None:
    """Look at every setting; one that cannot be read is a finding, and the others are looked at all the same."""
    checks: list[tuple[str, Callable[[], None]]] = [
        *((bucket.name, lambda bucket=bucket: _check_bucket(result, bucket)) for bucket in stack.buckets),
        ("items", lambda: _check_recovery(result, stack.images_table)),
        ("items", lambda: _check_copies(result, stack.images_table)),
        ("items", lambda: _check_time_to_live(result, stack.images_table)),
        ("dead letters", lambda: _check_queue(result, "dead letters", stack.dead_letter_queue_url)),
        ("rejections", lambda: _check_queue(result, "rejections", stack.rejections_queue_url)),
        ("logs", lambda: _check_log_groups(result, stack.lake_name)),
        ("Athena results", lambda: _check_work_group(result, stack.athena_work_group)),
        ("workflow", lambda: _check_workflow(result, stack.ingest_image_state_machine)),
    ]
    for place, check in checks:
        try:
            check()
        except (*REFUSALS, LookupError) as refusal:
            result.report("incomplete", place, "a setting that could not be read", code_of(refusal))


def _check_bucket(result: Audit, bucket: KeptBucket) -> None:
    s3: S3Client = client("s3")

    def complain(what: str, name: str = bucket.name) -> None:
        result.report("configuration", bucket.name, what, name)

    if (s3.get_bucket_versioning(Bucket=bucket.name).get("Status") == "Enabled") != bucket.has_versions:
        complain("no versions" if bucket.has_versions else "versions, which stay when an object is deleted")
    lock = _unless_missing(lambda: s3.get_object_lock_configuration(Bucket=bucket.name)["ObjectLockConfiguration"])
    locked = lock.get("Rule", {}).get("DefaultRetention", {})
    (days,) = set(bucket.expires.values())
    if bucket.is_locked and locked.get("Days", 365 * locked.get("Years", 0)) < days:
        complain("no lock for the days of the evidence")
    if not bucket.is_locked and lock:
        complain("a lock that keeps objects from being deleted")
    replication = _unless_missing(
        lambda: s3.get_bucket_replication(Bucket=bucket.name)["ReplicationConfiguration"]
    ).get("Rules", [])
    for target in (rule["Destination"]["Bucket"] for rule in replication if rule["Status"] == "Enabled"):
        complain("copies in another bucket, which are not purged", target)
    rules = _unless_missing(lambda: s3.get_bucket_lifecycle_configuration(Bucket=bucket.name))
    _check_lifecycle(bucket, [rule for rule in rules.get("Rules", []) if rule["Status"] == "Enabled"], complain)


def _check_lifecycle(bucket: KeptBucket, rules: list[Any], complain: Callable[[str, str], None]) -> None:
    for prefix, days in bucket.expires.items():
        covering = [rule for rule in rules if _covers(rule, prefix)]
        kept = [rule["Expiration"]["Days"] for rule in covering if "Days" in rule.get("Expiration", {})]
        if bucket.is_locked:
            if any(one < days for one in kept):
                complain("a lifecycle that deletes evidence before its days are over", prefix)
            continue
        if not any(one <= days for one in kept):
            complain("no lifecycle that deletes what the purge left", prefix)
        if not any("AbortIncompleteMultipartUpload" in rule for rule in covering):
            complain("no lifecycle that deletes parts of unfinished uploads", prefix)
        if bucket.has_versions:
            noncurrent = [rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays") for rule in covering]
            if not any(one is not None and one <= days for one in noncurrent):
                complain("no lifecycle that deletes noncurrent versions", prefix)
            if not any(rule.get("Expiration", {}).get("ExpiredObjectDeleteMarker") for rule in covering):
                complain("no lifecycle that deletes delete markers", prefix)


def _covers(rule: dict[str, Any], prefix: str) -> bool:
    """Whether a rule is for everything under `prefix`, whatever its size or tags."""
    selected = rule.get("Filter", {})
    return not selected.keys() - {"Prefix"} and prefix.startswith(selected.get("Prefix", rule.get("Prefix", "")))


def _unless_missing(read: Callable[[], Any]) -> dict[str, Any]:
    """What `read` gives; nothing where S3 says that there is no such setting."""
    try:
        return dict(read())
    except REFUSALS as refusal:
        if code_of(refusal).startswith("NoSuch") or code_of(refusal).endswith("NotFoundError"):
            return {}
        raise


def _check_recovery(result: Audit, table: str) -> None:
    dynamodb: DynamoDBClient = client("dynamodb")
    described = dynamodb.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
    if described.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") == "ENABLED":
        result.report("configuration", "items", "point-in-time recovery, which keeps what was deleted", table)
    # ALL: without it DynamoDB leaves out the backups that it makes itself. Nothing shows those of AWS Backup here.
    for page in dynamodb.get_paginator("list_backups").paginate(TableName=table, BackupType="ALL"):
        for backup in page["BackupSummaries"]:
            result.report("configuration", "items", "a backup, which keeps what is deleted", backup["BackupName"])


def _check_copies(result: Audit, table: str) -> None:
    dynamodb: DynamoDBClient = client("dynamodb")
    described = dynamodb.describe_table(TableName=table)["Table"]
    stream = described.get("StreamSpecification", {}).get("StreamViewType")
    if stream != "NEW_IMAGE":
        result.report("configuration", "items", "a stream that is not of new images", stream or "no stream")
    for replica in described.get("Replicas", []):
        result.report("configuration", "items", "a copy of the table, which is not purged", replica["RegionName"])


def _check_time_to_live(result: Audit, table: str) -> None:
    dynamodb: DynamoDBClient = client("dynamodb")
    described = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    is_on = described["TimeToLiveStatus"] in ("ENABLED", "ENABLING")
    if not is_on or described.get("AttributeName") != "expires_at":
        result.report("configuration", "items", "no time to live that deletes what the purge left", table)


def _check_queue(result: Audit, what: str, queue_url: str) -> None:
    sqs: SQSClient = client("sqs")
    answer = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["MessageRetentionPeriod"])
    kept = timedelta(seconds=int(answer["Attributes"]["MessageRetentionPeriod"]))
    if kept >= result.retention:
        result.report("configuration", what, "a queue that keeps messages for too long", str(kept))


def _check_log_groups(result: Audit, lake_name: str) -> None:
    logs: CloudWatchLogsClient = client("logs")
    # CloudFormation names them after their stack, which has no capitals, and their logical id, which begins with one.
    ours = re.compile(rf"(/aws/lambda/)?{re.escape(lake_name)}-[A-Z].*|/aws/vendedlogs/states/{lake_name}-ingest-image")
    for prefix in (f"{lake_name}-", f"/aws/lambda/{lake_name}-", f"/aws/vendedlogs/states/{lake_name}-"):
        for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=prefix):
            for group in (group for group in page["logGroups"] if ours.fullmatch(group["logGroupName"])):
                days = group.get("retentionInDays")
                if days is None or timedelta(days=days) + LOGS_TRAIL > result.retention:
                    what = "a log group that keeps logs for too long"
                    result.report("configuration", "logs", what, f"{group['logGroupName']}: {days or 'all'} days")


def _check_work_group(result: Audit, work_group: str) -> None:
    athena: AthenaClient = client("athena")
    described: Any = athena.get_work_group(WorkGroup=work_group)["WorkGroup"]["Configuration"]
    managed = described.get("ManagedQueryResultsConfiguration", {}).get("Enabled", False)
    if not managed or not described.get("EnforceWorkGroupConfiguration"):
        result.report("configuration", "Athena results", "results that Athena does not delete itself", work_group)


def _check_workflow(result: Audit, state_machine: str) -> None:
    step_functions: SFNClient = client("stepfunctions")
    described = step_functions.describe_state_machine(stateMachineArn=state_machine)
    if described["type"] != "EXPRESS":
        result.report("configuration", "workflow", "a history that is kept for 90 days", state_machine)
    if described.get("loggingConfiguration", {}).get("includeExecutionData"):
        result.report("configuration", "workflow", "a log that holds items of images", state_machine)
    if described.get("tracingConfiguration", {}).get("enabled"):
        result.report("configuration", "workflow", "traces, which are kept for 30 days", state_machine)
