"""What a stack has only if its parameters ask for it."""

from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.aws.conftest import ENDED
from tests.aws.live import Live, eventually
from tests.unit.pictures import HEIC

WAKING_SECONDS = 180
TASK_SECONDS = 600


def test_pollers_read_the_topic(deployed: Live) -> None:
    if not (mapping := deployed.physical_ids.get("ImageTopicOfMsk")):
        pytest.skip("the stack has no MSK cluster (KafkaClusterArn)")
    described = deployed.client("lambda").get_event_source_mapping(UUID=mapping)

    assert described["State"] == "Enabled"
    assert described["LastProcessingResult"] in ("OK", "No records processed")


def ended(api: httpx.Client, content: bytes, content_type: str) -> dict[str, Any]:
    """What becomes of an image, which is erased then."""
    grant = api.post("/uploads", json={"content_type": content_type}).raise_for_status().json()
    form, path = grant["upload"], f"/images/{grant['image_id']}"
    httpx.post(form["url"], data=form["fields"], files={"file": content}, timeout=60).raise_for_status()
    try:
        return eventually(
            lambda: api.get(path).raise_for_status().json(), lambda image: image["status"] in ENDED, TASK_SECONDS
        )
    finally:
        api.delete(path)


def test_heic_is_decoded(live: Live, api: httpx.Client) -> None:
    if not any(name.startswith("HeifLayer") for name in live.physical_ids):
        pytest.skip("the stack takes no HEIC (AcceptHeif)")

    image = ended(api, HEIC, "image/heic")

    assert image["status"] == "processed", image.get("reason")


def test_a_task_processes_a_large_image(deployed: Live, api: httpx.Client) -> None:
    """So the subnets lead to S3, to the container image and to the logs, and the workflow may start the task."""
    if "LargeImageRepositoryUri" not in deployed.outputs:
        pytest.skip("the stack has no task for large images (LargeImageTag)")
    large = BytesIO()
    Image.new("1", (9_000, 9_000)).save(large, "PNG")

    image = ended(api, large.getvalue(), "image/png")

    assert image["status"] == "processed", image.get("reason")


def test_redshift_answers_from_the_files_of_the_catalog(deployed: Live) -> None:
    if not (workgroup := deployed.outputs.get("RedshiftWorkgroupName")):
        pytest.skip("the stack has no Redshift (RedshiftNetwork)")
    data = deployed.client("redshift-data")
    statement = data.execute_statement(
        WorkgroupName=workgroup,
        Database=deployed.outputs["RedshiftDatabase"],
        Sql="SELECT count(*) FROM analytics.current_images",
    )["Id"]

    answered = eventually(
        lambda: data.describe_statement(Id=statement),
        lambda one: one["Status"] in ("FINISHED", "FAILED", "ABORTED"),
        WAKING_SECONDS,
    )

    assert answered["Status"] == "FINISHED", answered.get("Error")


def test_quicksight_made_the_dashboard(deployed: Live) -> None:
    """And its data source: its role can be taken."""
    if not (url := deployed.outputs.get("QuickSightDashboardUrl")):
        pytest.skip("the stack has no dashboard (QuickSightPrincipalArn)")
    account = deployed.client("sts").get_caller_identity()["Account"]
    quicksight = deployed.client("quicksight")
    source = quicksight.describe_data_source(
        AwsAccountId=account, DataSourceId=deployed.physical_ids["DataSource"].split("|")[-1]
    )
    described = quicksight.describe_dashboard(AwsAccountId=account, DashboardId=url.rstrip("/").split("/")[-1])

    assert source["DataSource"]["Status"] == "CREATION_SUCCESSFUL", source["DataSource"].get("ErrorInfo")
    assert described["Dashboard"]["Version"]["Status"] == "CREATION_SUCCESSFUL"
    assert described["Dashboard"]["Version"].get("Errors", []) == []
