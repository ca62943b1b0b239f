"""What the API and S3 refuse, and how they say it."""

import base64
import json
import secrets
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from local.api_client import ApiClient, send
from local.emulator import REGION
from local.lake import Lake
from local.samples import Sample
from tests.e2e.conftest import Await, Upload


def expired(lake: Lake, token: str) -> str:
    """The token as the user pool would have signed it an hour and more ago; the emulator keeps the pool's key here."""
    header, payload, _ = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims |= {name: claims[name] - 7200 for name in ("iat", "auth_time", "exp")}
    signed = f"{header}.{base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b'=').decode()}"
    (key_file,) = Path(lake.emulator.folder, "state", "cognito-pool-keys").glob("*-id.pem")
    key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    assert isinstance(key, RSAPrivateKey)
    signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def access_token(lake: Lake) -> str:
    answer = lake.client("cognito-idp").initiate_auth(
        ClientId=lake.stack.outputs["UserPoolClientId"],
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": lake.username, "PASSWORD": lake.password},
    )
    token: str = answer["AuthenticationResult"]["AccessToken"]
    return token


@pytest.mark.parametrize("kind", ["none", "nonsense", "expired", "of access"])
def test_refuses_a_caller_without_a_valid_token(lake: Lake, kind: str) -> None:
    headers = {
        "none": {},
        "nonsense": {"Authorization": "nonsense"},
        "expired": {"Authorization": expired(lake, lake.sign_in())},
        "of access": {"Authorization": access_token(lake)},
    }[kind]

    response = httpx.get(f"{lake.api_url}/images", headers=headers)

    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == 401
    assert "token" in response.json()["detail"]


def test_nobody_signs_up_or_makes_themselves_an_operator(lake: Lake) -> None:
    cognito = lake.client("cognito-idp")
    user = {"ClientId": lake.stack.outputs["UserPoolClientId"], "Username": "stranger", "Password": "Strangers1234"}

    with pytest.raises(cognito.exceptions.NotAuthorizedException):
        cognito.sign_up(**user)
    with pytest.raises(cognito.exceptions.InvalidParameterException):
        cognito.update_user_attributes(
            AccessToken=access_token(lake), UserAttributes=[{"Name": "cognito:groups", "Value": "operators"}]
        )


IMAGE = {"content_type": "image/jpeg"}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ("not json", "#"),
        (IMAGE | {"camera": "mine"}, "#/camera"),
        (IMAGE | {"content_length": "many"}, "#/content_length"),
        (IMAGE | {"content_length": 25_000_001}, "#/content_length"),
        ({"content_type": "image/svg+xml"}, "#/content_type"),
        ({"uploads": [IMAGE] * 101}, "#/uploads"),
        ({"uploads": [IMAGE, {"content_type": "text/plain"}]}, "#/uploads/1/content_type"),
    ],
    ids=["not JSON", "unknown field", "wrong type", "too large", "unsupported type", "101 uploads", "one of a batch"],
)
def test_refuses_a_bad_request_and_names_the_field(client: ApiClient, body: object, pointer: str) -> None:
    content = body if isinstance(body, str) else json.dumps(body)

    response = client.post("/uploads", content=content)

    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


def test_another_users_image_is_as_unknown_as_no_image(
    lake: Lake, samples: dict[str, Sample], upload: Upload, await_end: Await
) -> None:
    image_id = upload(samples["icon.bmp"])
    await_end(image_id)
    stranger = ApiClient(lake, "stranger", lake.add_user("stranger"))

    foreign, unknown = (
        stranger.get(f"/images/{image}") for image in (image_id, "01999f5c-0000-7000-8000-000000000000")
    )

    assert (foreign.status_code, foreign.json()) == (unknown.status_code, unknown.json())
    assert foreign.status_code == 404
    assert foreign.headers["content-type"] == "application/problem+json"
    assert "image_id" in foreign.json()["detail"]
    assert stranger.images()["images"] == []


def refused(form: dict[str, Any], content: bytes = b"x", content_type: str = "image/jpeg") -> bool:
    return send(form, content, content_type).status_code in (400, 403)


def with_field(form: dict[str, Any], name: str, value: str) -> dict[str, Any]:
    return form | {"fields": form["fields"] | {name: value}}


def test_s3_refuses_an_upload_that_breaks_its_policy(client: ApiClient, samples: dict[str, Sample]) -> None:
    sample = samples["hills.jpg"]
    grant = client.post("/uploads", json={"content_type": sample.content_type}).raise_for_status().json()
    form = grant["upload"]

    assert refused(form, content=b"x" * 25_000_001)
    assert refused(form, content=b"")
    assert refused(with_field(form, "Content-Type", "image/png"))
    assert refused(with_field(form, "key", form["fields"]["key"] + "0"))
    assert refused(with_field(form, "key", "raw/elsewhere"))
    assert refused(with_field(form, "x-amz-meta-uploader", "somebody-else"))
    assert refused(with_field(form, "x-amz-meta-more", "than was granted"))
    assert client.image(grant["image_id"])["status"] == "awaiting_upload"
    assert send(form, sample.content, sample.content_type).is_success


