"""What schedules call while hours pass, and what is to be gone after the promised days."""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

from imagelake.keys import ArrivalHour
from local import deployment
from local.lake import Lake
from tests.e2e.conftest import invoke
from tests.e2e.faults import ledger as books
from tests.e2e.faults.doors import Accepted
from tests.e2e.faults.injection import Clock, wait, wait_until_idle
from tests.e2e.faults.ledger import Ledger

HOUR = timedelta(hours=1)
RETENTION = timedelta(days=7)
RECONCILED_HOURS = 4
"""How often `reconcile` runs before what has no outcome is lost: one more than it tries an image."""
COMPACTED_HOURS = 3
"""After so many more every hour that was over is compacted, and its copy gone."""
PURGED_AT = timedelta(hours=1, minutes=25)
"""After the beginning of an hour, seven days later: when the first run of the purge finds it due."""


def pass_hour(clock: Clock) -> dict[str, int]:
    """Let an hour pass, and call what schedules call in it, but for the purge; what `reconcile` says."""
    clock.go_on(HOUR)
    invoke(clock.lake, "CompactCatalogFunction", {})
    answer: dict[str, int] = invoke(clock.lake, "ReconcileFunction", {})
    wait_until_idle(clock.lake)
    return answer


def compacted(clock: Clock) -> None:
    """Let hours pass until compaction is through with those that are over."""
    for _ in range(COMPACTED_HOURS):
        pass_hour(clock)


def reconciled(clock: Clock) -> int:
    """Let hours pass until every image has an outcome and every report is made; how many hours."""
    for hour in range(1, RECONCILED_HOURS + 1):
        answer = pass_hour(clock)
        if not answer["restarted"] + answer["given_up"] + answer["reported"]:
            return hour
    return RECONCILED_HOURS


def purge(lake: Lake) -> None:
    """Run the purge, which has to succeed."""
    step_functions = lake.client("stepfunctions")
    arn = deployment.physical_id(lake.emulator, lake.stack.name, "EnforceRetentionStateMachine")
    started = step_functions.start_execution(stateMachineArn=arn)["executionArn"]
    execution = wait(
        lake, lambda: step_functions.describe_execution(executionArn=started), lambda run: run["status"] != "RUNNING"
    )
    assert execution["status"] == "SUCCEEDED", execution


def audit(lake: Lake) -> list[dict[str, Any]]:
    """What an audit finds."""
    answer = invoke(lake, "AuditRetentionFunction", {})
    (key,) = (key for key in answer["reports"] if key.endswith(".json"))
    body = lake.client("s3").get_object(Bucket=lake.stack.outputs["AuditBucketName"], Key=key)["Body"].read()
    findings: list[dict[str, Any]] = json.loads(body)["findings"]
    return findings


ERASED = "an image that was erased on request"
AUDITED_AS = {"file": "raw", "derivative": "derived", "row": "catalog"}
"""What the audit calls the places of an image."""


def found_missing(
    clock: Clock, accepted: Accepted, erased: Iterable[str], ledger: Ledger
) -> tuple[list[str], set[str]]:
    """Check that the audit names what was lost with the stream, and nothing else: rows, and the rest of erasures.

    Returns:
        The hours that lack rows, and the images of which something is left.
    """
    found = books.items(clock.lake, accepted)
    missing = found.keys() - books.current_rows(clock.lake, found).keys()
    lacking = {ArrivalHour(found[one]["ingest_date"], found[one]["hour"]) for one in missing}
    names = {f"{hour.ingest_date}/{hour.hour}" for hour in lacking}
    remains = {place: ids for place, ids in left(clock.lake, erased).items() if ids}
    audited = audit(clock.lake)
    counted = {one["place"]: one["count"] for one in audited if one["what"] == ERASED}
    findings = {finding["what"]: finding for finding in audited if finding["what"] != ERASED}
    named = findings.pop("an hour with fewer rows than images", {"names": []})["names"]
    without = findings.pop("an image without a row", {"count": 0})["count"]
    ledger.count("rows lost", len(missing))
    ledger.count("of these the audit counts", without)
    ledger.count("hours that the audit names", len(named))
    ledger.check("hours that lack rows and the audit does not name", names - {one.partition(":")[0] for one in named})
    ledger.count("erasures that did not go on without the stream", len(set().union(*remains.values())))
    ledger.check(
        "places where they left something and the audit counts another number",
        (place for place, ids in remains.items() if counted.get(AUDITED_AS.get(place, place)) != len(ids)),
    )
    ledger.check("other findings", findings)
    return [f"{hour.ingest_date}T{hour.hour}" for hour in sorted(lacking)], set().union(*remains.values())


