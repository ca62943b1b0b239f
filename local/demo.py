"""What a newcomer sees: sample pictures go in through the API, come out processed, and answer questions in SQL."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from confluent_kafka import KafkaError, Message, Producer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from imagelake_cli import connection, formats
from kafka_poller.broker import MESSAGE_LIMIT
from local.api_client import ApiClient, send
from local.lake import DESCRIPTION, Lake, points_here
from local.samples import Sample, make_samples

WAIT_SECONDS: Final = 120
SHOWN_QUERIES: Final = ("outcomes", "formats", "cameras")
_ENDED: Final = ("processed", "rejected", "failed")


class DemoError(Exception):
    """The lake did not do what the samples expect of it."""


@dataclass(frozen=True)
class Sent:
    """A sample, the door it went through and the image it became."""

    sample: Sample
    door: Literal["API", "Kafka"]
    image_id: str


def show(lake: Lake, console: Console) -> None:
    """Send every second sample through the API and the others through Kafka, wait, and print what became of them.

    Raises:
        DemoError: an image did not end as its sample says, or SQL disagrees.
    """
    client = ApiClient(lake)
    samples = make_samples()
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    ) as progress:
        uploaded = [*_upload(client, samples[::2], progress), *_produce(lake, samples[1::2], progress)]
        images = _await_end(lake, client, uploaded, progress)
        _await_catalog(lake, len(uploaded), progress)
    console.print("\nWhat became of each image", _images_table(uploaded, images))
    queries = lake.analysts.named_queries()
    for query in map(queries.__getitem__, SHOWN_QUERIES):
        console.print(f"\n{query.question}", formats.table(lake.analysts.ask(query.sql)))
    _check(lake, uploaded, images)


def how_to_go_on(lake: Lake) -> str:
    """Where the API is and how to call it, to be pasted into a shell."""
    read_id = 'python3 -c \'import sys, json; print(json.load(sys.stdin)["AuthenticationResult"]["IdToken"])\''
    pointer = f"\nPointer  {connection.pointer()}   (for `imagelake query` in other folders)" if points_here() else ""
    client_id = lake.stack.outputs["UserPoolClientId"]
    return f"""\
API      {lake.api_url}
AWS      {lake.emulator.endpoint_url}   (any AWS client, with the access key and secret `test`)
Kafka    {lake.kafka.bootstrap_servers}   (topic `{lake.kafka.topic}`)
User     {lake.username}   password {lake.password}
Details  {DESCRIPTION}{pointer}

API={lake.api_url}
TOKEN=$(curl -s {lake.emulator.endpoint_url}/ -H 'Content-Type: application/x-amz-json-1.1' \\
  -H 'X-Amz-Target: AWSCognitoIdentityProviderService.InitiateAuth' \\
  -d '{{"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": "{client_id}",
       "AuthParameters": {{"USERNAME": "{lake.username}", "PASSWORD": "{lake.password}"}}}}' \\
  | {read_id})
