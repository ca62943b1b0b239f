"""Sending images through both doors, as senders do who try again until they are told that an image is in."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import batched
from typing import Any, cast

from confluent_kafka import KafkaError, Message, Producer

from imagelake_cli.lake_api import ApiError, LakeApi
from imagelake_cli.sign_in import SignIn
from kafka_poller.broker import MESSAGE_LIMIT
from local.lake import Lake
from tests.e2e.faults.pictures import Picture

SENDERS = 4
FORMS = 10
"""Of one request."""

type Accepted = dict[str, Picture]
"""The images that the lake has told their senders it has, by image_id."""


def api(lake: Lake) -> LakeApi:
    """The API as the demo user calls it."""
    outputs = lake.stack.outputs
    client = lake.client("cognito-idp")
    return LakeApi(lake.api_url, SignIn(client, outputs["UserPoolClientId"], lake.username, lake.password))


def through_api(lake: Lake, pictures: Sequence[Picture]) -> Accepted:
    """Send pictures with upload forms; what was given up has not been accepted."""
    accepted: Accepted = {}
    door, lock = api(lake), threading.Lock()

    def send(some: Sequence[Picture]) -> None:
        for picture, grant in _granted(door, some):
            with suppress(ApiError):
                door.send(grant["upload"], picture.content)
                with lock:
                    accepted[grant["image_id"]] = picture

    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(send, batched(pictures, FORMS, strict=False)))
    return accepted


def _granted(door: LakeApi, pictures: Sequence[Picture]) -> Iterator[tuple[Picture, dict[str, Any]]]:
    wishes = [
        {"content_type": one.content_type, "content_length": len(one.content), "sha256": one.sha256} for one in pictures
    ]
    with suppress(ApiError):
        yield from zip(pictures, door.request_uploads(wishes), strict=True)


def through_kafka(lake: Lake, pictures: Sequence[Picture]) -> Accepted:
    """Send pictures as messages, and wait until the broker has taken them."""
    producer = Producer({"bootstrap.servers": lake.kafka.bootstrap_servers, "message.max.bytes": MESSAGE_LIMIT})
    accepted: Accepted = {}

    def delivered(picture: Picture, error: KafkaError | None, message: Message) -> None:
        assert error is None
        place = cast("tuple[str, int, int]", (message.topic(), message.partition(), message.offset()))
        accepted[lake.kafka.image_id(*place)] = picture

    for picture in pictures:
        headers = [("content-type", picture.content_type), ("source", "faults")]
        headers += [] if picture.content else [("image-uri", "s3://somebody-elses/image.jpg")]
        producer.produce(
            lake.kafka.topic, picture.content, headers=cast("Any", headers), on_delivery=partial(delivered, picture)
        )
        producer.poll(0)
    assert producer.flush(60) == 0
    return accepted
