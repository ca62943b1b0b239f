"""The promise, kept by the deployed functions in their own roles: IAM is enforced."""

import json
import os
import re
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from imagelake.catalog import parquet
from imagelake.keys import ArrivalHour, ImageVersion, RawKey, catalog_prefix
from imagelake.model import Derivative, ImageRecord
from imagelake.stores import images_table
from imagelake.stores.buckets import Bucket
from imagelake.stores.catalog_table import CatalogTable
from local import deployment
from local.api_client import ApiClient, send
from local.emulator import REGION, ROOT
from local.lake import Lake
from local.samples import Sample
from tests.e2e.conftest import Await, Upload, eventually, invoke

DAYS = 7


def purge(lake: Lake) -> str:
    """Run the purge as its schedule does; how the run ended."""
    step_functions = lake.client("stepfunctions")
    arn = deployment.physical_id(lake.emulator, lake.stack.name, "EnforceRetentionStateMachine")
    started = step_functions.start_execution(stateMachineArn=arn)["executionArn"]
    execution = eventually(
        lambda: step_functions.describe_execution(executionArn=started), lambda run: run["status"] != "RUNNING"
    )
    assert execution["status"] == "SUCCEEDED", execution
    return str(execution["status"])


def audit(lake: Lake) -> dict[str, Any]:
    """The machine-readable report of an audit made now."""
    answer = invoke(lake, "AuditRetentionFunction", {})
    (key,) = (key for key in answer["reports"] if key.endswith(".json"))
    body = lake.client("s3").get_object(Bucket=lake.stack.outputs["AuditBucketName"], Key=key)["Body"].read()
    report: dict[str, Any] = json.loads(body)
    return report


def versions(lake: Lake, output: str, prefix: str) -> list[str]:
    """The keys of all versions and delete markers under a prefix."""
    listed = lake.client("s3").list_object_versions(Bucket=lake.stack.outputs[output], Prefix=prefix)
    return [entry["Key"] for kind in ("Versions", "DeleteMarkers") for entry in listed.get(kind, ())]


def rows(lake: Lake, hour: ArrivalHour) -> int:
    """How many rows SQL counts in an hour."""
    query = f"SELECT count(*) FROM images WHERE ingest_date = '{hour.ingest_date}' AND hour = '{hour.hour}'"  # noqa: S608  # our own hour
    [[count]] = lake.analysts.ask(query).rows
    return int(count)


def receipts(lake: Lake, kind: str, hour: ArrivalHour) -> list[dict[str, Any]]:
    """The receipts of one kind for one hour."""
    s3, bucket = lake.client("s3"), lake.stack.outputs["AuditBucketName"]
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=f"receipts/{kind}/{hour.path}/").get("Contents", [])
    return [json.loads(s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()) for entry in listed]


def plant(lake: Lake, hour: ArrivalHour, images: int) -> None:
    """Leave an hour as the corridor had left it: files, a deleted version, derivatives, rows, items."""
    outputs = lake.stack.outputs
    arrived = hour.start + timedelta(minutes=30)
    records = []
    for _ in range(images):
        key = RawKey(hour, str(uuid.uuid4()))
        # Not under `raw/` as events go: an object of that hour would be processed again.
        derivative = ImageVersion(key, "1").derived("thumb_256", "jpg")
        Bucket(outputs["LakeBucketName"]).overwrite(derivative, b"derivative", "image/jpeg")
        records.append(
            ImageRecord(
                image_id=key.image_id,
                status="processed",
                received_at=arrived,
                expires_at=arrived + timedelta(days=DAYS),
                derivatives=[
                    Derivative(key=derivative, name="thumb_256", width=1, height=1, content_type="image/jpeg")
                ],
                ingest_date=hour.ingest_date,
                hour=hour.hour,
            )
        )
        images_table._resource(outputs["ImagesTableName"]).put_item(Item=records[-1].to_item())
        Bucket(outputs["RawBucketName"]).overwrite(str(key), b"not an image", "image/jpeg")
    lake.client("s3").delete_object(Bucket=outputs["RawBucketName"], Key=str(key))
    settings = CatalogTable(outputs["CatalogDatabase"], outputs["CatalogTable"], Bucket(outputs["LakeBucketName"]))
    parquet.write(records, uuid.uuid4().hex, settings)


@pytest.mark.usefixtures("domain")
def test_an_expired_hour_is_purged_everywhere_and_nothing_else(
    lake: Lake, samples: dict[str, Sample], upload: Upload, await_end: Await
) -> None:
    kept = upload(samples["meadow.webp"])
    await_end(kept)
    hour = ArrivalHour.of(datetime.now(UTC) - timedelta(days=DAYS + 1))
    plant(lake, hour, images=5)
    assert rows(lake, hour) == 5
    assert audit(lake)["overdue"] > 0

    purge(lake)

    assert rows(lake, hour) == 0
    assert versions(lake, "RawBucketName", f"raw/{hour.path}/") == []
    assert versions(lake, "LakeBucketName", f"derived/{hour.path}/") == []
    assert versions(lake, "LakeBucketName", catalog_prefix(hour)) == []
    assert await_end(kept)["status"] == "processed"
    by_store = {receipt["store"]: receipt for receipt in receipts(lake, "purges", hour)}
    assert {store: by_store[store]["objects"] for store in ("raw", "derived", "catalog")} == {
        "raw": 5,
        "derived": 5,
        "catalog": 1,
    }
    assert (by_store["raw"]["versions"], by_store["raw"]["delete_markers"]) == (5, 1)
    report = audit(lake)
    still_there = [finding for finding in report["findings"] if finding["kind"] == "overdue"]
    assert still_there == []
    # Its role may read all the settings that it looks at, and they are as the template says.
    assert [one for one in report["findings"] if one["kind"] == "configuration" or "read" in one["what"]] == []
    # Our hour was a day late, and the receipts say so.
    assert {finding["place"] for finding in report["findings"] if finding["kind"] == "late"} >= {"raw", "derived"}