def test_s3_refuses_a_file_of_another_size_than_announced(client: ApiClient, samples: dict[str, Sample]) -> None:
    sample = samples["icon.bmp"]
    (grant,) = client.request_uploads([sample])

    assert refused(grant["upload"], sample.content + b"x", sample.content_type)
    assert send(grant["upload"], sample.content, sample.content_type).is_success


def policy_of(form: dict[str, Any]) -> dict[str, Any]:
    policy: dict[str, Any] = json.loads(base64.b64decode(form["fields"]["policy"]))
    return policy


def test_s3_refuses_a_forged_policy(client: ApiClient, samples: dict[str, Sample]) -> None:
    sample = samples["hills.jpg"]
    (grant,) = client.request_uploads([sample])
    longer = policy_of(grant["upload"]) | {"expiration": "2099-01-01T00:00:00Z"}
    forged = base64.b64encode(json.dumps(longer).encode()).decode()

    assert refused(with_field(grant["upload"], "policy", forged), sample.content)


def test_s3_refuses_an_upload_after_its_form_has_expired(
    lake: Lake, client: ApiClient, samples: dict[str, Sample]
) -> None:
    """With a form like ours, signed for one second: nobody waits 15 minutes for a test."""
    before = datetime.now(UTC)
    (grant,) = client.request_uploads([samples["hills.jpg"]])
    expires_at = datetime.fromisoformat(policy_of(grant["upload"])["expiration"])
    assert timedelta(minutes=14) < expires_at - before < timedelta(minutes=16)

    short = lake.client("s3").generate_presigned_post(
        lake.stack.outputs["RawBucketName"], grant["upload"]["fields"]["key"] + "-late", ExpiresIn=1
    )
    time.sleep(2)

    response = send(short, b"x", "image/jpeg")
    assert (response.status_code, "expired" in response.text) == (403, True)


def test_s3_refuses_a_file_with_another_checksum_than_announced(client: ApiClient, samples: dict[str, Sample]) -> None:
    response = client.post("/uploads", json={"content_type": "image/jpeg", "sha256": "0" * 64})
    grant = response.raise_for_status().json()
    assert grant["upload"]["fields"]["x-amz-checksum-sha256"] == base64.b64encode(bytes(32)).decode()

    refused = send(grant["upload"], samples["hills.jpg"].content, "image/jpeg")

    assert (refused.status_code, "BadDigest" in refused.text) == (400, True)


@pytest.fixture
def versions(lake: Lake) -> tuple[str, str, list[str]]:
    """A bucket of its own, the key of an object there, and its two versions, `first` and `second`."""
    s3, bucket, key = lake.client("s3"), f"links-{secrets.token_hex(4)}", "one/object"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return (
        bucket,
        key,
        [s3.put_object(Bucket=bucket, Key=key, Body=body)["VersionId"] for body in (b"first", b"second")],
    )


def signer(lake: Lake, secret: str | None = None, version: str = "s3v4") -> Any:
    """A client of the lake's S3 that signs links and forms."""
    config = Config(signature_version=version, s3={"addressing_style": "path"})
    keys: Any = {"aws_access_key_id": "test", "aws_secret_access_key": secret or "test"}
    return boto3.client("s3", endpoint_url=lake.emulator.endpoint_url, region_name=REGION, config=config, **keys)


def test_s3_refuses_a_form_that_the_lake_did_not_sign(lake: Lake, versions: tuple[str, str, list[str]]) -> None:
    bucket, key, _ = versions
    form = signer(lake).generate_presigned_post(bucket, key)
    by_another = signer(lake, secrets.token_hex()).generate_presigned_post(bucket, key)
    altered = form | {"fields": form["fields"] | {"x-amz-signature": "0" * 64}}

    answers = [send(one, b"x", "image/jpeg").status_code for one in (form, by_another, altered)]

    assert answers == [204, 403, 403]


def test_s3_refuses_a_link_that_the_lake_did_not_sign(lake: Lake, versions: tuple[str, str, list[str]]) -> None:
    """What was signed is good for no other object, no other version and no longer time."""
    bucket, key, (first, second) = versions
    wanted = {"Bucket": bucket, "Key": key, "VersionId": first}
    link = signer(lake).generate_presigned_url("get_object", Params=wanted)
    short = signer(lake).generate_presigned_url("get_object", Params=wanted, ExpiresIn=1)
    assert httpx.get(link).content == b"first"

    refused = {
        "by another": signer(lake, secrets.token_hex()).generate_presigned_url("get_object", Params=wanted),
        "old version of signatures": signer(lake, version="s3").generate_presigned_url("get_object", Params=wanted),
        "object": link.replace(key, "one/another"),
        "version": link.replace(first, second),
        "time": link.replace("X-Amz-Expires=3600", "X-Amz-Expires=3601"),
        "expired": short,
    }
    time.sleep(2)

    assert {name: httpx.get(one).is_success for name, one in refused.items()} == dict.fromkeys(refused, False)
