"""Who may do what with the API: route by group by owner, and tokens that count for nobody."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest

from functions.erase_image.app import handler as erase_image
from functions.http_api.app import handler as http_api
from imagelake.api.callers import RIGHTS
from imagelake.model import AwaitedUpload
from imagelake.stores.images_table import ImagesTable
from tests.application import TEMPLATE, as_caller, event
from tests.integration.conftest import IMAGES_TABLE, Context

IMAGE_ID = "01a20297-8952-7c11-9d0a-5b1f3c2e4d6f"
NOW = datetime.now(UTC)

type Call = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture(autouse=True)
def _image_of_ada(logs: StringIO) -> None:  # noqa: ARG001  # not for the terminal
    upload = AwaitedUpload(
        image_id=IMAGE_ID,
        uploader="ada",
        received_at=NOW,
        expires_at=NOW + timedelta(days=1),
        content_type="image/jpeg",
        ingest_date=f"{NOW:%Y-%m-%d}",
        hour=f"{NOW:%H}",
    )
    ImagesTable(IMAGES_TABLE).expect_uploads([upload])


@pytest.fixture
def call(tell: Callable[[str], Context]) -> Call:
    def call(request: dict[str, Any]) -> dict[str, Any]:
        name, function = ("erase_image", erase_image) if request["httpMethod"] == "DELETE" else ("http_api", http_api)
        return function(request, tell(name))

    return call


def request(route: str, **query: str) -> dict[str, Any]:
    method, _, resource = route.partition(" ")
    sample = event("erase_image" if method == "DELETE" else "http_api")
    return sample | {
        "httpMethod": method,
        "resource": resource,
        "path": resource.replace("{image_id}", IMAGE_ID),
        "queryStringParameters": query or None,
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()} or None,
    }


NOBODY = [[], ["analysts"], ["x,operators"], ["Operators"], ["operators "], ["uploaders,operators"]]


@pytest.mark.parametrize("groups", NOBODY)
@pytest.mark.parametrize("route", RIGHTS)
def test_who_is_in_no_group_of_the_api_may_do_nothing(route: str, groups: list[str], call: Call) -> None:
    answer = call(as_caller(request(route), "ada", *groups))

    assert answer["statusCode"] == 403
    assert (
        json.loads(answer["body"])["detail"]
        == "You may not do this: only members of operators or uploaders may do this."
    )
    assert ImagesTable(IMAGES_TABLE).get(IMAGE_ID) is not None


@pytest.mark.parametrize(
    ("route", "group", "of_owner", "of_others"),
    [
        ("POST /uploads", "uploaders", 201, 201),
        ("POST /uploads", "operators", 201, 201),
        ("GET /images/{image_id}", "uploaders", 200, 404),
        ("GET /images/{image_id}", "operators", 200, 200),
        ("DELETE /images/{image_id}", "uploaders", 204, 404),
        ("DELETE /images/{image_id}", "operators", 204, 204),
    ],
)
@pytest.mark.parametrize("subject", ["ada", "eve"])
def test_what_a_group_may_do(route: str, group: str, of_owner: int, of_others: int, subject: str, call: Call) -> None:
    answer = call(as_caller(request(route), subject, group))

    assert answer["statusCode"] == (of_owner if subject == "ada" else of_others)


@pytest.mark.parametrize(
    ("subject", "group", "uploader", "status", "found"),
    [
        ("ada", "uploaders", None, 200, 1),
        ("ada", "uploaders", "ada", 200, 1),
        ("eve", "uploaders", None, 200, 0),
        ("eve", "uploaders", "ada", 403, None),
        ("eve", "operators", None, 200, 0),
        ("eve", "operators", "ada", 200, 1),
    ],
)
def test_whose_images_are_listed(
    subject: str, group: str, uploader: str | None, status: int, found: int | None, call: Call
) -> None:
    query = {} if uploader is None else {"uploader": uploader}

    answer = call(as_caller(request("GET /images", **query), subject, group))

    assert answer["statusCode"] == status
    listed = json.loads(answer["body"]).get("images")
    assert (listed if listed is None else len(listed)) == found


def test_operators_alone_see_whose_an_image_is(call: Call) -> None:
    shown = {
        group: json.loads(call(as_caller(request("GET /images/{image_id}"), "ada", group))["body"])
        for group in ("uploaders", "operators")
    }

    assert "uploader" not in shown["uploaders"]
    assert shown["operators"]["uploader"] == "ada"


@pytest.mark.parametrize(
    ("groups", "tenant"),
    [
        ([], None),
        (["tenant-acme"], "acme"),
        (["tenant-acme", "tenant-acme", "acme", "tenant-", "tenant-Acme", "x,tenant-other", "tenant-o\n"], "acme"),
    ],
)
def test_an_image_belongs_to_the_tenant_of_who_sends_it(groups: list[str], tenant: str | None, call: Call) -> None:
    answer = json.loads(call(as_caller(request("POST /uploads"), "ada", "uploaders", *groups))["body"])

    assert answer["upload"]["fields"].get("x-amz-meta-tenant") == tenant
    item = ImagesTable(IMAGES_TABLE).get(answer["image_id"])
    assert item is not None
    assert item.get("tenant") == tenant


def test_who_belongs_to_several_tenants_reads_and_sends_nothing(call: Call) -> None:
    def status(route: str) -> int:
        return call(as_caller(request(route), "ada", "uploaders", "tenant-b", "tenant-a"))["statusCode"]  # type: ignore[no-any-return]

    assert (status("GET /images"), status("GET /images/{image_id}")) == (200, 200)
    refused = call(as_caller(request("POST /uploads"), "ada", "uploaders", "tenant-b", "tenant-a"))
    assert refused["statusCode"] == 403
    assert "several tenants (a, b)" in json.loads(refused["body"])["detail"]


def payload(**claims: Any) -> str:
    known = {"sub": "ada", "aud": "image-lake-test-userpoolclient", "token_use": "id", "cognito:groups": ["operators"]}
    return base64.urlsafe_b64encode(json.dumps(known | claims).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "e30",
        "e30..",
        "e30.e30.c2lnbmF0dXJl",
        "e30.bnVsbA.c2lnbmF0dXJl",
        f"e30.{'[' * 5000}.c2lnbmF0dXJl",
        f"e30.{base64.b64encode(b'[' * 100_000).decode()}.c2lnbmF0dXJl",
        f"e30.{payload(token_use='access')}.c2lnbmF0dXJl",  # noqa: S106
        f"e30.{payload(aud='another-client')}.c2lnbmF0dXJl",
        f"e30.{payload(sub='eve')}.c2lnbmF0dXJl",
        f"e30.{payload(sub=['ada'])}.c2lnbmF0dXJl",
        f"e30.{payload(**{'cognito:groups': 'operators'})}.c2lnbmF0dXJl",
        f"e30.{payload(**{'cognito:groups': [['operators']]})}.c2lnbmF0dXJl",
    ],
)
@pytest.mark.parametrize("route", RIGHTS)
def test_a_token_of_another_kind_client_or_person_counts_for_nobody(route: str, header: str, call: Call) -> None:
    asked = as_caller(request(route), "ada", "operators")
    asked["headers"]["Authorization"] = header

    answer = call(asked)

    assert answer["statusCode"] == 401
    assert answer["multiValueHeaders"]["Content-Type"] == ["application/problem+json"]
    assert ImagesTable(IMAGES_TABLE).get(IMAGE_ID) is not None


def test_every_route_of_the_template_has_its_rights() -> None:
    routes = {
        f"{one['Properties']['Method']} {one['Properties']['Path']}"
        for resource in TEMPLATE["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
        for one in resource["Properties"].get("Events", {}).values()
        if one["Type"] == "Api"
    }
    groups = {
        one["Properties"]["GroupName"]
        for one in TEMPLATE["Resources"].values()
        if one["Type"] == "AWS::Cognito::UserPoolGroup"
    }

    assert routes == RIGHTS.keys()
    assert {group for allowed in RIGHTS.values() for group in allowed} == groups
