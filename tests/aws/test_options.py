"""What a stack has only if its parameters ask for it."""

import pytest

from tests.aws.live import Live, eventually

WAKING_SECONDS = 180


def test_pollers_read_the_topic(deployed: Live) -> None:
    if not (mapping := deployed.physical_ids.get("ImageTopicOfMsk")):
        pytest.skip("the stack has no MSK cluster (KafkaClusterArn)")
    described = deployed.client("lambda").get_event_source_mapping(UUID=mapping)

    assert described["State"] == "Enabled"
    assert described["LastProcessingResult"] in ("OK", "No records processed")


def test_redshift_answers_from_the_files_of_the_catalog(deployed: Live) -> None:
    if not (workgroup := deployed.outputs.get("RedshiftWorkgroupName")):
        pytest.skip("the stack has no Redshift (RedshiftSubnetIds)")
    data = deployed.client("redshift-data")
    statement = data.execute_statement(
        WorkgroupName=workgroup,
        Database=deployed.outputs["RedshiftDatabase"],
        Sql="SELECT count(*) FROM analytics.current_images",
    )["Id"]

    ended = eventually(
        lambda: data.describe_statement(Id=statement),
        lambda one: one["Status"] in ("FINISHED", "FAILED", "ABORTED"),
        WAKING_SECONDS,
    )

    assert ended["Status"] == "FINISHED", ended.get("Error")


def test_quicksight_made_the_dashboard(deployed: Live) -> None:
    if not (url := deployed.outputs.get("QuickSightDashboardUrl")):
        pytest.skip("the stack has no dashboard (QuickSightPrincipalArn)")
    account = deployed.client("sts").get_caller_identity()["Account"]
    quicksight = deployed.client("quicksight")
    described = quicksight.describe_dashboard(AwsAccountId=account, DashboardId=url.rstrip("/").split("/")[-1])

    assert described["Dashboard"]["Version"]["Status"] == "CREATION_SUCCESSFUL"
    assert described["Dashboard"]["Version"].get("Errors", []) == []
