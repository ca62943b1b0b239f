"""The HTTP API, through the events that API Gateway sends."""

import base64
import hashlib
import hmac
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID

import pytest
from botocore.stub import Stubber
from urllib3 import HTTPResponse

from functions.http_api.app import handler
from imagelake.keys import ArrivalHour, ImageVersion, RawKey
from imagelake.model import Arrival, Derivative, ImageRecord
from imagelake.stores import buckets, images_table
from imagelake_cli import lake_api
from tests.application import as_caller, event
from tests.integration.conftest import (
    ACCESS_KEY,
    CALLER,
    IMAGES_TABLE,
    LAKE_BUCKET,
    RAW_BUCKET,
    SECRET_KEY,
    Context,
    client,
)

NOW = datetime.now(UTC)
JPEG: dict[str, Any] = {"content_type": "image/jpeg"}


@dataclass(frozen=True)
class Answer:
    """What API Gateway passes on to the client."""

    status: int
    content_type: str
    body: Any


type Ask = Callable[..., Answer]


@pytest.fixture
def ask(tell: Callable[[str], Context], logs: StringIO) -> Ask:  # noqa: ARG001  # the logs are not for the terminal
    context = tell("http_api")

    def ask(
        method: str,
        path: str,
        body: str | None = None,
        caller: str = CALLER,
        groups: Sequence[str] = ("uploaders",),
        **query: str | list[str],
    ) -> Answer:
        values = {name.rstrip("_"): [value] if isinstance(value, str) else value for name, value in query.items()}
        sample = event("http_api")
        single = path.startswith("/images/")
        answered = handler(
            as_caller(sample, caller, *groups)
            | {
                "resource": "/images/{image_id}" if single else path,
                "httpMethod": method,
                "path": path,
                "body": body,
                "queryStringParameters": {name: given[-1] for name, given in values.items()} or None,
                "multiValueQueryStringParameters": values or None,
            },
            context,
        )
        answered = json.loads(json.dumps(answered))
        [content_type] = answered["multiValueHeaders"]["Content-Type"]
        return Answer(answered["statusCode"], content_type, json.loads(answered["body"]))

    return ask


def _post(ask: Ask, body: object, **options: Any) -> Answer:
    return ask("POST", "/uploads", json.dumps(body), **options)


def _image(number: int, **changes: Any) -> ImageRecord:
    """A cataloged image of the caller's, the newer the smaller its number."""
    received_at = NOW - timedelta(seconds=number)
    partition = ArrivalHour.of(received_at)
    return ImageRecord.model_validate(
        {
            "image_id": str(UUID(int=number)),
            "status": "processed",
            "source": "api",
            "uploader": CALLER,
            "received_at": received_at,
            "expires_at": received_at + timedelta(days=7),
            "ingest_date": partition.ingest_date,
            "hour": partition.hour,
        }
        | changes
    )


def _keep(*images: ImageRecord) -> None:
    for image in images:
        client("dynamodb").put_item(TableName=IMAGES_TABLE, Item=images_table.serialize(image.to_item()))


def _list_all(ask: Ask, **query: str) -> list[str]:
    """The identifiers on all pages."""
    page = ask("GET", "/images", **query)
    found = [image["image_id"] for image in page.body["images"]]
    while cursor := page.body["cursor"]:
        page = ask("GET", "/images", **query, cursor=cursor)
        found += [image["image_id"] for image in page.body["images"]]
    return found


# Requests