def made_good(lake: Lake, command: str, hours: Iterable[str], folder: Path, count: str) -> int:
    """Run a command of `imagelake` for hours, in a folder in which this lake describes itself; the sum of a count."""
    (folder / ".local").mkdir(exist_ok=True)
    (folder / ".local/lake.json").write_text(json.dumps(lake.describe()), encoding="utf-8")
    program, done = Path(sys.executable).with_name("imagelake"), 0
    for hour in hours:
        arguments = f"{program} {command} --json --hour {hour}".split()
        run = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run
        done += int(json.loads(run.stdout)[count])
    return done


def due(lake: Lake, image_ids: Iterable[str]) -> list[ArrivalHour]:
    """The hours in which images arrived."""
    wanted = set(image_ids)
    keys = [key.split("/") for key in books.versions(lake, "RawBucketName")]
    return sorted({ArrivalHour.parse("/".join(parts[1:3])) for parts in keys if parts[3] in wanted})


def purged(clock: Clock, hours: Iterable[ArrivalHour]) -> None:
    """Purge hours when each is due, as the schedule would; S3 carries out its own rules before."""
    for hour in hours:
        clock.go_to(hour.start + RETENTION + PURGED_AT)
        expire(clock)
        purge(clock.lake)


def expire(clock: Clock) -> None:
    """Delete what lifecycle alone deletes, as S3 does: kept records, from the midnight on that follows their days."""
    s3, bucket = clock.lake.client("s3"), clock.lake.stack.outputs["FailedRecordsBucketName"]
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", ()):
        over = entry["LastModified"] + timedelta(days=rule["Expiration"]["Days"])
        if clock.now >= datetime.combine(over.date() + timedelta(days=1), time(), UTC):
            s3.delete_object(Bucket=bucket, Key=entry["Key"])


def left(lake: Lake, image_ids: Iterable[str]) -> Mapping[str, set[str]]:
    """What is left of images, by place; a tombstone is not of the image."""
    wanted = set(image_ids)

    def named(keys: Iterable[str]) -> set[str]:
        return {part for key in keys for part in key.removesuffix(".json").split("/")} & wanted

    return {
        "file": named(books.versions(lake, "RawBucketName")),
        "derivative": named(books.versions(lake, "LakeBucketName")),
        "row": {row[0] for row in lake.analysts.ask("SELECT image_id FROM images").rows} & wanted,
        "item": {one for one, item in books.items(lake, wanted).items() if item["status"] != "erased"},
        "kept Kafka record": named(books.versions(lake, "FailedRecordsBucketName")),
    }


def older_left(lake: Lake, hours: Iterable[ArrivalHour]) -> set[str]:
    """What is left of hours, or of hours before them: keys, partitions and items."""
    latest = max(hours)
    keys = [key for name in ("RawBucketName", "LakeBucketName") for key in books.versions(lake, name)]
    glue, outputs = lake.client("glue"), lake.stack.outputs
    partitions = glue.get_paginator("get_partitions").paginate(
        DatabaseName=outputs["CatalogDatabase"], TableName=outputs["CatalogTable"]
    )
    scanned = lake.client("dynamodb").get_paginator("scan").paginate(TableName=outputs["ImagesTableName"])
    items = [item for page in scanned for item in page["Items"] if item["status"]["S"] != "erased"]
    found = {
        **{key: ArrivalHour.parse("/".join(key.split("/")[1:3])) for key in keys},
        **{str(one["Values"]): ArrivalHour(*one["Values"]) for page in partitions for one in page["Partitions"]},
        **{item["image_id"]["S"]: ArrivalHour(item["ingest_date"]["S"], item["hour"]["S"]) for item in items},
    }
    return {name for name, hour in found.items() if hour <= latest}
