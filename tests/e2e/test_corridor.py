"""An image that goes in through the API comes out processed, stored, cataloged and answerable in SQL."""

import hashlib
import io
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx
import pytest
from PIL import Image, ImageChops, ImageStat

from local.api_client import ApiClient, send
from local.lake import Lake
from local.samples import Sample
from tests.e2e.conftest import Await, Upload, eventually


@pytest.fixture(scope="module")
def uploaded(client: ApiClient, samples: dict[str, Sample]) -> dict[str, str]:
    """Every sample once; its image_id by file name."""
    grants = client.request_uploads(list(samples.values()))
    for sample, grant in zip(samples.values(), grants, strict=True):
        send(grant["upload"], sample.content, sample.content_type).raise_for_status()
    return {name: grant["image_id"] for name, grant in zip(samples, grants, strict=True)}


def rows_of(lake: Lake, image_id: str) -> list[dict[str, Any]]:
    """The rows of an image in SQL, once there is one."""

    def look() -> list[dict[str, Any]]:
        answer = lake.analysts.ask(f"SELECT * FROM images WHERE image_id = '{image_id}'")  # noqa: S608  # a UUID of ours
        return [dict(zip((column.name for column in answer.columns), row, strict=True)) for row in answer.rows]

    return eventually(look, bool)


def test_every_good_sample_is_processed_and_every_bad_one_rejected_for_its_fault(
    uploaded: dict[str, str], samples: dict[str, Sample], await_end: Await
) -> None:
    ended = {name: await_end(image_id) for name, image_id in uploaded.items()}

    assert {name: image["status"] for name, image in ended.items()} == {
        name: sample.status for name, sample in samples.items()
    }
    reasons = {name: image["reason"].split(":")[0] for name, image in ended.items() if "reason" in image}
    assert reasons == {
        "notes.jpg": "not_an_image",
        "cut-off.jpg": "truncated",
        "bomb.png": "side_too_long",
        "vector.png": "unsupported_format",
    }


def test_sql_agrees_with_what_was_uploaded(
    lake: Lake, uploaded: dict[str, str], samples: dict[str, Sample], await_end: Await
) -> None:
    for name, image_id in uploaded.items():
        await_end(image_id)
        (row,) = rows_of(lake, image_id)
        assert row["status"] == samples[name].status
        assert row["bytes"] == len(samples[name].content)
        if row["status"] == "processed":
            with Image.open(io.BytesIO(samples[name].content)) as image:
                assert (row["width"], row["height"]) == image.size


def test_what_exif_says_is_in_the_catalog(lake: Lake, uploaded: dict[str, str]) -> None:
    (row,) = rows_of(lake, uploaded["harbour-upright.jpg"])

    assert (row["orientation"], row["camera_make"], row["camera_model"]) == (6, "Pocket", "P 12")
    assert row["gps_lat"] == pytest.approx(-33.8568, abs=1e-4)
    assert row["gps_lon"] == pytest.approx(151.2153, abs=1e-4)
    assert row["taken_at"] == datetime(2026, 5, 17, 16, 30, 12)  # noqa: DTZ001  # Athena's timestamps have no zone
    assert (row["source"], row["script"]) == ("api", "describe,thumbnails")


def test_derivatives_are_upright_small_and_bare(uploaded: dict[str, str], await_end: Await) -> None:
    image = await_end(uploaded["harbour-upright.jpg"])

    sizes = {}
    for derivative in image["derivatives"]:
        content = httpx.get(derivative["url"]).raise_for_status().content
        with Image.open(io.BytesIO(content)) as picture:
            assert not picture.getexif()
            assert picture.size == (derivative["width"], derivative["height"])
            sizes[derivative["name"]] = picture.size
    assert sizes == {"thumb_256": (192, 256), "thumb_1024": (768, 1024)}


def test_every_named_query_answers(lake: Lake, uploaded: dict[str, str]) -> None:
    rows_of(lake, uploaded["hills.jpg"])

    for query in lake.analysts.named_queries().values():
        assert lake.analysts.ask(query.sql).columns, query.name


def test_the_same_bytes_uploaded_twice_are_two_images(
    lake: Lake, samples: dict[str, Sample], upload: Upload, await_end: Await
) -> None:
    first, second = (await_end(upload(samples["icon.bmp"])) for _ in range(2))

    assert first["image_id"] != second["image_id"]
    assert first["metadata"]["sha256"] == second["metadata"]["sha256"]
    assert len(rows_of(lake, first["image_id"])) == len(rows_of(lake, second["image_id"])) == 1


def test_an_event_delivered_three_times_at_once_is_one_row_and_one_set_of_derivatives(
    lake: Lake, samples: dict[str, Sample], upload: Upload, await_end: Await
) -> None:
    image_id = upload(samples["map.png"])
    await_end(image_id)
    event = event_of(lake, image_id)
    steps = lake.client("stepfunctions")

    with ThreadPoolExecutor(max_workers=3) as pool:
        runs = list(pool.map(lambda _: start(lake, event), range(3)))
    ends = [eventually(lambda run=run: steps.describe_execution(executionArn=run), has_ended) for run in runs]  # type: ignore[misc]  # mypy cannot infer lambdas with defaults

    assert [end["status"] for end in ends] == ["SUCCEEDED"] * 3
    assert len(rows_of(lake, image_id)) == 1
    stored = lake.client("s3").list_objects_v2(Bucket=lake.stack.outputs["LakeBucketName"], Prefix="derived/")
    mine = [entry["Key"] for entry in stored["Contents"] if image_id in entry["Key"]]
    assert sorted(key.rsplit("/", 1)[1].split(".")[0] for key in mine) == ["thumb_1024", "thumb_256"]