def test_answers_its_sample_with_a_form(ask: Ask) -> None:
    answer = ask("POST", "/uploads", event("http_api")["body"])

    assert (answer.status, answer.content_type) == (201, "application/json")
    assert set(answer.body) == {"image_id", "upload", "expires_at"}
    assert UUID(answer.body["image_id"]).version == 7
    expires_in = datetime.fromisoformat(answer.body["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=14) < expires_in <= timedelta(minutes=15)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (None, "#"),
        ("", "#"),
        ("content_type=image/jpeg", "#"),
        ('{"content_type": ', "#"),
        ('"image/jpeg"', "#"),
        ("[]", "#"),
        ("null", "#"),
        ('[{"content_type": "image/jpeg"}, {"content_type": "image/png"}]', "#"),
        ("[" * 100_000, "#"),
        ('{"a":' * 100_000, "#"),
        (f'{{"content_type": "image/jpeg", "content_length": {"9" * 5000}}}', "#"),
        ('{"content_type": "image/jpeg", "content_type": "image/png"}', "#"),
        ('{"content_type": "image/jpeg", "tags": {"site": "a", "site": "b"}}', "#"),
        ("{}", "#/content_type"),
        ('{"content_type": "image/jpeg", "colour": "red"}', "#/colour"),
        ('{"content_type": 7}', "#/content_type"),
        ('{"content_type": "application/pdf"}', "#/content_type"),
        ('{"content_type": "image/jpeg", "content_length": "7"}', "#/content_length"),
        ('{"content_type": "image/jpeg", "content_length": 25000001}', "#/content_length"),
        ('{"content_type": "image/jpeg", "content_length": NaN}', "#/content_length"),
        ('{"content_type": "image/jpeg", "sha256": "abc"}', "#/sha256"),
        ('{"content_type": "image/jpeg", "tags": {"note": "\\ud800"}}', "#/tags/note"),
        ('{"uploads": []}', "#/uploads"),
        ('{"uploads": 7}', "#/uploads"),
        (json.dumps({"uploads": [JPEG] * 101}), "#/uploads"),
        (json.dumps({"uploads": [JPEG, {"content_type": "text/html"}]}), "#/uploads/1/content_type"),
    ],
)
def test_a_bad_request_gets_a_problem_that_names_the_field(body: str | None, pointer: str, ask: Ask) -> None:
    answer = ask("POST", "/uploads", body)

    assert (answer.status, answer.content_type) == (400, "application/problem+json")
    assert (answer.body["status"], answer.body["title"]) == (400, "Bad Request")
    assert [error["pointer"] for error in answer.body["errors"]] == [pointer]
    assert pointer in answer.body["detail"]


def test_the_command_line_learns_from_a_refusal_which_uploads_of_a_batch_are_refused(ask: Ask) -> None:
    too_large = JPEG | {"content_length": 25_000_001}
    answer = ask("POST", "/uploads", json.dumps({"uploads": [JPEG, {"content_type": "image/heic"}, JPEG, too_large]}))

    refused = lake_api._problem(HTTPResponse(json.dumps(answer.body).encode(), status=answer.status))

    assert refused.by_index.keys() == {1, 3}
    assert refused.by_index[1].startswith("content_type must be one of image/jpeg, ")


def test_a_bad_request_leaves_nothing_behind(ask: Ask) -> None:
    _post(ask, {"uploads": [JPEG, {"content_type": "text/html"}]})

    assert _list_all(ask) == []


