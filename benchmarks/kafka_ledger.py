"""Ten thousand records through a door that keeps breaking, and a ledger of what became of each.

    python -m benchmarks.kafka_ledger [--records 10000] [--broker noida|tansu] [--workflow here|deployed]

The stack is the deployed one, on the emulator, with IAM enforcement on: the function behind the pollers, the buckets,
the queue, the images table, its stream and the function that writes the catalog. What lies between raw bucket and table
is either the deployed workflow, which is slow on one machine, or, for ten thousand records, the same processing and the
same conditional write, run here after the rule that starts the workflow was turned off.

Between the function and S3 stands a proxy that answers every write of one object in twenty with 503 until the
function's client has given up, and that kills the function's process, for real, on one record in five hundred. One
record in fifty is delivered a second time. Half-way another poller joins the group, and leaves it later. With the
deployed workflow the producer waits while too many images are on their way.
"""

import hashlib
import http.client
import io
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

import boto3
import psutil
import typer
from confluent_kafka import KafkaError, Message, Producer
from PIL import Image
from rich.console import Console
from rich.table import Table

from imagelake import pipelines
from imagelake.engine import work as engine
from imagelake.process.closing import Closing, EngineAnswered
from imagelake.process.opening import ObjectCreated, Opening
from imagelake.settings import load
from kafka_poller import broker
from kafka_poller.delivery import RetryPolicy
from kafka_poller.message import Message as Delivered
from kafka_poller.message import Source
from kafka_poller.poller import FailedRecordsBucket, LambdaFunction, Mapping, Poller, polling
from local import lake as local_lake
from local.emulator import REGION, ROOT
from local.kafka import CLUSTER_ARN, KafkaSide
from local.lake import Lake

TOPIC = "ledger"
PARTITIONS = 8
POLLERS = 3
LARGEST_VALUE = 900_000
MAX_BYTES = 950_000
ON_THEIR_WAY = 16
FAILING_REQUESTS = 2
"""Attempts of boto3's own before it gives a write up; fewer than its five, which would take ten seconds."""

console = Console(highlight=False)


@dataclass(frozen=True)
class Record:
    """What is sent, and whether it is any good."""

    value: bytes | None
    headers: tuple[tuple[str, str | bytes | None], ...]
    poison: str = ""


@dataclass
class Ledger:
    """What was sent and what became of it, by image_id."""

    valid: set[str] = field(default_factory=set)
    poison: dict[str, str] = field(default_factory=dict)
    deliveries: Counter[tuple[int, int]] = field(default_factory=Counter)


@dataclass
class Faults:
    """What the proxy has done so far."""

    writes: int = 0
    refused: int = 0
    killed: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