def test_three_deliveries_at_once_of_a_new_image_are_one_row(lake: Lake, samples: dict[str, Sample]) -> None:
    """The bucket's own event is held back, so that none of the three finds the work done."""
    bucket, s3 = lake.stack.outputs["RawBucketName"], lake.client("s3")
    image_id = "01999f5c-7a2e-7c11-9d0a-5b1f3c2e4d6f"
    key = f"raw/ingest_date=2026-11-22/hour=09/{image_id}"
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    try:
        version = s3.put_object(Bucket=bucket, Key=key, Body=samples["icon.bmp"].content, ContentType="image/bmp")
    finally:
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
        )
    detail = {"bucket": {"name": bucket}, "object": {"key": key, "version-id": version["VersionId"]}}
    event = {"detail": detail, "time": "2026-11-22T09:00:00Z"}
    steps = lake.client("stepfunctions")

    with ThreadPoolExecutor(max_workers=3) as pool:
        runs = list(pool.map(lambda _: start(lake, event), range(3)))
    ends = [eventually(lambda run=run: steps.describe_execution(executionArn=run), has_ended) for run in runs]  # type: ignore[misc]  # mypy cannot infer lambdas with defaults

    assert [end["status"] for end in ends] == ["SUCCEEDED"] * 3
    assert len(rows_of(lake, image_id)) == 1


def test_a_form_used_twice_leaves_the_image_that_was_cataloged(
    lake: Lake, client: ApiClient, samples: dict[str, Sample], await_end: Await
) -> None:
    sample, other = samples["hills.jpg"], samples["dusk.jpg"]
    grant = client.post("/uploads", json={"content_type": sample.content_type}).raise_for_status().json()
    send(grant["upload"], sample.content, sample.content_type).raise_for_status()
    before = await_end(grant["image_id"])
    send(grant["upload"], other.content, other.content_type).raise_for_status()

    steps, machine = lake.client("stepfunctions"), lake.stack.outputs["IngestImageStateMachineArn"]
    eventually(
        lambda: [
            run
            for run in steps.list_executions(stateMachineArn=machine, statusFilter="SUCCEEDED")["executions"]
            if grant["image_id"] in steps.describe_execution(executionArn=run["executionArn"])["input"]
        ],
        lambda runs: len(runs) == 2,
    )

    after = await_end(grant["image_id"])
    assert after["metadata"] == before["metadata"]
    content = httpx.get(after["derivatives"][0]["url"]).raise_for_status().content
    assert content == httpx.get(before["derivatives"][0]["url"]).raise_for_status().content


def test_two_pictures_sent_at_once_through_one_form_are_one_picture(
    lake: Lake, client: ApiClient, samples: dict[str, Sample], await_end: Await
) -> None:
    """Whichever is stored first wins, in the row and in the derivatives alike."""
    pictures = [samples["hills.jpg"], samples["dusk.jpg"]]
    grants = [client.post("/uploads", json={"content_type": "image/jpeg"}).raise_for_status().json() for _ in range(6)]

    with ThreadPoolExecutor(max_workers=4) as pool:
        sent = [
            pool.submit(send, grant["upload"], picture.content, picture.content_type)
            for grant in grants
            for picture in pictures
        ]
        for one in sent:
            one.result().raise_for_status()

    s3, bucket = lake.client("s3"), lake.stack.outputs["RawBucketName"]
    for grant in grants:
        image = await_end(grant["image_id"])
        versions = s3.list_object_versions(Bucket=bucket, Prefix=grant["upload"]["fields"]["key"])["Versions"]
        first = versions[-1]
        content = s3.get_object(Bucket=bucket, Key=first["Key"], VersionId=first["VersionId"])["Body"].read()
        assert len(versions) == 2
        assert image["metadata"]["sha256"] == hashlib.sha256(content).hexdigest()
        (small,) = [one for one in image["derivatives"] if one["name"] == "thumb_256"]
        assert f"/{first['VersionId']}/" in small["url"]
        with (
            Image.open(io.BytesIO(content)) as original,
            Image.open(io.BytesIO(httpx.get(small["url"]).content)) as thumb,
        ):
            difference = ImageChops.difference(original.resize(thumb.size).convert("L"), thumb.convert("L"))
            assert ImageStat.Stat(difference).mean[0] < 8


def test_an_image_awaits_its_upload_until_it_comes(client: ApiClient, samples: dict[str, Sample]) -> None:
    (grant,) = client.request_uploads([samples["fog.jpg"]])

    image = client.image(grant["image_id"])

    assert (image["status"], image["derivatives"]) == ("awaiting_upload", [])
    assert grant["image_id"] in {
        one["image_id"] for one in client.images(status="awaiting_upload", limit=100)["images"]
    }


def has_ended(execution: dict[str, Any]) -> bool:
    return bool(execution["status"] != "RUNNING")


def start(lake: Lake, event: dict[str, Any]) -> str:
    arn: str = lake.client("stepfunctions").start_execution(
        stateMachineArn=lake.stack.outputs["IngestImageStateMachineArn"], input=json.dumps(event)
    )["executionArn"]
    return arn


def event_of(lake: Lake, image_id: str) -> dict[str, Any]:
    """The `Object Created` event that started the workflow for an image."""
    steps = lake.client("stepfunctions")
    executions = steps.list_executions(stateMachineArn=lake.stack.outputs["IngestImageStateMachineArn"])["executions"]
    inputs = (steps.describe_execution(executionArn=run["executionArn"])["input"] for run in executions)
    event: dict[str, Any] = next(json.loads(text) for text in inputs if image_id in text)
    return event