curl -s "$API/images?limit=2" -H "Authorization: $TOKEN"
curl -s $API/uploads -H "Authorization: $TOKEN" --json '{{"content_type": "image/jpeg"}}'
.venv/bin/python -m kafka_poller send PICTURE.jpg -b {lake.kafka.bootstrap_servers} -t {lake.kafka.topic} --source me
.venv/bin/imagelake dashboard -o flow.html --since 1h
"""


def _upload(client: ApiClient, samples: Sequence[Sample], progress: Progress) -> list[Sent]:
    task = progress.add_task("Uploading through the API", total=len(samples))
    granted = client.request_uploads(samples)

    def upload(sample: Sample, grant: dict[str, Any]) -> Sent:
        send(grant["upload"], sample.content, sample.content_type).raise_for_status()
        progress.advance(task)
        return Sent(sample, "API", grant["image_id"])

    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(upload, samples, granted))


def _produce(lake: Lake, samples: Sequence[Sample], progress: Progress) -> list[Sent]:
    """Send images as any program would that has never heard of this lake."""
    task = progress.add_task("Producing to Kafka", total=len(samples))
    producer = Producer({"bootstrap.servers": lake.kafka.bootstrap_servers, "message.max.bytes": MESSAGE_LIMIT})
    sent: list[Sent] = []

    def delivered(sample: Sample, error: KafkaError | None, message: Message) -> None:
        place = (message.topic(), message.partition(), message.offset())
        if error is not None or None in place:
            raise DemoError(f"{sample.filename}: {error}")
        sent.append(Sent(sample, "Kafka", lake.kafka.image_id(*place)))  # type: ignore[arg-type]  # none is None
        progress.advance(task)

    for sample in samples:
        headers: list[tuple[str, str | bytes | None]] = [
            ("content-type", sample.content_type), ("source", "demo"), ("tags", '{"album": "samples"}')
        ]  # fmt: skip
        producer.produce(lake.kafka.topic, sample.content, headers=headers, on_delivery=partial(delivered, sample))
    producer.flush(WAIT_SECONDS)
    return sent


def _await_end(
    lake: Lake, client: ApiClient, uploaded: Sequence[Sent], progress: Progress
) -> dict[str, dict[str, Any]]:
    """What is said of each image once all have ended, or after `WAIT_SECONDS`.

    The API says it of its own; callers do not see the images of others, so those from Kafka are looked up in the table.
    """
    task = progress.add_task("Processing", total=len(uploaded))
    deadline = time.monotonic() + WAIT_SECONDS
    from_kafka = [one.image_id for one in uploaded if one.door == "Kafka"]
    while True:
        images = {image["image_id"]: image for image in client.images(limit=100)["images"]}
        images |= lake.records(from_kafka)
        mine = {one.image_id: images[one.image_id] for one in uploaded if one.image_id in images}
        ended = sum(image["status"] in _ENDED for image in mine.values())
        progress.update(task, completed=ended)
        if ended == len(uploaded) or time.monotonic() > deadline:
            return mine
        time.sleep(0.3)


def _await_catalog(lake: Lake, expected: int, progress: Progress) -> None:
    """Wait until SQL sees all images, or `WAIT_SECONDS`."""
    task = progress.add_task("Cataloging", total=expected)
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        rows = _count(lake)
        progress.update(task, completed=rows)
        if rows >= expected:
            return
        time.sleep(0.5)


def _count(lake: Lake) -> int:
    [[count]] = lake.analysts.ask("SELECT count(DISTINCT image_id) FROM images").rows
    return int(count)


def _images_table(uploaded: Sequence[Sent], images: dict[str, dict[str, Any]]) -> Table:
    table = Table("file", "came by", "status", "what is known")
    for one in uploaded:
        image = images.get(one.image_id, {"status": "unknown"})
        said = image.get("reason") or _summary(image)
        table.add_row(one.sample.filename, one.door, image["status"], Text(said))
    return table


def _summary(image: dict[str, Any]) -> str:
    metadata = image.get("metadata", image)
    names = ", ".join(f"{made['name']} {made['width']}x{made['height']}" for made in image.get("derivatives", ()))
    camera = f", {metadata['camera_make']}" if "camera_make" in metadata else ""
    place = f", {metadata['gps_lat']:.3f} {metadata['gps_lon']:.3f}" if "gps_lat" in metadata else ""
    return f"{metadata.get('format')} {metadata.get('width')}x{metadata.get('height')}{camera}{place} -> {names}"


def _check(lake: Lake, uploaded: Sequence[Sent], images: dict[str, dict[str, Any]]) -> None:
    surprises = [
        f"{one.sample.filename}: {images.get(one.image_id, {}).get('status')} instead of {one.sample.status}"
        for one in uploaded
        if images.get(one.image_id, {}).get("status") != one.sample.status
    ]
    in_sql = {row[0]: row[1] for row in lake.analysts.ask("SELECT image_id, status FROM images").rows}
    surprises += [
        f"{one.sample.filename}: SQL says {in_sql.get(one.image_id)}"
        for one in uploaded
        if in_sql.get(one.image_id) != one.sample.status
    ]
    if surprises:
        raise DemoError("; ".join(surprises))