@pytest.mark.parametrize(
    "content_type",
    [
        *(
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/json-evil",
        ),
        *("application/jsonx; charset=utf-8", "", "application/json, text/plain"),
    ],
)
def test_a_body_of_another_type_than_json_is_unsupported(content_type: str, tell: Callable[[str], Context]) -> None:
    sample = as_caller(event("http_api"), CALLER, "uploaders")
    sample["headers"]["content-type"] = content_type
    sample["multiValueHeaders"]["content-type"] = [content_type]

    answered = handler(sample, tell("http_api"))

    assert answered["statusCode"] == 415
    assert answered["multiValueHeaders"]["Content-Type"] == ["application/problem+json"]
    assert "application/json" in json.loads(answered["body"])["detail"]


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON", "application/json; charset=utf-8", "APPLICATION/JSON ;x=1"]
)
def test_the_media_type_of_json_is_taken_in_any_case_with_any_parameter(
    content_type: str, tell: Callable[[str], Context]
) -> None:
    sample = as_caller(event("http_api"), CALLER, "uploaders")
    sample["headers"]["content-type"] = content_type

    assert handler(sample, tell("http_api"))["statusCode"] == 201


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("from", "0001-01-01T00:00:00+01:00"),
        ("to", "9999-12-31T23:59:59-01:00"),
        ("limit", "0"),
        ("limit", "101"),
        ("limit", "many"),
        ("status", "lost"),
        ("from", "yesterday"),
        ("from", "2026-11-22T09:00:00"),
        ("from", "2026-11-22"),
        ("from", "2026"),
        ("to", "1"),
        ("to", "2026-11-22T09:00:00 02:00"),
        ("statu", "rejected"),
        ("sort", "asc"),
        ("to", "2026-13-01T00:00:00Z"),
        ("source", "s" * 65),
        ("cursor", "not-a-cursor"),
        ("cursor", base64.b64encode(b'["", ""]').decode()),
        ("cursor", "c" * 513),
    ],
)
def test_a_bad_query_gets_a_problem_that_names_the_parameter(parameter: str, value: str, ask: Ask) -> None:
    answer = ask("GET", "/images", **{parameter: value})

    assert (answer.status, answer.content_type) == (400, "application/problem+json")
    assert [error["parameter"] for error in answer.body["errors"]] == [parameter]
    assert parameter in answer.body["detail"]


def test_a_parameter_that_is_given_twice_is_a_bad_query(ask: Ask) -> None:
    for given in ({"status": ["processed", "rejected"]}, {"source": ["a", "b"]}, {"from_": [NOW.isoformat()] * 2}):
        assert ask("GET", "/images", **given).status == 400


def test_a_time_span_that_ends_before_it_begins_is_a_bad_query(ask: Ask) -> None:
    answer = ask("GET", "/images", from_="2026-11-22T10:00:00Z", to="2026-11-22T09:00:00Z")

    assert answer.status == 400
    assert [error["parameter"] for error in answer.body["errors"]] == ["from"]


def test_an_unknown_route_is_not_found(ask: Ask) -> None:
    answer = ask("GET", "/downloads")

    assert (answer.status, answer.content_type, answer.body["title"]) == (404, "application/problem+json", "Not Found")


def test_a_fault_of_a_service_says_nothing_of_its_cause(ask: Ask, logs: StringIO) -> None:
    _keep(_image(1, status="processed"))
    client("dynamodb").delete_table(TableName=IMAGES_TABLE)

    answer = ask("GET", "/images")

    assert (answer.status, answer.content_type) == (500, "application/problem+json")
    assert "ResourceNotFound" not in str(answer.body)
    assert json.loads(logs.getvalue())["error"] == "Fault"


# Batches


def test_a_batch_of_100_is_answered_in_its_order(ask: Ask) -> None:
    kinds = ["image/png", "image/gif"] * 50
    answer = _post(ask, {"uploads": [{"content_type": kind} for kind in kinds]})

    assert answer.status == 201
    assert [one["upload"]["fields"]["Content-Type"] for one in answer.body["uploads"]] == kinds
    assert set(_list_all(ask)) == {one["image_id"] for one in answer.body["uploads"]}


def test_two_requests_for_the_same_bytes_are_two_images(ask: Ask) -> None:
    first, second = (_post(ask, JPEG | {"sha256": "f" * 64}).body["image_id"] for _ in range(2))

    assert first != second


# One image


def test_an_upload_is_awaited_until_its_object_is_there(ask: Ask) -> None:
    form = _post(ask, JPEG).body
    path = f"/images/{form['image_id']}"

    assert ask("GET", path).body["status"] == "awaiting_upload"

    client("s3").put_object(Bucket=RAW_BUCKET, Key=form["upload"]["fields"]["key"], Body=b"x")

    assert ask("GET", path).body["status"] == "processing"
    for status, found in (("processing", [form["image_id"]]), ("awaiting_upload", [])):
        assert _list_all(ask, status=status) == found


