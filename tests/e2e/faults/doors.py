"""Sending images through both doors, and erasing some, as people do who try again until they are answered."""

import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from http import HTTPStatus
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


@dataclass
class Erasures:
    """Which images somebody wants to have erased, and of which the lake has said that they are.

    `door` is that of an operator.
    """

    door: LakeApi = field(init=False)
    wanted: set[str] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)

    def ask(self, image_id: str) -> None:
        """Ask for the erasure of an image; it is not wanted any more where the lake knows no such image."""
        self.wanted.add(image_id)
        try:
            self.door.erase(image_id, "unspecified")
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                self.wanted.discard(image_id)
        else:
            self.erased.add(image_id)

    def ask_all(self, image_ids: Iterable[str]) -> None:
        """Ask for the erasure of images, several at once."""
        with ThreadPoolExecutor(SENDERS) as pool:
            list(pool.map(self.ask, sorted(image_ids)))


def api(lake: Lake, username: str | None = None, password: str | None = None) -> LakeApi:
    """The API as the demo user, or another, calls it."""
    client, client_id = lake.client("cognito-idp"), lake.stack.outputs["UserPoolClientId"]
    return LakeApi(lake.api_url, SignIn(client, client_id, username or lake.username, password or lake.password))


def api_of_operator(lake: Lake) -> LakeApi:
    """The API as somebody calls it who may erase the images of all."""
    name = f"operator-{uuid.uuid4().hex[:8]}"
    return api(lake, name, lake.add_user(name, "operators"))


def through_api(lake: Lake, pictures: Sequence[Picture], erasures: Erasures) -> Accepted:
    """Send pictures with upload forms; what was given up has not been accepted. One in ten is erased at once."""
    accepted: Accepted = {}
    door, lock = api(lake), threading.Lock()

    def send(some: Sequence[Picture]) -> None:
        for number, (picture, grant) in enumerate(_granted(door, some)):
            with suppress(ApiError):
                door.send(grant["upload"], picture.content)
                with lock:
                    accepted[grant["image_id"]] = picture
                if number == FORMS - 1:
                    erasures.ask(grant["image_id"])

    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(send, batched(pictures, FORMS, strict=False)))
    return accepted


def _granted(door: LakeApi, pictures: Sequence[Picture]) -> Iterator[tuple[Picture, dict[str, Any]]]:
    wishes = [
        {"content_type": one.content_type, "content_length": len(one.content), "sha256": one.sha256} for one in pictures
    ]
    with suppress(ApiError):
        yield from zip(pictures, door.request_uploads(wishes), strict=True)


def through_kafka(lake: Lake, pictures: Sequence[Picture], now: datetime) -> Accepted:
    """Send pictures as messages of this time, and wait until the broker has taken them."""
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
            lake.kafka.topic,
            picture.content,
            headers=cast("Any", headers),
            on_delivery=partial(delivered, picture),
            timestamp=int(now.timestamp() * 1000),
        )
        producer.poll(0)
    assert producer.flush(60) == 0
    return accepted
