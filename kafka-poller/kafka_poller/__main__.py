"""`python -m kafka_poller`: a broker, a poller and a producer for one machine."""

import signal
import threading
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from kafka_poller import broker
from kafka_poller.delivery import RetryPolicy
from kafka_poller.message import Source
from kafka_poller.poller import FailedRecordsBucket, LambdaFunction, Mapping, Poller, polling

app = typer.Typer(
    help="Kafka on one machine: a broker without Docker or Java, and what Lambda's event source mapping does.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

METADATA_SECONDS = 5.0
FLUSH_SECONDS = 60.0
LOCAL_ARN = "arn:aws:kafka:us-east-1:000000000000:cluster/local/00000000-0000-0000-0000-000000000000-1"

Servers = Annotated[
    str,
    typer.Option("--bootstrap-servers", "-b", envvar="KAFKA_BOOTSTRAP_SERVERS", help="Brokers, host:port,host:port."),
]
Topic = Annotated[str, typer.Option("--topic", "-t", envvar="KAFKA_TOPIC", help="Topic of the messages.")]


@app.command("broker")
def run_broker(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 for a free one.")] = 9092,
    topic: Annotated[str | None, typer.Option("--topic", "-t", help="Topic to create.")] = None,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of the topic.")] = 8,
    implementation: Annotated[str, typer.Option(help="noida or tansu.")] = "noida",
    folder: Annotated[Path | None, typer.Option(help="Where messages are kept; nowhere if not given.")] = None,
) -> None:
    """Run a broker until Ctrl-C."""
    stopped = _stop_signal()
    try:
        with broker.running(cast("broker.Implementation", implementation), port or None, folder) as address:
            if topic:
                broker.create_topic(address, topic, partitions)
            typer.echo(address)
            stopped.wait()
    except broker.BrokerError as error:
        raise typer.BadParameter(str(error)) from None


@app.command()
def poll(
    bootstrap_servers: Servers,
    topic: Topic,
    function: Annotated[str, typer.Option("--function", "-f", help="Name or ARN of the function to run.")],
    failed_records_bucket: Annotated[
        str, typer.Option("--on-failure", help="Bucket that keeps messages which are given up, with their records.")
    ],
    group: Annotated[str, typer.Option(help="Consumer group.")] = "kafka-poller",
    pollers: Annotated[int, typer.Option(min=1, help="Members of the group, each with one run at a time.")] = 1,
    batch_size: Annotated[int, typer.Option(min=1, max=10_000, help="Messages at most in one run.")] = 100,
    window: Annotated[float, typer.Option(min=0, max=300, help="Seconds to wait for a full batch.")] = 0.5,
    retries: Annotated[int, typer.Option(min=0, max=10_000, help="Attempts after the first.")] = 5,
    record_age: Annotated[float | None, typer.Option(min=0, help="Seconds after which a message is given up.")] = None,
    bisect: Annotated[bool, typer.Option(help="Split a batch on which the function fails.")] = True,
    report_failures: Annotated[bool, typer.Option(help="Read which messages of a batch failed.")] = True,
    source_arn: Annotated[
        str, typer.Option(help="Cluster's ARN in the events; empty for events of self-managed Kafka.")
    ] = LOCAL_ARN,
    endpoint_url: Annotated[str | None, typer.Option(envvar="AWS_ENDPOINT_URL", help="AWS, if it is not AWS.")] = None,
    region: Annotated[str, typer.Option(envvar="AWS_DEFAULT_REGION", help="Region of the function.")] = "us-east-1",
) -> None:
    """Run a function with the messages of a topic, as Lambda's event source mapping does, until Ctrl-C.

    Any broker and any Lambda API will do: this machine's, or AWS's with a broker that Lambda cannot reach.
    """
    source = Source(bootstrap_servers, source_arn or None)
    mapping = Mapping(
        topic,
        group,
        batch_size,
        window,
        retries=RetryPolicy(
            maximum_retry_attempts=retries,
            maximum_record_age=record_age,
            bisect_batch_on_function_error=bisect,
            report_batch_item_failures=report_failures,
        ),
    )
    connection: dict[str, Any] = {"endpoint_url": endpoint_url, "region_name": region}
    invoke = LambdaFunction.of(function, source, **connection)
    keep = FailedRecordsBucket.of(failed_records_bucket, source, function, mapping, **connection)
    stopped = _stop_signal()
    with polling([Poller(mapping, bootstrap_servers, invoke, keep) for _ in range(pollers)]) as members:
        while not stopped.wait(0.2) and not all(member.error for member in members):
            pass
    taken, given_up = (sum(getattr(member.tally, name) for member in members) for name in ("delivered", "given_up"))
    typer.echo(f"{taken} messages delivered, {given_up} given up")
    for error in filter(None, (member.error for member in members)):
        typer.echo(str(error), err=True)
    raise typer.Exit(not stopped.is_set())


@app.command()
def send(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="Files, one message each.")],
    bootstrap_servers: Servers,
    topic: Topic,
    source: Annotated[str | None, typer.Option(help="What the producer calls itself.")] = None,
    tags: Annotated[str | None, typer.Option(help='JSON object of strings, e.g. {"site": "north"}.')] = None,
    content_type: Annotated[str | None, typer.Option(help="Media type, e.g. application/json.")] = None,
) -> None:
    """Send files, one message each, with an ordinary producer."""
    producer = _producer(bootstrap_servers, topic)
    given = {"source": source, "tags": tags, "content-type": content_type}
    headers: list[tuple[str, str | bytes | None]] = [
        (name, value) for name, value in given.items() if value is not None
    ]
    sent: list[Path] = []

    def report(file: Path, error: KafkaError | None, _: Message | None = None) -> None:
        if error is None:
            sent.append(file)
        else:
            typer.echo(f"{file}: {error.str()}", err=True)

    for file in files:
        try:
            producer.produce(topic, file.read_bytes(), headers=headers, on_delivery=partial(report, file))
        except KafkaException as error:
            report(file, error.args[0])
        producer.poll(0)
    if waiting := producer.flush(FLUSH_SECONDS):
        typer.echo(f"{waiting} not confirmed within {FLUSH_SECONDS:g} s", err=True)
    typer.echo(f"{len(sent)} of {len(files)} sent")
    raise typer.Exit(len(sent) < len(files))


def _producer(bootstrap_servers: str, topic: str) -> Producer:
    """A producer that has met a broker with the topic; without one, the program ends here and says so."""
    options = {"bootstrap.servers": bootstrap_servers, "message.max.bytes": broker.MESSAGE_LIMIT, "log_level": 0}
    try:
        producer = Producer(options)
        topics = producer.list_topics(timeout=METADATA_SECONDS).topics
    except KafkaException as error:
        typer.echo(f"No broker answers at {bootstrap_servers}: {error.args[0].str()}", err=True)
        raise typer.Exit(1) from None
    if topic not in topics:
        there = ", ".join(sorted(name for name in topics if not name.startswith("__"))) or "none"
        typer.echo(f"There is no topic {topic}; there are: {there}.", err=True)
        raise typer.Exit(1)
    return producer


def _stop_signal() -> threading.Event:
    """Set by Ctrl-C and by SIGTERM."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    return stopped


if __name__ == "__main__":
    app(prog_name="python -m kafka_poller")