def test_shows_a_processed_image_with_links_good_for_a_quarter_of_an_hour(ask: Ask) -> None:
    key = ImageVersion(RawKey(ArrivalHour.of(NOW), str(UUID(int=1))), "1").derived("thumb_256", "jpg")
    made = Derivative(key=key, name="thumb_256", width=256, height=171, content_type="image/jpeg")
    _keep(_image(1, width=1600, gps_lat=52.5163, tags={"trip": "north"}, derivatives=[made]))

    answer = ask("GET", f"/images/{UUID(int=1)}")

    assert answer.status == 200
    assert answer.body["metadata"] == {"width": 1600, "gps_lat": 52.5163, "tags": {"trip": "north"}}
    [derivative] = answer.body["derivatives"]
    url = urlsplit(derivative["url"])
    assert unquote(url.path) == f"/{LAKE_BUCKET}/{key}"
    assert parse_qs(url.query)["X-Amz-Expires"] == ["900"]


@pytest.mark.parametrize(
    "image",
    [
        _image(1, uploader="eve"),
        _image(1, uploader=None),
        _image(1, expires_at=NOW - timedelta(seconds=1)),
        _image(2),
    ],
    ids=["foreign", "nobody's", "expired", "unknown"],
)
def test_an_image_that_is_not_the_caller_s_or_gone_is_not_found(image: ImageRecord, ask: Ask) -> None:
    _keep(image)

    answer = ask("GET", f"/images/{UUID(int=1)}")

    assert (answer.status, answer.content_type) == (404, "application/problem+json")
    assert "image_id" in answer.body["detail"]


def test_an_image_id_that_none_can_be_is_a_bad_request(ask: Ask) -> None:
    answer = ask("GET", f"/images/{'a' * 3000}")

    assert answer.status == 400
    assert [error["parameter"] for error in answer.body["errors"]] == ["image_id"]


# Listings


def test_pages_through_a_listing_newest_first_without_loss_or_double(ask: Ask) -> None:
    numbers = list(range(1, 262))
    shuffled = [*numbers]
    random.Random(2).shuffle(shuffled)  # noqa: S311  # an order, no secret
    _keep(*(_image(number) for number in shuffled), *(_image(1000 + number, uploader="eve") for number in range(9)))
    expected = [str(UUID(int=number)) for number in numbers]

    for limit in ("100", "87", "50"):
        assert _list_all(ask, limit=limit) == expected
    assert len(ask("GET", "/images").body["images"]) == 50


def test_a_filter_that_few_items_pass_still_finds_them_all(ask: Ask) -> None:
    _keep(*(_image(number, source="drone" if number % 60 == 0 else "api") for number in range(1, 262)))

    assert _list_all(ask, source="drone", limit="2") == [str(UUID(int=number)) for number in (60, 120, 180, 240)]


def test_filters_by_status_source_and_time(ask: Ask) -> None:
    _keep(
        _image(1),
        _image(2, status="rejected", reason="not_an_image: the bytes are not those of an image"),
        _image(3, source="drone"),
        _image(4, status="failed", reason="fault: AccessDenied on GetObject"),
        _image(5, expires_at=NOW - timedelta(seconds=1)),
    )

    def numbers(**query: str) -> list[int]:
        return [UUID(image_id).int for image_id in _list_all(ask, **query)]

    assert numbers() == [1, 2, 3, 4]
    assert numbers(status="processed") == [1, 3]
    assert numbers(status="rejected") == [2]
    assert numbers(status="failed") == [4]
    assert numbers(status="awaiting_upload") == []
    assert numbers(source="drone") == [3]
    assert numbers(from_=_image(3).received_at.isoformat()) == [1, 2, 3]
    assert numbers(to=_image(2).received_at.isoformat()) == [2, 3, 4]
    assert numbers(from_=_image(3).received_at.isoformat(), to=_image(2).received_at.isoformat()) == [2, 3]
    assert numbers(status="processed", source="drone", to=_image(2).received_at.isoformat()) == [3]