def main(
    records: Annotated[int, typer.Option(min=100, help="Records to send.")] = 10_000,
    implementation: Annotated[str, typer.Option("--broker", help="noida or tansu.")] = "noida",
    workflow: Annotated[str, typer.Option(help="here or deployed.")] = "here",
) -> None:
    """Send the records, wait for their end, print the ledger; exit 1 if one is lost."""
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        servers = os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or stack.enter_context(
            broker.running(cast("broker.Implementation", implementation))
        )
        os.environ["KAFKA_BOOTSTRAP_SERVERS"] = servers
        broker.create_topic(servers, TOPIC, PARTITIONS)
        lake = stack.enter_context(local_lake.running(report=console.print, pipelines=_pipelines()))
        faults = Faults()
        proxy = stack.enter_context(_proxy(lake, faults))
        _point_function_at(lake, proxy)
        ledger = Ledger()
        deployed = workflow == "deployed"
        if not deployed:
            _turn_workflow_off(lake)
        producer = threading.Thread(target=_produce, args=(lake, servers, records, ledger, deployed), daemon=True)
        with polling([_poller(lake, servers, ledger) for _ in range(POLLERS)]) as members:
            producer.start()
            _await_deliveries(ledger, records // 2)
            console.print("Half-way: another poller joins")
            with polling([_poller(lake, servers, ledger)]) as (second,):
                _await_deliveries(ledger, records * 3 // 4)
                console.print(f"It had {second.assigned} partitions, and leaves")
            producer.join()
            if not deployed:
                _await_deliveries(ledger, records)
                time.sleep(5)  # retries of the last batch
                _process_here(lake)
            _await_end(lake, ledger, records)
            tallies = [member.tally for member in (*members, second)]
        lost = _settle(lake, ledger, faults, tallies, records)
    console.print(f"{time.monotonic() - began:.0f} s, {lost} lost")
    sys.exit(bool(lost))


def _pipelines() -> str:
    """Those of the repository, with a lower limit and one script."""
    document = json.loads(pipelines.FILE.read_bytes())
    document["limits"]["max_bytes"] = document["large_limits"]["max_bytes"] = MAX_BYTES
    document["pipelines"]["default"] = {"scripts": ["describe"], "params": {}}
    return json.dumps(document)


def _records(count: int) -> Iterator[Record]:
    chance = random.Random(3)  # noqa: S311  # no secret
    claim = ("image-uri", "s3://partner/missing.jpg")
    source = ("source", "ledger")
    large = bytes(MAX_BYTES)
    poisons: list[Callable[[bytes], Record]] = [
        lambda image: Record(b"no image: " + image[-8:], (source,), "not an image"),
        lambda image: Record(image[: len(image) // 2], (source,), "truncated"),
        lambda image: Record(image + large, (source,), "over the size limit"),
        lambda image: Record(image, (source, ("tags", "not json")), "tags"),
        lambda image: Record(image, (("source", b"\xff"),), "source"),
        lambda _: Record(None, (source, claim), "foreign claim"),
        lambda _: Record(b"", (source, ("image-uri", "http://169.254.169.254/")), "http claim"),
        lambda image: Record(image, (source, claim), "image and claim"),
    ]
    pictures = [_picture(n) for n in range(32)]
    for number in range(count):
        size = int(1000 * (LARGEST_VALUE / 1000) ** chance.random())
        image = _padded(pictures[number % len(pictures)], size, number)
        if number % 100 in (17, 51, 83):
            yield poisons[number // 33 % len(poisons)](image)
        else:
            yield Record(image, (source, ("content-type", "image/jpeg"), ("tags", f'{{"number": "{number}"}}')))


def _picture(seed: int) -> bytes:
    chance = random.Random(seed)  # noqa: S311  # no secret
    picture = Image.new("RGB", (24, 16), tuple(chance.randrange(256) for _ in range(3)))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


def _padded(jpeg: bytes, size: int, number: int) -> bytes:
    """The picture with comments up to about `size` bytes, and the number, so that no two are alike."""
    comments = b""
    left = max(16, size - len(jpeg))
    while left > 0:
        text = number.to_bytes(8) + bytes(min(left, 65_000))
        comments += b"\xff\xfe" + (len(text) + 2).to_bytes(2) + text
        left -= len(text) + 4
    return jpeg[:2] + comments + jpeg[2:]


def _produce(
    lake: Lake,
    servers: str,
    count: int,
    ledger: Ledger,
    paced: bool,
) -> None:
    producer = Producer({"bootstrap.servers": servers, "message.max.bytes": broker.MESSAGE_LIMIT})
    kafka = KafkaSide(servers, TOPIC)

    def delivered(record: Record, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            console.print(f"the producer failed: {error}")
            os._exit(2)
        image_id = kafka.image_id(TOPIC, cast("int", message.partition()), cast("int", message.offset()))
        if record.poison:
            ledger.poison[image_id] = record.poison
        else:
            ledger.valid.add(image_id)

    began = time.monotonic()
    for number, record in enumerate(_records(count)):
        producer.produce(
            TOPIC, record.value, headers=list(record.headers), partition=number % PARTITIONS,
            on_delivery=partial(delivered, record),
        )  # fmt: skip
        producer.poll(0)
        if number % 8 == 7:
            producer.flush()
            while number - (_ended(lake) if paced else len(ledger.deliveries)) > (ON_THEIR_WAY if paced else 1000):
                time.sleep(0.1)
            if number % 200 == 199:
                console.print(f"{number + 1} sent, {time.monotonic() - began:.0f} s")
    producer.flush()


def _ended(lake: Lake) -> int:
    """Images that the workflow has brought to an end, and records kept at the door."""
    table = lake.client("dynamodb").describe_table(TableName=lake.stack.outputs["ImagesTableName"])["Table"]
    return int(table["ItemCount"]) + len(_kept(lake))


def _kept(lake: Lake) -> list[str]:
    pages = lake.client("s3").get_paginator("list_objects_v2")
    found = pages.paginate(Bucket=lake.stack.outputs["FailedRecordsBucketName"])
    return [entry["Key"] for page in found for entry in page.get("Contents", [])]


def _poller(lake: Lake, servers: str, ledger: Ledger) -> Poller:
    source = Source(servers, CLUSTER_ARN)
    mapping = Mapping(TOPIC, TOPIC, maximum_batching_window=0.5, retries=RetryPolicy(10, maximum_backoff=2))
    credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    connection: dict[str, Any] = {"endpoint_url": lake.emulator.endpoint_url, "region_name": REGION} | credentials
    function = lake.stack.outputs["ConsumeImageTopicFunctionName"]
    invoke = LambdaFunction.of(function, source, **connection)
    keep = FailedRecordsBucket.of(
        lake.stack.outputs["FailedRecordsBucketName"], source, function, mapping, **connection
    )

    def run(messages: list[Delivered]) -> Any:
        ledger.deliveries.update((message.partition, message.offset) for message in messages)
        answer = invoke(messages)
        again = [message for message in messages if (message.partition + message.offset) % 50 == 0]
        if again:
            ledger.deliveries.update((message.partition, message.offset) for message in again)
            invoke(again)
        return answer

    return Poller(mapping, servers, run, keep, {"max.poll.interval.ms": "60000"})


def _point_function_at(lake: Lake, proxy: str) -> None:
    """Let the deployed function reach S3 through the proxy."""
    client, name = lake.client("lambda"), lake.stack.outputs["ConsumeImageTopicFunctionName"]
    variables = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    variables |= {"AWS_ENDPOINT_URL_S3": proxy, "AWS_MAX_ATTEMPTS": str(FAILING_REQUESTS)}
    client.update_function_configuration(FunctionName=name, Environment={"Variables": variables})


@contextmanager
def _proxy(lake: Lake, faults: Faults) -> Iterator[str]:
    """S3 with faults: what fails is decided by the hash of the key, so each object fails in the same way every time."""
    target = urlsplit(lake.emulator.endpoint_url).netloc
    connections = threading.local()

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_PUT(self) -> None:
            if self.headers.get("Expect"):
                self.send_response_only(100)
                self.end_headers()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            key = self.path.rpartition("/")[2]
            fate = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4])
            with faults.lock:
                faults.writes += 1
                faults.requests[key] += 1
                attempt = faults.requests[key]
            if fate % 500 == 0 and attempt == 1 and _kill(self.client_address[1]):
                with faults.lock:
                    faults.killed += 1
                self.close_connection = True
                return
            if fate % 20 == 1 and attempt <= FAILING_REQUESTS:
                with faults.lock:
                    faults.refused += 1
                self._answer(
                    503, b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
                )
                return
            if not hasattr(connections, "s3"):
                connections.s3 = http.client.HTTPConnection(target, timeout=60)
            connections.s3.request("PUT", self.path, body, dict(self.headers))
            response = connections.s3.getresponse()
            self._answer(response.status, response.read(), response.headers.get("ETag"))

        def _answer(self, status: int, body: bytes, etag: str | None = None) -> None:
            self.send_response_only(status)
            if etag:
                self.send_header("ETag", etag)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """The function that was killed does not answer any more."""

    server = Server(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _kill(port: int) -> bool:
    """Kill the process of ours that talks from this port: the function, in the middle of its batch."""
    ours = {child.pid for child in psutil.Process().children(recursive=True)}
    for connection in psutil.net_connections("tcp4"):
        if connection.laddr and connection.laddr.port == port and connection.pid in ours:
            psutil.Process(connection.pid).kill()
            return True
    return False


def _turn_workflow_off(lake: Lake) -> None:
    events = lake.client("events")
    machine = lake.stack.outputs["IngestImageStateMachineArn"]
    (rule,) = events.list_rule_names_by_target(TargetArn=machine)["RuleNames"]
    events.disable_rule(Name=rule)


def _await_deliveries(ledger: Ledger, records: int) -> None:
    """Wait until so many records were delivered, or for five minutes without any."""
    before, since = -1, time.monotonic()
    while (delivered := len(ledger.deliveries)) < records and time.monotonic() - since < 300:
        if delivered != before:
            before, since = delivered, time.monotonic()
        time.sleep(0.2)
    console.print(f"{delivered} records delivered")


def _process_here(lake: Lake) -> None:
    """Bring every raw object to the images table as the workflow does."""
    raw = lake.stack.outputs["RawBucketName"]
    pages = lake.client("s3").get_paginator("list_objects_v2").paginate(Bucket=raw)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    console.print(f"{len(keys)} objects in the raw bucket")
    function = lake.client("lambda").list_functions()["Functions"]
    (variables,) = (
        each["Environment"]["Variables"] for each in function if "LARGE_IMAGES" in each["Environment"]["Variables"]
    )
    environment = lake.emulator.environment | variables
    states = json.loads((ROOT / "statemachine/ingest_image.asl.json").read_text())["States"]
    put = {
        name: value
        for name, value in states["Catalog image"]["Arguments"].items()
        if name in ("ConditionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues")
    }
    put["TableName"] = lake.stack.outputs["ImagesTableName"]
    work = partial(_bring_to_its_end, put)
    with (
        TemporaryDirectory() as folder,
        ProcessPoolExecutor(2, get_context("spawn"), _enter, (environment, Path(folder, "pipelines.json"))) as pool,
    ):
        Path(folder, "pipelines.json").write_text(_pipelines(), encoding="utf-8")
        for done, _ in enumerate(pool.map(work, keys, chunksize=20), 1):
            if done % 1000 == 0:
                console.print(f"{done} processed")


def _enter(environment: dict[str, str], pipelines_file: Path) -> None:
    os.environ |= environment
    pipelines.FILE = pipelines_file  # type: ignore[misc]  # what a layer of its own is to the function


def _bring_to_its_end(put: dict[str, Any], key: str) -> None:
    dynamodb = _dynamodb()
    opened, _ = load(Opening).open(ObjectCreated(key=key))
    if opened.order is None or opened.facts is None:
        return
    answer = engine.carry_out(opened.order, 20).model_dump(mode="json")
    outcome, _ = load(Closing).close(EngineAnswered(facts=opened.facts, answer=answer))
    try:
        dynamodb.put_item(Item=outcome.item, **put)
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return


@cache
def _dynamodb() -> Any:
    return boto3.client("dynamodb")


def _await_end(lake: Lake, ledger: Ledger, records: int) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if _ended(lake) >= records and len(ledger.deliveries) >= records:
            break
        time.sleep(2)
    time.sleep(5)  # the catalog's last batch


def _settle(lake: Lake, ledger: Ledger, faults: Faults, tallies: Sequence[Any], records: int) -> int:
    """Print the ledger.

    Returns:
        Records that are nowhere, and valid ones that are not exactly one row.
    """
    items = _items(lake)
    processed = {image_id for image_id, status in items.items() if status == "processed"}
    rejections = _rejections(lake)
    kept = {key.rpartition("/")[2].removesuffix(".json") for key in _kept(lake)}
    query = "SELECT count(*), count(DISTINCT image_id) FROM images WHERE status = 'processed' AND source = 'ledger'"
    [[rows, distinct]] = ((int(str(count)) for count in row) for row in lake.analysts.ask(query).rows)
    missing = ledger.valid - processed
    unseen = ledger.poison.keys() - rejections - kept
    strangers = processed - ledger.valid
    deliveries = sum(ledger.deliveries.values())
    table = Table("ledger", "records", title=f"{records} records over {PARTITIONS} partitions", title_justify="left")
    lines: list[tuple[str, object]] = [
        ("sent", len(ledger.valid) + len(ledger.poison)),
        ("  valid", len(ledger.valid)),
        ("  poison", len(ledger.poison)),
        ("cataloged: items processed", len(processed)),
        ("cataloged: rows in SQL", rows),
        ("cataloged: distinct images in SQL", distinct),
        ("rejected: in the queue of rejections", len(ledger.poison.keys() & rejections)),
        ("rejected: kept in the failed-records bucket", len(ledger.poison.keys() & kept)),
        ("given up by the poller", sum(tally.given_up for tally in tallies)),
        ("deliveries", deliveries),
        ("duplicates absorbed", deliveries - len(ledger.deliveries)),
        ("writes refused by S3", f"{faults.refused} of {faults.writes}"),
        ("objects whose writes failed", sum(1 for count in faults.requests.values() if count > FAILING_REQUESTS)),
        ("function processes killed", faults.killed),
        ("function errors seen by the pollers", sum(tally.errors for tally in tallies)),
        ("messages delivered again", sum(tally.retried for tally in tallies)),
        ("partitions read to their end", _partitions_done(ledger, records)),
        ("lost", len(missing) + len(unseen)),
    ]
    for name, value in lines:
        table.add_row(name, str(value))
    console.print(table)
    for kind, count in sorted(Counter(ledger.poison[image_id] for image_id in unseen).items()):
        console.print(f"poison seen nowhere: {count} x {kind}")
    if strangers or not rows == distinct == len(ledger.valid):
        console.print(f"{len(strangers)} images nobody sent; {rows} rows of {distinct} images")
    return len(missing) + len(unseen) + len(strangers) + (rows - distinct) + abs(distinct - len(ledger.valid))


def _partitions_done(ledger: Ledger, records: int) -> int:
    per_partition = Counter(partition for partition, _ in ledger.deliveries)
    return sum(per_partition[n] == len(range(n, records, PARTITIONS)) for n in range(PARTITIONS))


def _items(lake: Lake) -> dict[str, str]:
    pages = lake.client("dynamodb").get_paginator("scan").paginate(TableName=lake.stack.outputs["ImagesTableName"])
    return {item["image_id"]["S"]: item["status"]["S"] for page in pages for item in page["Items"]}


def _rejections(lake: Lake) -> set[str]:
    sqs, queue = lake.client("sqs"), lake.stack.outputs["RejectionsQueueUrl"]
    rejected = set[str]()
    while found := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages"):
        for message in found:
            rejected.add(json.loads(message["Body"])["detail"]["image_id"])
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return rejected


if __name__ == "__main__":
    typer.run(main)
