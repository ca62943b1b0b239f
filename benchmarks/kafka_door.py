"""Throughput of the Kafka door against its floor.

    python -m benchmarks.kafka_door [--server stub|emulator] [--rounds 5]

The floor writes the same objects, batch by batch, with the same client, the same number of threads and nothing else:
bytes and metadata lie ready, nothing is decoded, checked, named or counted. The handler gets whole events, as Lambda
hands them over, already parsed from JSON. Rounds of both alternate; medians are shown. The stub takes an object and
answers after a delay, as S3 would, without keeping it; the emulator is that of the local lake.
"""

import io
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import util
from multiprocessing import Process, Queue
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal
from uuid import uuid4

import boto3
import typer
from botocore.config import Config
from rich.console import Console
from rich.table import Table

from imagelake.ingest.kafka_record import KafkaRecord
from kafka_poller.message import Message, Source, split
from local import emulator

BUCKET = "raw"
SOURCE = Source("b-1:9098", "arn:aws:kafka:us-east-1:000000000000:cluster/benchmark/1")
APP = Path(__file__).parents[1] / "functions/consume_image_topic/app.py"

type Server = Literal["stub", "emulator"]


class Context:
    """What Powertools' logger reads."""

    function_name = "consume_image_topic"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:consume_image_topic"
    aws_request_id = "benchmark"


def main(
    server: Annotated[str, typer.Option(help="stub or emulator.")] = "stub",
    delay_ms: Annotated[float, typer.Option(help="How long the stub takes to answer.")] = 15,
    rounds: Annotated[int, typer.Option(min=1, help="Of floor and handler each.")] = 5,
) -> None:
    """Print records/s and MB/s of floor and handler."""
    table = Table("size", "records", "floor", "handler", "handler / floor", title=f"Kafka door on {server}")
    with _emulator() if server == "emulator" else _stub(delay_ms / 1000) as url:
        os.environ |= {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "RAW_BUCKET": BUCKET,
            "FAILED_RECORDS_BUCKET": "failed",
            "DEAD_LETTER_QUEUE_URL": f"{url}/000000000000/dead-letters",
            "CLAIM_CHECK_LOCATIONS": "",
            "ACCOUNT_ID": "000000000000",
            "KAFKA_CLUSTER_NAME": "",
            "KAFKA_TENANT": "",
            "POWERTOOLS_SERVICE_NAME": "image-lake",
        }
        if server == "emulator":
            boto3.client("s3").create_bucket(Bucket=BUCKET)
        handler = _handler()
        config = Config(signature_version="s3v4", s3={"addressing_style": "path"}, max_pool_connections=16)
        client = boto3.client("s3", config=config)
        for size, count in ((20_000, 2000), (500_000, 400)):
            floors, handlers = [], []
            for round_number in range(rounds + 1):
                offset = round_number * count
                batches = list(_batches(size, count, offset))
                floor = _rate(partial(_write, client, batches), count)
                events = [SOURCE.event(batch) for batch in batches]
                taken = _rate(partial(_take, handler, events), count)
                if round_number:  # the first one warms connections up
                    floors.append(floor)
                    handlers.append(taken)
            floor, taken = statistics.median(floors), statistics.median(handlers)
            table.add_row(
                f"{size // 1000} KB",
                f"{rounds} x {count}",
                f"{floor:.0f}/s, {floor * size / 1e6:.1f} MB/s",
                f"{taken:.0f}/s, {taken * size / 1e6:.1f} MB/s",
                f"{taken / floor:.2f}",
            )
    Console().print(table)


def _batches(size: int, count: int, offset: int) -> Iterator[list[Message]]:
    """As the poller makes them: at most 100 messages, at most 6 MB of payload."""
    value = random.Random(size).randbytes(size)  # noqa: S311  # no secret
    now = int(time.time() * 1000)
    headers = (("content-type", b"image/jpeg"), ("source", b"benchmark"), ("tags", b'{"site": "north"}'))
    messages = [Message("images", n % 8, offset + n, now, "CREATE_TIME", b"key", value, headers) for n in range(count)]
    for first in range(0, count, 100):
        yield from split(messages[first : first + 100])


def _write(client: Any, batches: list[list[Message]]) -> None:
    sample = KafkaRecord.of(batches[0][0].to_record())
    metadata = sample.metadata() | sample.arrival().to_metadata()

    def put(message: Message) -> None:
        client.put_object(
            Bucket=BUCKET,
            Key=f"raw/ingest_date=2026-11-22/hour=09/{uuid4()}",
            Body=message.value,
            ContentType="image/jpeg",
            Metadata=metadata,
            IfNoneMatch="*",
        )

    for batch in batches:
        with ThreadPoolExecutor(max_workers=16) as pool:
            list(pool.map(put, batch))


def _take(handler: Callable[[Any, Any], Any], events: list[dict[str, Any]]) -> None:
    for event in events:
        with redirect_stdout(io.StringIO()):  # the metrics
            failures = handler(event, Context())["batchItemFailures"]
        if failures:
            sys.exit(f"records failed: {failures[:3]}")


def _rate(work: Callable[[], None], count: int) -> float:
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def _handler() -> Callable[[Any, Any], Any]:
    spec = util.spec_from_file_location("app", APP)
    if spec is None or spec.loader is None:
        sys.exit(f"{APP} is missing")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handler: Callable[[Any, Any], Any] = module.handler
    return handler


@contextmanager
def _emulator() -> Iterator[str]:
    with TemporaryDirectory() as folder, emulator.running(Path(folder)) as aws:
        yield aws.endpoint_url


@contextmanager
def _stub(delay: float) -> Iterator[str]:
    ports: Queue[int] = Queue()
    process = Process(target=_serve, args=(ports, delay), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ports.get(timeout=20)}"
    finally:
        process.terminate()
        process.join()


def _serve(ports: "Queue[int]", delay: float) -> None:
    class Put(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_PUT(self) -> None:
            if self.headers.get("Expect"):
                self.send_response_only(100)
                self.end_headers()
            left = int(self.headers.get("Content-Length") or 0)
            while left:
                left -= len(self.rfile.read(min(left, 1 << 20)))
            time.sleep(delay)
            self.send_response_only(200)
            self.send_header("ETag", '"0"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Put)
    ports.put(server.server_port)
    server.serve_forever()


if __name__ == "__main__":
    typer.run(main)
