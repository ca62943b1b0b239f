"""The Kafka door against S3 and SQS as moto plays them."""

import base64
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any, cast
from unittest.mock import MagicMock

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from imagelake.errors import Fault, Rejection, SettingsError
from imagelake.ingest.kafka_record import source_of
from imagelake.keys import RawKey
from imagelake.model import MAX_TAGS_BYTES, Arrival
from imagelake.stores import buckets
from imagelake.stores.session import calling
from kafka_poller.message import Message, Source
from tests.conftest import GivePipelines
from tests.integration.conftest import EVENT_BUS, events_put

ACCOUNT = "123456789012"
MSK = Source("b-1:9098", f"arn:aws:kafka:us-east-1:{ACCOUNT}:cluster/images/0b5c9a6e-1111-2222-3333-444455556666-1")
SELF_MANAGED = Source("broker-2:9092,broker-1:9092")
NOW = int(datetime.now(UTC).timestamp() * 1000)
JPEG = b"\xff\xd8\xff\xe0 as good as any other bytes here"


class Context:
    """What inject_lambda_context reads."""

    function_name = "consume_image_topic"
    memory_limit_in_mb = 1024
    invoked_function_arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:consume_image_topic"
    aws_request_id = "b5c9a6e0"


@dataclass
class Door:
    """The handler, and a look into the rooms behind it."""

    module: ModuleType
    s3: Any

    def take(self, *messages: Message, source: Source = MSK) -> list[dict[str, Any]]:
        event = json.loads(json.dumps(source.event(messages)))
        return cast("list[dict[str, Any]]", self.module.handler(event, Context())["batchItemFailures"])

    def stored(self, bucket: str = "raw") -> list[str]:
        return [entry["Key"] for entry in self.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def image(self) -> Any:
        (key,) = self.stored()
        return self.s3.get_object(Bucket="raw", Key=key)

    def rejections(self) -> list[dict[str, Any]]:
        """What is told of rejections; each is as the schema says."""
        told = events_put()
        assert {one["detail-type"] for one in told} <= {"ImageRejected"}
        return [one["detail"] for one in told]

    def rejection(self) -> str:
        assert self.stored() == []
        (told,) = self.rejections()
        return str(told["reason_code"])


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch, give_pipelines: GivePipelines) -> Door:
    s3 = boto3.client("s3")
    for bucket in ("raw", "failed", "claims", "secret"):
        s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket="claims", VersioningConfiguration={"Status": "Enabled"})
    environment = {
        "RAW_BUCKET": "raw",
        "FAILED_RECORDS_BUCKET": "failed",
        "EVENT_BUS": EVENT_BUS,
        "CLAIM_CHECK_LOCATIONS": "claims/in/",
        "ACCOUNT_ID": ACCOUNT,
        "KAFKA_CLUSTER_NAME": "warehouse",
        "KAFKA_TENANT": "",
        "POWERTOOLS_SERVICE_NAME": "image-lake",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    give_pipelines(limits={"max_bytes": 1000})
    path = Path(__file__).parents[2] / "functions/consume_image_topic/app.py"
    spec = util.spec_from_file_location("consume_image_topic_app", path)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return Door(module, s3)


def message(offset: int = 0, partition: int = 0, **fields: Any) -> Message:
    defaults: dict[str, Any] = {"timestamp": NOW, "timestamp_type": "CREATE_TIME", "value": JPEG}
    return Message("images", partition, offset, **(defaults | fields))


def headers(**values: bytes | None) -> tuple[tuple[str, bytes | None], ...]:
    return tuple((name.replace("_", "-"), value) for name, value in values.items())


def test_stores_every_record_of_several_partitions(door: Door) -> None:
    failures = door.take(*(message(offset, partition) for partition in range(4) for offset in range(25)))
    assert failures == []
    assert len({RawKey.parse(key).image_id for key in door.stored()}) == 100


def test_stores_bytes_type_source_tags_and_origin(door: Door) -> None:
    sent = headers(content_type=b"Image/JPEG; q=1", source=b"shop-7", tags='{"ort":"Köln"}'.encode())
    door.take(message(41, 3, key=b"\x00customer\xff", headers=sent))
    image = door.image()
    assert image["Body"].read() == JPEG
    assert image["ContentType"] == "image/jpeg"
    assert Arrival.from_metadata(image["Metadata"]) == Arrival(
        source="shop-7", source_ref="images/3/41", tags={"ort": "Köln"}
    )
    origin = {name: value for name, value in image["Metadata"].items() if name.startswith("kafka-")}
    assert origin == {
        "kafka-topic": "images",
        "kafka-partition": "3",
        "kafka-offset": "41",
        "kafka-timestamp": datetime.fromtimestamp(NOW / 1000, UTC).isoformat(timespec="milliseconds"),
        "kafka-key": base64.urlsafe_b64encode(b"\x00customer\xff").decode(),
    }


def test_a_record_without_headers_gets_defaults(door: Door) -> None:
    door.take(message(timestamp=-1, timestamp_type="NO_TIMESTAMP_TYPE"))
    image = door.image()
    assert image["ContentType"] == "application/octet-stream"
    assert image["Metadata"]["source"] == "kafka"
    assert "kafka-timestamp" not in image["Metadata"]
    assert "kafka-key" not in image["Metadata"]


def test_images_of_a_topic_are_those_of_its_tenant_whatever_a_producer_writes(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_TENANT", "acme")
    door.take(message(headers=headers(tenant=b"other", source=b"shop-7")))
    assert Arrival.from_metadata(door.image()["Metadata"]).tenant == "acme"


def test_metadata_fits_into_two_kilobytes_when_everything_is_as_large_as_it_may_be(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_TENANT", "t" * 63)
    tags = json.dumps({name: "x" * (248 if name == "d" else 249) for name in "abcd"}, separators=(",", ":")).encode()
    assert len(tags) == MAX_TAGS_BYTES
    largest = Message(
        "t" * 249, 2**31 - 1, 2**63 - 1, NOW, "CREATE_TIME", b"k" * 96, JPEG, headers(source=b"s" * 64, tags=tags)
    )
    assert door.take(largest) == []
    assert sum(len(name) + len(value) for name, value in door.image()["Metadata"].items()) <= 2048 - 64


def test_a_long_key_is_kept_as_its_hash(door: Door) -> None:
    door.take(message(key=b"k" * 97))
    assert door.image()["Metadata"]["kafka-key"].startswith("sha256:")


def test_a_redelivery_is_the_same_object(door: Door) -> None:
    door.take(message(7))
    first = door.image()["LastModified"]
    assert door.take(message(7), message(8)) == []
    assert len(door.stored()) == 2
    assert door.s3.get_object(Bucket="raw", Key=door.stored()[0])["LastModified"] >= first


def test_clusters_topics_partitions_and_offsets_are_different_images(door: Door) -> None:
    one = message(7)
    door.take(one, replace(one, topic="images2"), replace(one, partition=1), replace(one, offset=8))
    door.take(one, source=replace(MSK, arn=f"{MSK.arn}2"))
    door.take(one, source=SELF_MANAGED)
    door.take(one, source=Source("broker-1:9092"))
    assert len(door.stored()) == 6


@pytest.mark.parametrize(("age", "trusted"), [(0, True), (890, True), (3700, False), (-200, True), (-900, False)])
def test_the_hour_is_the_records_own_where_that_is_credible(door: Door, age: int, trusted: bool) -> None:
    now = datetime.now(UTC)
    door.take(message(timestamp=int((now - timedelta(seconds=age)).timestamp() * 1000)))
    expected = now - timedelta(seconds=age) if trusted else now
    (key,) = door.stored()
    assert f"ingest_date={expected:%Y-%m-%d}/hour={expected:%H}/" in key


@pytest.mark.parametrize("value", [None, b""])
def test_a_tombstone_is_skipped_counted_and_logged(
    door: Door, value: bytes | None, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert door.take(message(12, 5, value=value)) == []
    assert door.stored() == []
    assert door.rejections() == []
    assert json.loads(capsys.readouterr().out)["KafkaRecordsSkipped"] == [1.0]
    (line,) = (vars(record) for record in caplog.records if record.message.startswith("Skipped"))
    assert (line["topic"], line["partition"], line["offset"]) == ("images", 5, 12)


def test_an_image_over_the_limit_is_rejected_and_kept(door: Door) -> None:
    assert door.take(message(3, value=b"x" * 1001), message(4)) == []
    (letter,) = door.rejections()
    assert letter["reason_code"] == "too_many_bytes"
    assert letter["source_ref"] == "images/0/3"
    (kept,) = door.stored("failed")
    assert letter["kept_at"] == f"s3://failed/{kept}"
    event = json.load(door.s3.get_object(Bucket="failed", Key=kept)["Body"])
    assert event == MSK.event([message(3, value=b"x" * 1001)])
    assert len(door.stored()) == 1


def test_an_image_at_the_limit_is_stored(door: Door) -> None:
    for size in (998, 999, 1000):
        door.take(message(size, value=b"x" * size))
    assert len(door.stored()) == 3


def test_a_kept_record_can_be_taken_again(door: Door, give_pipelines: GivePipelines) -> None:
    door.take(message(3, value=b"x" * 1001))
    (letter,) = door.rejections()
    bucket, _, key = letter["kept_at"].removeprefix("s3://").partition("/")
    event = json.load(door.s3.get_object(Bucket=bucket, Key=key)["Body"])
    give_pipelines(limits={"max_bytes": 2000})
    assert door.module.handler(event, Context()) == {"batchItemFailures": []}
    (key,) = door.stored()
    assert RawKey.parse(key).image_id == letter["image_id"]


def test_a_rejected_redelivery_is_reported_again_under_the_same_image_id(door: Door) -> None:
    for _ in range(2):
        door.take(message(3, value=b"x" * 1001))
    letters = door.rejections()
    assert len({letter["image_id"] for letter in letters}) == 1
    assert len(door.stored("failed")) == 1


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (headers(source=b"\xff\xfe"), "header_not_text"),
        (headers(source="Köln".encode()), "invalid_source"),
        (headers(source=b"api"), "invalid_source"),
        (headers(source=b"API"), "invalid_source"),
        (headers(source=b"Direct"), "invalid_source"),
        (headers(source=b"x" * 65), "invalid_source"),
        (headers(source=b"x" * 9000), "header_too_large"),
        ((("source", b"a"), ("source", b"b")), "repeated_header"),
        (headers(tags=b"not json"), "invalid_tags"),
        (headers(tags=b"[1]"), "invalid_tags"),
        (headers(tags=b'{"a": 1}'), "invalid_tags"),
        (headers(tags=b'{"a": "\\ud800"}'), "invalid_tags"),
        (headers(tags=json.dumps({"a": "x" * 1100}).encode()), "invalid_tags"),
        (headers(tags=json.dumps({str(n): "x" for n in range(21)}).encode()), "invalid_tags"),
        (headers(tags=b"[" * 8000), "invalid_tags"),
        (headers(tags=b"9" * 8000), "invalid_tags"),
        (headers(image_uri=b"s3://claims/in/a.jpg"), "ambiguous_image"),
    ],
)
def test_bad_headers_are_rejected_with_a_reason(
    door: Door, sent: tuple[tuple[str, bytes | None], ...], code: str
) -> None:
    assert door.take(message(headers=sent)) == []
    assert door.rejection() == code


@pytest.mark.parametrize(
    ("sent", "source"),
    [
        (headers(source=b"shop-7", tags=b"no JSON"), "shop-7"),
        ((("Source", b"shop-7"), ("source", b"shop-7"), ("tags", b"[]")), "shop-7"),
        (headers(source=b"shop-7", image_uri=b"\xff"), "shop-7"),
        (headers(tags=b"[]"), "kafka"),
        (headers(source=b"two words"), None),
        (headers(source=b"api"), None),
        (headers(source=b"\xff"), None),
        (headers(source=b"x" * 9000), None),
        ((("source", b"a"), ("source", b"b")), None),
    ],
)
def test_a_refusal_says_the_source_that_its_image_would_have_had(
    door: Door, sent: tuple[tuple[str, bytes | None], ...], source: str | None
) -> None:
    """So that a rule for a source, as of `examples/events`, gets it."""
    door.take(message(headers=sent, value=b"x" * 900))
    (told,) = door.rejections()
    assert told.get("source") == source


def test_a_refusal_says_its_source_whatever_else_of_the_record_is_damaged() -> None:
    record = {
        "headers": [{"source": list(b"shop-7")}, {"tags": "no bytes"}, {"x": ["no", "bytes"]}, "none"],
        "key": "%",
    }
    assert source_of(record) == "shop-7"
    assert source_of(record | {"headers": [{"source": ["no", "bytes"]}]}) is None
    assert source_of({}) == source_of(5) == "kafka"


@pytest.mark.parametrize(
    "sent",
    [
        headers(content_type=b"\xff\xfe", source=b"", tags=b""),
        headers(content_type=None, source=None, tags=None),
        (("Source", b"shop"), ("source", b"shop"), ("tags", b"{}"), ("tags", b"{}")),
        (("content-type", b"image/png"), ("content-type", b"text/plain")),
        (("", b"x"), ("täg", b"\x80")),
    ],
)
def test_harmless_oddities_in_headers_are_taken(door: Door, sent: tuple[tuple[str, bytes | None], ...]) -> None:
    assert door.take(message(headers=sent)) == []
    assert door.image()["ContentType"] == "application/octet-stream"


def claim(uri: str, **fields: Any) -> Message:
    return message(**{"value": None, "headers": headers(image_uri=uri.encode())} | fields)


def test_a_claim_check_brings_the_object_and_notes_its_version(door: Door) -> None:
    stored = door.s3.put_object(Bucket="claims", Key="in/a/b.jpg", Body=JPEG)
    assert door.take(claim("s3://claims/in/a/b.jpg", value=b"")) == []
    image = door.image()
    assert image["Body"].read() == JPEG
    assert image["Metadata"]["claim-version"] == stored["VersionId"]


def test_a_claim_check_is_the_same_image_after_its_object_changed(door: Door) -> None:
    door.s3.put_object(Bucket="claims", Key="in/b.jpg", Body=JPEG)
    door.take(claim("s3://claims/in/b.jpg"))
    door.s3.put_object(Bucket="claims", Key="in/b.jpg", Body=b"another")
    assert door.take(claim("s3://claims/in/b.jpg")) == []
    assert door.image()["Body"].read() == JPEG


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("http://169.254.169.254/latest/meta-data/", "invalid_claim"),
        ("https://claims.s3.amazonaws.com/in/a.jpg", "invalid_claim"),
        ("file:///etc/passwd", "invalid_claim"),
        ("S3://claims/in/a.jpg", "invalid_claim"),
        ("s3://claims", "invalid_claim"),
        ("s3://claims/in/../../secret/a.jpg", "invalid_claim"),
        ("s3://claims/in/./a.jpg", "invalid_claim"),
        ("s3://claims/in//a.jpg", "invalid_claim"),
        ("s3://claims/in/a.jpg?versionId=1", "invalid_claim"),
        ("s3://claims/in\\..\\a.jpg", "invalid_claim"),
        ("s3://claims/in/a\n.jpg", "invalid_claim"),
        ("s3://user:password@claims/in/a.jpg", "invalid_claim"),
        ("s3://arn:aws:s3:us-east-1:1:accesspoint/x/in/a.jpg", "invalid_claim"),
        ("in/a.jpg", "invalid_claim"),
        ("s3://secret/in/a.jpg", "claim_not_allowed"),
        ("s3://claims/out/a.jpg", "claim_not_allowed"),
        ("s3://claims/internal/a.jpg", "claim_not_allowed"),
        ("s3://claims/in", "claim_not_allowed"),
        ("s3://claims/in/%2e%2e/%2e%2e/secret/a.jpg", "claim_not_found"),
        ("s3://claims/in/missing.jpg", "claim_not_found"),
        ("s3://claims/in/large.jpg", "too_many_bytes"),
        ("s3://claims/in/empty.jpg", "empty_claim"),
    ],
)
def test_bad_claim_checks_are_rejected_with_a_reason(door: Door, uri: str, code: str) -> None:
    door.s3.put_object(Bucket="secret", Key="a.jpg", Body=JPEG)
    door.s3.put_object(Bucket="claims", Key="in/large.jpg", Body=b"x" * 1001)
    door.s3.put_object(Bucket="claims", Key="in/empty.jpg", Body=b"")
    assert door.take(claim(uri)) == []
    assert door.rejection() == code


