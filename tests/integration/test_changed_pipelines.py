"""A limit that is changed in pipelines.yaml is obeyed wherever an image comes in, and said where it is refused."""

import base64
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from functions.consume_image_topic import app as consume_image_topic
from functions.http_api import app as http_api
from imagelake import pipelines
from imagelake.keys import ArrivalHour, RawKey
from imagelake.model import Arrival
from tests.application import as_caller, event
from tests.integration.conftest import CALLER, IMAGES_TABLE, RAW_BUCKET, Context, client, created, rejections_told
from tests.unit.pictures import encoded, photo
from tests.workflow import Workflow
from tools.pipelines import SOURCE, written

PICTURE = encoded(photo())
LIMIT = len(PICTURE) - 1


@pytest.fixture(autouse=True)
def _changed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: StringIO) -> None:  # noqa: ARG001  # not for the terminal
    """Functions are deployed with a pipelines.yaml that somebody has changed."""
    source, file = tmp_path / "pipelines.yaml", tmp_path / "pipelines.json"
    text = SOURCE.read_text(encoding="utf-8")
    source.write_text(text.replace("max_bytes: 25_000_000", f"max_bytes: {LIMIT}"), encoding="utf-8")
    file.write_text(written(source), encoding="utf-8")
    monkeypatch.setattr(pipelines, "FILE", file)


type Tell = Callable[[str], Context]


def _ask(tell: Tell, body: dict[str, Any]) -> Any:
    request = as_caller(event("http_api"), CALLER, "uploaders") | {"body": json.dumps(body)}
    answer = http_api.handler(request, tell("http_api"))
    return json.loads(answer["body"])


def test_the_upload_form_takes_a_file_up_to_the_limit(tell: Tell) -> None:
    form = _ask(tell, {"content_type": "image/jpeg"})["upload"]

    conditions = json.loads(base64.b64decode(form["fields"]["policy"]))["conditions"]
    assert ["content-length-range", 1, LIMIT] in conditions


def test_no_form_is_granted_for_a_file_over_the_limit(tell: Tell) -> None:
    (error,) = _ask(tell, {"content_type": "image/jpeg", "content_length": LIMIT + 1})["errors"]

    assert (error["pointer"], error["detail"]) == ("#/content_length", f"is over the limit of {LIMIT} bytes")


def test_a_kafka_record_over_the_limit_is_rejected_with_the_limit(tell: Tell) -> None:
    sample = event("consume_image_topic")
    [record, *_] = sample["records"]["images-0"]
    sample["records"] = {"images-0": [record | {"value": base64.b64encode(PICTURE).decode()}]}

    consume_image_topic.handler(sample, tell("consume_image_topic"))

    assert [one["reason_code"] for one in rejections_told()] == ["too_many_bytes"]


def test_the_engine_rejects_an_image_over_the_limit_with_the_limit(workflow: Workflow) -> None:
    key = str(RawKey(ArrivalHour("2026-11-22", "09"), "01a20297-8952-7c11-9d0a-5b1f3c2e4d6f"))
    metadata = Arrival(source="api").to_metadata()
    client("s3").put_object(Bucket=RAW_BUCKET, Key=key, Body=PICTURE, ContentType="image/jpeg", Metadata=metadata)

    workflow.run(created(key))

    image_id = {"image_id": {"S": "01a20297-8952-7c11-9d0a-5b1f3c2e4d6f"}}
    item = client("dynamodb").get_item(TableName=IMAGES_TABLE, Key=image_id)["Item"]
    assert item["reason"]["S"] == f"too_many_bytes: the file has {LIMIT + 1} bytes, the limit is {LIMIT}"