def test_the_purge_leaves_an_hour_that_is_not_due(lake: Lake) -> None:
    hour = ArrivalHour.of(datetime.now(UTC) - timedelta(days=DAYS) + timedelta(minutes=5))
    lake.client("s3").put_object(
        Bucket=lake.stack.outputs["LakeBucketName"], Key=f"derived/{hour.path}/{uuid.uuid4()}/a.jpg", Body=b"a"
    )

    purge(lake)

    assert len(versions(lake, "LakeBucketName", f"derived/{hour.path}/")) == 1


def test_an_erased_image_is_gone_everywhere_and_does_not_come_back(
    lake: Lake, client: ApiClient, samples: dict[str, Sample], await_end: Await
) -> None:
    sample = samples["hills.jpg"]
    (grant,) = client.request_uploads([sample])
    send(grant["upload"], sample.content, sample.content_type).raise_for_status()
    image_id = grant["image_id"]
    await_end(image_id)
    key = RawKey.parse(grant["upload"]["fields"]["key"])
    hour = key.hour
    eventually(lambda: _row_ids(lake), lambda found: image_id in found)

    assert client.delete(f"/images/{image_id}").status_code == httpx.codes.NO_CONTENT

    assert client.get(f"/images/{image_id}").status_code == httpx.codes.NOT_FOUND
    assert versions(lake, "RawBucketName", str(key)) == []
    assert versions(lake, "LakeBucketName", key.derived_prefix) == []
    assert image_id not in _row_ids(lake)
    (receipt, *_) = [one for one in receipts(lake, "erasures", hour) if one["image_id"] == image_id]
    assert receipt["versions"] == 1

    assert client.delete(f"/images/{image_id}").status_code == httpx.codes.NO_CONTENT, "asking again is fine"

    # The form is still good: the bytes come back as a redelivery would bring them.
    send(grant["upload"], sample.content, sample.content_type).raise_for_status()
    eventually(lambda: versions(lake, "RawBucketName", str(key)), lambda found: not found)
    eventually(lambda: versions(lake, "LakeBucketName", key.derived_prefix), lambda found: not found)
    time.sleep(2)
    assert client.get(f"/images/{image_id}").status_code == httpx.codes.NOT_FOUND
    assert image_id not in _row_ids(lake)


def _row_ids(lake: Lake) -> set[str]:
    return {row[0] for row in lake.analysts.ask("SELECT image_id FROM images").rows}


def test_only_the_owner_and_operators_erase(lake: Lake, samples: dict[str, Sample], upload: Upload) -> None:
    image_id = upload(samples["fog.jpg"])
    name = f"user-{uuid.uuid4().hex[:8]}"
    password = lake.add_user(name)

    assert ApiClient(lake, name, password).delete(f"/images/{image_id}").status_code == httpx.codes.NOT_FOUND

    lake.client("cognito-idp").admin_add_user_to_group(
        UserPoolId=lake.stack.outputs["UserPoolId"], Username=name, GroupName="operators"
    )
    assert ApiClient(lake, name, password).delete(f"/images/{image_id}").status_code == httpx.codes.NO_CONTENT


def test_a_lost_image_is_started_again(lake: Lake, samples: dict[str, Sample]) -> None:
    """An image without an item, as when the event of its arrival got lost."""
    outputs, arrived = lake.stack.outputs, datetime.now(UTC) - timedelta(minutes=20)
    key = RawKey(ArrivalHour.of(arrived), str(uuid.uuid4()))
    s3, events, rule = lake.client("s3"), lake.client("events"), _arrival_rule(lake)
    s3.meta.events.register(
        "before-sign.s3.PutObject",
        lambda request, **_: request.headers.add_header("X-Emulated-Time", f"{arrived:%Y-%m-%dT%H:%M:%S.000Z}"),
    )
    events.disable_rule(Name=rule)
    try:
        s3.put_object(
            Bucket=outputs["RawBucketName"], Key=str(key), Body=samples["icon.bmp"].content, ContentType="image/bmp"
        )
        time.sleep(1)
    finally:
        events.enable_rule(Name=rule)

    assert invoke(lake, "ReconcileFunction", {})["restarted"] == 1

    def status() -> str | None:
        item = lake.client("dynamodb").get_item(
            TableName=outputs["ImagesTableName"], Key={"image_id": {"S": key.image_id}}
        )
        value: str | None = item["Item"]["status"]["S"]
        return value

    assert eventually(status, lambda status: status != "awaiting_upload") == "processed"
    assert invoke(lake, "ReconcileFunction", {})["restarted"] == 0


def _arrival_rule(lake: Lake) -> str:
    rules = lake.client("events").list_rules()["Rules"]
    return next(str(rule["Name"]) for rule in rules if "aws.s3" in rule.get("EventPattern", ""))


def test_the_python_in_the_documentation_audits_and_prints_the_evidence(
    lake: Lake, client: ApiClient, samples: dict[str, Sample], upload: Upload, await_end: Await
) -> None:
    image_id = upload(samples["print.jpg"])
    await_end(image_id)
    client.delete(f"/images/{image_id}").raise_for_status()
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/retention.md").read_text(encoding="utf-8"), re.DOTALL)
    environment = os.environ | {
        "AWS_ENDPOINT_URL": lake.emulator.endpoint_url,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }

    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stderr
    assert "# Retention audit, " in run.stdout
    assert f'"image_id": "{image_id}"' in run.stdout