def test_a_cursor_of_another_caller_opens_nothing_of_theirs(ask: Ask) -> None:
    _keep(_image(1), _image(2), _image(3, uploader="eve"))
    cursor = ask("GET", "/images", limit="1").body["cursor"]

    page = ask("GET", "/images", caller="eve", cursor=cursor)

    assert [UUID(image["image_id"]).int for image in page.body["images"]] == [3]


# Forms: S3 in process takes every upload, so a reference evaluation of ours stands in for S3's.
# https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html


def _refusal(bucket: str, fields: dict[str, str], content: bytes, now: datetime) -> str | None:
    """Why S3 would refuse a form, or None."""
    policy = json.loads(base64.b64decode(fields["policy"]))
    if not hmac.compare_digest(_sign(fields["policy"], fields["x-amz-credential"]), fields["x-amz-signature"]):
        return "SignatureDoesNotMatch"
    if now >= datetime.fromisoformat(policy["expiration"]):
        return "expired"
    exact = {"bucket": False} | {name.lower(): False for name in fields if name not in ("policy", "x-amz-signature")}
    sent = {"bucket": bucket} | {name.lower(): value for name, value in fields.items()}
    for condition in policy["conditions"]:
        match condition:
            case ["content-length-range", low, high]:
                if not low <= len(content) <= high:
                    return "content-length-range"
            case dict():
                [(name, value)] = condition.items()
                if sent.get(name.lower()) != value:
                    return str(name).lower()
                exact[name.lower()] = True
            case _:
                raise NotImplementedError(condition)
    if extra := [name for name, is_covered in exact.items() if not is_covered and not name.startswith("x-ignore-")]:
        return f"extra: {extra[0]}"
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    if sent.get("x-amz-checksum-sha256", digest) != digest:
        return "BadDigest"
    return None


def _sign(policy: str, credential: str) -> str:
    key = b"AWS4" + SECRET_KEY.encode()
    for part in credential.split("/")[1:]:
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, policy.encode(), "sha256").hex()


CONTENT = b"the bytes of an image"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def form(ask: Ask) -> dict[str, str]:
    body = JPEG | {"sha256": SHA256.upper(), "filename": "hills.jpg", "tags": {"trip": "north"}}
    answer = _post(ask, body)
    assert answer.body["upload"]["url"] == f"https://s3.amazonaws.com/{RAW_BUCKET}"
    fields: dict[str, str] = answer.body["upload"]["fields"]
    return fields


def test_a_form_takes_the_image_it_was_made_for(form: dict[str, str]) -> None:
    assert _refusal(RAW_BUCKET, form, CONTENT, NOW) is None
    assert _refusal(RAW_BUCKET, form | {"x-ignore-button": "Send"}, CONTENT, NOW) is None
    assert form["x-amz-credential"].split("/")[0] == ACCESS_KEY


