"""From an ordinary producer to the catalog: the deployed function behind the poller."""

import json
import time
from typing import Any, cast

from confluent_kafka import KafkaError, Message, Producer

from kafka_poller.broker import MESSAGE_LIMIT
from local.lake import Lake
from local.samples import Sample
from tests.e2e.conftest import ENDED, eventually


def produce(lake: Lake, *values: bytes | None, **headers: str) -> list[str]:
    """Send messages; gives the image_id of each."""
    producer = Producer({"bootstrap.servers": lake.kafka.bootstrap_servers, "message.max.bytes": MESSAGE_LIMIT})
    places: list[Message] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        assert error is None
        places.append(message)

    for value in values:
        named = cast("Any", [(name.replace("_", "-"), text) for name, text in headers.items()])
        producer.produce(lake.kafka.topic, value, b"key", headers=named, on_delivery=delivered)
    producer.flush(30)
    return [lake.kafka.image_id(*cast("Any", (m.topic(), m.partition(), m.offset()))) for m in places]


def ended(lake: Lake, *image_ids: str) -> dict[str, dict[str, Any]]:
    def all_ended(records: dict[str, dict[str, Any]]) -> bool:
        return len(records) == len(image_ids) and all(record["status"] in ENDED for record in records.values())

    return eventually(lambda: lake.records(image_ids), all_ended)


def rejections(lake: Lake, image_ids: set[str]) -> dict[str, dict[str, Any]]:
    """What the queue of rejections says of these images; leaves it and all else there."""
    sqs, queue = lake.client("sqs"), lake.stack.outputs["RejectionsQueueUrl"]
    found: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + 60
    while found.keys() != image_ids and time.monotonic() < deadline:
        answer = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1, VisibilityTimeout=1)
        letters = [json.loads(message["Body"])["detail"] for message in answer.get("Messages", [])]
        found |= {letter["image_id"]: letter for letter in letters if letter.get("image_id") in image_ids}
    return found


def test_an_image_from_kafka_ends_in_the_catalog(lake: Lake, samples: dict[str, Sample]) -> None:
    sample = samples["hills.jpg"]
    (image_id,) = produce(lake, sample.content, content_type="image/jpeg", source="e2e", tags='{"site": "Köln"}')
    (record,) = ended(lake, image_id).values()
    assert (record["status"], record["source"], record["tags"]) == ("processed", "e2e", {"site": "Köln"})
    assert record["source_ref"].startswith(f"{lake.kafka.topic}/")
    query = f"SELECT status, source, source_ref FROM images WHERE image_id = '{image_id}'"  # noqa: S608  # our own id
    eventually(lambda: lake.analysts.ask(query).rows, lambda rows: rows == [["processed", "e2e", record["source_ref"]]])


def test_a_bad_image_is_stored_and_rejected_by_the_workflow(lake: Lake, samples: dict[str, Sample]) -> None:
    image_ids = produce(lake, b"no image at all", samples["cut-off.jpg"].content)
    records = ended(lake, *image_ids)
    assert [records[image_id]["status"] for image_id in image_ids] == ["rejected", "rejected"]
    letters = rejections(lake, set(image_ids))
    assert [letters[image_id]["reason_code"] for image_id in image_ids] == ["not_an_image", "truncated"]


def test_a_record_refused_at_the_door_is_kept_and_told(lake: Lake) -> None:
    (image_id,) = produce(lake, None, image_uri="s3://somebody-elses/image.jpg")
    letter = rejections(lake, {image_id})[image_id]
    assert letter["reason_code"] == "claim_not_allowed"
    bucket, _, key = letter["kept_at"].removeprefix("s3://").partition("/")
    kept = json.load(lake.client("s3").get_object(Bucket=bucket, Key=key)["Body"])
    assert [len(records) for records in kept["records"].values()] == [1]
    assert lake.records([image_id]) == {}


def test_a_message_that_no_event_can_hold_is_kept_whole_and_reported(lake: Lake) -> None:
    s3, bucket = lake.client("s3"), lake.stack.outputs["FailedRecordsBucketName"]
    produce(lake, b"x" * 4_900_000)

    def kept() -> list[dict[str, Any]]:
        entries = s3.list_objects_v2(Bucket=bucket, Prefix="aws/lambda/").get("Contents", [])
        return [json.load(s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"]) for entry in entries]

    (record,) = eventually(kept, lambda records: len(records) == 1)
    assert record["requestContext"]["condition"] == "MaximumPayloadSizeExceeded"
    sqs, queue = lake.client("sqs"), lake.stack.outputs["DeadLetterQueueUrl"]

    def letters() -> list[dict[str, Any]]:
        answer = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1, VisibilityTimeout=1)
        bodies = [json.loads(message["Body"]) for message in answer.get("Messages", [])]
        return [body for body in bodies if body.get("kept_at", "").startswith(f"s3://{bucket}/aws/lambda/")]

    assert eventually(letters, bool)[0]["reason"].startswith("given_up: ")


def test_lake_json_names_the_broker(lake: Lake) -> None:
    description = lake.describe()
    assert description["kafka_topic"] == lake.kafka.topic
    assert description["kafka_bootstrap_servers"] == lake.kafka.bootstrap_servers
