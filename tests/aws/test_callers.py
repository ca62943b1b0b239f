"""Who gets in, and what a form takes: what API Gateway, Cognito and S3 refuse, and how."""

import base64
import hashlib
import secrets
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from tests.aws.conftest import member
from tests.aws.live import Live

CONTENT = b"\xff\xd8\xff\xd9"
OF_CONTENT = {
    "content_type": "image/jpeg",
    "content_length": len(CONTENT),
    "sha256": hashlib.sha256(CONTENT).hexdigest(),
}


@pytest.mark.parametrize("token", ["none", "nonsense", "of access"])
def test_the_api_takes_id_tokens_only(api: httpx.Client, access_token: str, token: str) -> None:
    given = {"none": None, "nonsense": "nonsense", "of access": access_token}[token]
    headers = {} if given is None else {"Authorization": given}

    answer = httpx.get(f"{api.base_url}images", headers=headers, timeout=60)

    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")


def test_nobody_signs_up(live: Live) -> None:
    cognito = live.client("cognito-idp")
    user = {"Username": f"check-{secrets.token_hex(4)}", "Password": f"Aa1{secrets.token_urlsafe(12)}"}

    with pytest.raises(cognito.exceptions.NotAuthorizedException):
        cognito.sign_up(ClientId=live.outputs["UserPoolClientId"], **user)


def test_nobody_makes_themselves_an_operator(live: Live, access_token: str) -> None:
    with pytest.raises(ClientError):
        live.client("cognito-idp").update_user_attributes(
            AccessToken=access_token, UserAttributes=[{"Name": "cognito:groups", "Value": "operators"}]
        )


def test_who_is_in_no_group_of_the_api_may_do_nothing_whatever_it_is_called(live: Live) -> None:
    cognito, pool = live.client("cognito-idp"), live.outputs["UserPoolId"]
    name = f"check-{secrets.token_hex(4)},operators"
    cognito.create_group(UserPoolId=pool, GroupName=name)
    try:
        with member(live, name) as tokens:
            headers = {"Authorization": tokens["IdToken"]}
            answer = httpx.get(f"{live.api_url}/images", headers=headers, timeout=60)
    finally:
        cognito.delete_group(UserPoolId=pool, GroupName=name)

    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")


@pytest.mark.parametrize(
    ("fields", "content", "status"),
    [
        ({}, CONTENT + b"x", 400),
        ({}, CONTENT[::-1], 400),
        ({"Content-Type": "text/html"}, CONTENT, 403),
        ({"key": "raw/another"}, CONTENT, 403),
        ({"x-amz-signature": "0" * 64}, CONTENT, 403),
    ],
    ids=["another size", "another checksum", "another type", "another key", "another signature"],
)
def test_a_form_takes_what_it_was_granted_for(
    api: httpx.Client, fields: dict[str, Any], content: bytes, status: int
) -> None:
    form = api.post("/uploads", json=OF_CONTENT).raise_for_status().json()["upload"]
    names = {name.lower(): name for name in form["fields"]}
    changed = {names.get(name.lower(), name): value for name, value in fields.items()}

    answer = httpx.post(form["url"], data=form["fields"] | changed, files={"file": content}, timeout=60)

    assert answer.status_code == status, answer.text


def test_a_form_names_the_checksum_that_was_announced(api: httpx.Client) -> None:
    fields = api.post("/uploads", json=OF_CONTENT).raise_for_status().json()["upload"]["fields"]

    assert base64.b64encode(hashlib.sha256(CONTENT).digest()).decode() in fields.values()