def test_a_claim_check_into_another_account_is_rejected(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    door.s3.put_object(Bucket="claims", Key="in/a.jpg", Body=JPEG)
    asked: list[dict[str, Any]] = []

    def deny(**request: Any) -> None:
        asked.append(request)
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": ""}}, "GetObject")

    monkeypatch.setattr(buckets.s3_client(), "get_object", deny)
    door.take(claim("s3://claims/in/a.jpg"))
    assert door.rejection() == "claim_denied"
    assert asked[0]["ExpectedBucketOwner"] == ACCOUNT


def test_a_claim_check_that_breaks_off_fails_that_record_alone(
    door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    body = MagicMock()
    body.__enter__.return_value.read.side_effect = ReadTimeoutError(endpoint_url="https://s3")
    monkeypatch.setattr(buckets.s3_client(), "get_object", lambda **_: {"ContentLength": 9, "Body": body})

    failures = door.take(message(1), claim("s3://claims/in/a.jpg", offset=2))

    assert failures == [{"itemIdentifier": {"partition": "images-0", "offset": 2}}]
    assert body.__exit__.called
    assert [vars(record)["fault"] for record in caplog.records] == ["ReadTimeoutError on GetObject"]


def test_reasons_and_logs_hold_nothing_of_what_the_producer_wrote(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    door.take(
        claim("s3://secret/jane.doe.jpg", key=b"jane.doe"),
        message(1, headers=headers(tags=b'{"owner": ["jane.doe"]}')),
        message(2, headers=headers(source=b"jane doe")),
    )
    assert len(letters := door.rejections()) == 3
    assert "jane" not in json.dumps(letters)
    assert len(caplog.records) == 3
    assert not any("jane" in str(vars(record)) for record in caplog.records)


def fail_puts(monkeypatch: pytest.MonkeyPatch, doomed: Callable[[dict[str, Any]], bool], error: Exception) -> None:
    put = buckets.s3_client().put_object

    def put_object(**request: Any) -> Any:
        if doomed(request):
            raise error
        return put(**request)

    monkeypatch.setattr(buckets.s3_client(), "put_object", put_object)


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "SlowDown", "Message": ""}}, "PutObject"),
        ClientError({"Error": {"Code": "ConditionalRequestConflict", "Message": ""}}, "PutObject"),
        ReadTimeoutError(endpoint_url="https://s3"),
    ],
)
def test_a_throttled_write_fails_that_record_alone(
    door: Door, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    fail_puts(monkeypatch, lambda request: request["Metadata"].get("source-ref") == "images/1/3", error)
    failures = door.take(*(message(offset, partition) for partition in range(2) for offset in range(5)))
    assert failures == [{"itemIdentifier": {"partition": "images-1", "offset": 3}}]
    assert len(door.stored()) == 9
    monkeypatch.undo()


def test_a_batch_that_fails_whole_is_reported_and_does_not_raise(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    error = ClientError({"Error": {"Code": "SlowDown", "Message": ""}}, "PutObject")
    fail_puts(monkeypatch, lambda _: True, error)
    assert len(door.take(*(message(offset) for offset in range(20)))) == 20


def test_a_rejection_that_cannot_be_kept_fails_that_record_alone(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    error = ClientError({"Error": {"Code": "SlowDown", "Message": ""}}, "PutObject")
    fail_puts(monkeypatch, lambda request: request["Bucket"] == "failed", error)
    failures = door.take(message(1), message(2, value=b"x" * 1001))
    assert failures == [{"itemIdentifier": {"partition": "images-0", "offset": 2}}]
    assert door.rejections() == []


def test_a_record_without_a_position_is_kept_and_its_neighbours_are_stored(door: Door) -> None:
    event = MSK.event([message(1), message(2)])
    good = event["records"]["images-0"]
    broken = [
        {name: value for name, value in good[0].items() if name != "topic"},
        good[0] | {"offset": "1"},
        good[0] | {"partition": True},
        good[0] | {"offset": float("nan")},
        good[0] | {"topic": "../images"},
        "not even an object",
    ]
    event["records"]["images-1"] = broken
    assert door.module.handler(event, Context()) == {"batchItemFailures": []}
    assert len(door.stored()) == 2
    letters = door.rejections()
    assert len(letters) == len(broken)
    assert {letter["reason_code"] for letter in letters} == {"malformed_record"}
    assert len(door.stored("failed")) == len(broken)


@pytest.mark.parametrize(
    "change",
    [
        {"value": "not base64!"},
        {"key": "not base64!"},
        {"headers": [{"source": ["x"]}]},
        {"headers": [{"source": [1.5]}]},
    ],
)
def test_a_damaged_record_is_rejected(door: Door, change: dict[str, Any]) -> None:
    event = MSK.event([message(1)])
    event["records"]["images-0"][0] |= change
    assert door.module.handler(event, Context()) == {"batchItemFailures": []}
    assert door.rejection() == "malformed_record"


@pytest.mark.parametrize(
    "change", [{"headers": None}, {"headers": "x"}, {"headers": ["x"]}, {"timestamp": float("nan")}]
)
def test_a_record_with_an_odd_envelope_is_stored(door: Door, change: dict[str, Any]) -> None:
    event = MSK.event([message(1)])
    event["records"]["images-0"][0] |= change
    assert door.module.handler(event, Context()) == {"batchItemFailures": []}
    assert len(door.stored()) == 1


@pytest.mark.parametrize(
    "event", [{}, {"eventSource": "aws:sqs", "Records": []}, {"eventSource": "aws:kafka", "records": {}}]
)
def test_an_event_that_is_not_kafkas_is_refused_whole(door: Door, event: dict[str, Any]) -> None:
    with pytest.raises(Rejection, match="not_a_kafka_event"):
        door.module.handler(event, Context())


@pytest.mark.parametrize("locations", ["claims", "claims/in", "s3://claims/", "claims/*/", "*/", "claims/in/, other/"])
def test_an_allow_list_that_would_admit_neighbours_is_refused(
    door: Door, monkeypatch: pytest.MonkeyPatch, locations: str
) -> None:
    monkeypatch.setenv("CLAIM_CHECK_LOCATIONS", locations)
    with pytest.raises(SettingsError, match="CLAIM_CHECK_LOCATIONS"):
        door.take(message())


def test_without_an_allow_list_no_claim_check_is_redeemed(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAIM_CHECK_LOCATIONS", "")
    door.s3.put_object(Bucket="claims", Key="in/a.jpg", Body=JPEG)
    door.take(claim("s3://claims/in/a.jpg"))
    assert door.rejection() == "claim_not_allowed"


def test_a_fault_names_the_operation_and_nothing_else() -> None:
    error = ClientError({"Error": {"Code": "SlowDown", "Message": "secret"}}, "PutObject")
    with pytest.raises(Fault, match=r"^SlowDown on PutObject$"), calling("PutObject"):
        raise error