def test_a_form_carries_how_the_image_arrived(form: dict[str, str]) -> None:
    prefix = "x-amz-meta-"
    metadata = {name.removeprefix(prefix): value for name, value in form.items() if name.startswith(prefix)}

    assert Arrival.from_metadata(metadata) == Arrival(
        source="api",
        source_ref=event("http_api")["requestContext"]["requestId"],
        uploader=CALLER,
        sha256=SHA256,
        tags={"filename": "hills.jpg", "trip": "north"},
    )
    assert RawKey.parse(form["key"]).hour in (ArrivalHour.of(NOW), ArrivalHour.of(datetime.now(UTC)))


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"key": f"raw/ingest_date=2026-11-22/hour=09/{UUID(int=1)}"}, "key"),
        ({"Content-Type": "image/png"}, "content-type"),
        ({"x-amz-meta-uploader": "eve"}, "x-amz-meta-uploader"),
        ({"x-amz-meta-tags": "{}"}, "x-amz-meta-tags"),
        ({"x-amz-meta-extra": "1"}, "extra: x-amz-meta-extra"),
        ({"x-amz-storage-class": "GLACIER"}, "extra: x-amz-storage-class"),
        ({"acl": "public-read"}, "extra: acl"),
        ({"success_action_redirect": "https://example.com"}, "extra: success_action_redirect"),
        ({"x-amz-checksum-sha256": "AAAA"}, "x-amz-checksum-sha256"),
        ({"x-amz-signature": "0" * 64}, "SignatureDoesNotMatch"),
    ],
)
def test_a_form_takes_nothing_else(change: dict[str, str], refusal: str, form: dict[str, str]) -> None:
    assert _refusal(RAW_BUCKET, form | change, CONTENT, NOW) == refusal


@pytest.mark.parametrize("field", ["Content-Type", "key", "x-amz-meta-source", "x-amz-checksum-sha256"])
def test_no_field_of_a_form_can_be_left_out(field: str, form: dict[str, str]) -> None:
    without = {name: value for name, value in form.items() if name != field}

    assert _refusal(RAW_BUCKET, without, CONTENT, NOW) == field.lower()


def test_a_form_is_for_one_bucket_and_a_quarter_of_an_hour(form: dict[str, str]) -> None:
    assert _refusal(LAKE_BUCKET, form, CONTENT, NOW) == "bucket"
    assert _refusal(RAW_BUCKET, form, CONTENT, datetime.now(UTC) + timedelta(minutes=14)) is None
    assert _refusal(RAW_BUCKET, form, CONTENT, datetime.now(UTC) + timedelta(minutes=15)) == "expired"


def test_a_form_takes_1_byte_to_the_limit(ask: Ask) -> None:
    fields = _post(ask, JPEG).body["upload"]["fields"]

    for size, refusal in (
        (0, "content-length-range"),
        (1, None),
        (25_000_000, None),
        (25_000_001, "content-length-range"),
    ):
        assert _refusal(RAW_BUCKET, fields, bytes(size), NOW) == refusal


def test_a_form_for_so_many_bytes_takes_no_other_number(ask: Ask) -> None:
    fields = _post(ask, JPEG | {"content_length": 21}).body["upload"]["fields"]

    assert [_refusal(RAW_BUCKET, fields, bytes(size), NOW) for size in (20, 21, 22)] == [
        "content-length-range", None, "content-length-range",
    ]  # fmt: skip


def test_a_form_with_a_checksum_takes_no_other_bytes(form: dict[str, str]) -> None:
    assert form["x-amz-checksum-algorithm"] == "SHA256"
    assert _refusal(RAW_BUCKET, form, b"The bytes of an image", NOW) == "BadDigest"


def test_a_policy_rewritten_by_the_caller_does_not_match_its_signature(form: dict[str, str]) -> None:
    policy = json.loads(base64.b64decode(form["policy"]))
    policy["expiration"] = "2099-01-01T00:00:00Z"
    forged = base64.b64encode(json.dumps(policy).encode()).decode()

    assert _refusal(RAW_BUCKET, form | {"policy": forged}, CONTENT, NOW) == "SignatureDoesNotMatch"


def test_a_form_is_signed_with_version_4(form: dict[str, str]) -> None:
    assert form["x-amz-algorithm"] == "AWS4-HMAC-SHA256"
    assert form["x-amz-signature"] == _sign(form["policy"], form["x-amz-credential"])


def test_a_refused_look_for_an_upload_is_a_fault(ask: Ask) -> None:
    image_id = _post(ask, JPEG).body["image_id"]
    with Stubber(buckets.s3_client()) as s3:
        s3.add_client_error("list_objects_v2", "AccessDenied")

        assert ask("GET", f"/images/{image_id}").status == 500
