"""IAM is enforced, and what a missing permission stops is not lost."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from imagelake.model import DeadLetter
from local.api_client import ApiClient
from local.lake import Lake
from local.samples import Sample
from tests.application import WORKFLOW
from tests.e2e.conftest import Await, Upload, eventually, invoke, without


def dead_letters(lake: Lake, image_id: str) -> list[dict[str, Any]]:
    """The messages about an image; they stay in the queue."""
    sqs, queue = lake.client("sqs"), lake.stack.outputs["DeadLetterQueueUrl"]
    received = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=0).get("Messages", [])
    bodies = [json.loads(message["Body"]) for message in received]
    return [body for body in bodies if body.get("image_id") == image_id]


@pytest.mark.parametrize(
    ("role", "action", "fault"),
    [
        ("OpenImageRole", "dynamodb:GetItem", "AccessDeniedException on GetItem"),
        ("OpenImageRole", "s3:ListBucketVersions", "AccessDenied on ListObjectVersions"),
        ("OpenImageRole", "s3:GetObjectVersion", "403 on HeadObject"),
        ("OpenImageRole", "s3:PutObject", "status 403 on POST"),
        ("CloseImageRole", "s3:GetObject", "403 on HeadObject"),
    ],
)
def test_without_a_permission_the_image_is_in_the_dead_letter_queue_and_can_be_redriven(
    lake: Lake, samples: dict[str, Sample], upload: Upload, await_end: Await, role: str, action: str, fault: str
) -> None:
    lake.client("sqs").purge_queue(QueueUrl=lake.stack.outputs["DeadLetterQueueUrl"])
    with without(lake, role, action):
        image_id = upload(samples["hills.jpg"])
        image = await_end(image_id)

    assert (image["status"], image["reason"]) == ("failed", f"fault: {fault}")
    (letter,) = eventually(lambda: dead_letters(lake, image_id), bool)
    assert letter["reason"] == image["reason"]
    assert letter["execution"].startswith("arn:aws:states:")
    assert DeadLetter.model_validate(letter).step in WORKFLOW["States"]
    assert letter["attempts"] > 1

    (redriven,) = invoke(lake, "RedriveImagesFunction", {"image_ids": [image_id]})["images"]

    assert redriven["result"] == "redriven"
    assert eventually(lambda: await_end(image_id), lambda image: image["status"] == "processed")["derivatives"]


def test_buckets_refuse_plain_http(samples: dict[str, Sample], client: ApiClient) -> None:
    sample = samples["icon.bmp"]
    (grant,) = client.request_uploads([sample])
    form, file = grant["upload"], {"file": sample.content}

    response = httpx.post(form["url"], data=form["fields"], files=file, headers={"X-Forwarded-Proto": "http"})

    assert response.status_code == 403


def test_logs_hold_no_personal_data(lake: Lake, samples: dict[str, Sample], upload: Upload, await_end: Await) -> None:
    image = await_end(upload(samples["harbour-upright.jpg"]))
    assert image["metadata"]["gps_lat"]

    logs = lake.client("logs")
    lines = [
        event["message"]
        for group in logs.describe_log_groups()["logGroups"]
        for event in logs.filter_log_events(logGroupName=group["logGroupName"])["events"]
    ]

    assert any(image["image_id"] in line for line in lines)
    for secret in ("harbour-upright", "151.2153", "-33.85", "Pocket", lake.password):
        assert not [line for line in lines if secret in line], secret


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can refuse what Lambda refuses")
def test_functions_run_as_on_lambda(lake: Lake, samples: dict[str, Sample], upload: Upload, await_end: Await) -> None:
    """Root gets all of it; see `local/emulator/lambda_like.py` for who else gets what."""
    await_end(upload(samples["hills.jpg"]))

    workers = [
        process
        for process in psutil.Process().children(recursive=True)
        if process.status() != psutil.STATUS_ZOMBIE and any(part.endswith("_worker.py") for part in process.cmdline())
    ]

    assert workers
    for worker in workers:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines())
        environment = worker.environ()
        assert status["Seccomp"] == "2"
        assert "filter" in environment["LAMBDA_LIKE"].split(",")
        assert not {"HOME", "TMPDIR", "S3_DATA_DIR", "GATEWAY_PORT"} & {*environment}
        assert environment["AWS_ACCESS_KEY_ID"] != "test"
        if os.geteuid() == 0:
            assert environment["LAMBDA_LIKE"] == "filter,user,files"
            assert worker.uids().real >= 30_000
            assert not Path(f"/proc/{worker.pid}/root{lake.emulator.folder / 's3'}").exists()
