"""Whatever is asked of the API, it is never a fault of ours: requests made up by Hypothesis, for every route."""

import json
from collections.abc import Callable
from io import StringIO
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.erase_image.app import handler as erase_image
from functions.http_api.app import handler as http_api
from imagelake.api.callers import RIGHTS
from tests.application import as_caller, event
from tests.integration.conftest import Context

EXAMPLES = 1200
TIMES = st.one_of(
    st.sampled_from(["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-11-22T09:00:00Z", "2026-11-22"]),
    st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
)
WORDS = st.one_of(
    st.text(max_size=80),
    st.sampled_from(["image/jpeg", "processed", "awaiting_upload", "ada", "-1", "50", "1e999", "legal_order", ""]),
    TIMES,
)
NAMES = st.one_of(
    st.sampled_from(["content_type", "content_length", "sha256", "filename", "tags", "uploads"]), st.text(max_size=20)
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=12,
)
UPLOADS = st.fixed_dictionaries(
    {"content_type": st.just("image/jpeg")},
    optional={"content_length": st.integers(), "filename": WORDS, "tags": st.dictionaries(WORDS, WORDS, max_size=3)},
)
BODIES = st.one_of(st.none(), st.text(max_size=200), *(one.map(json.dumps) for one in (VALUES, UPLOADS)))
QUERIES = {
    "POST /uploads": {"x": WORDS},
    "GET /images": dict.fromkeys(("status", "source", "limit", "cursor", "uploader"), WORDS)
    | {"from": TIMES, "to": TIMES},
    "GET /images/{image_id}": {"x": WORDS},
    "DELETE /images/{image_id}": {"reason": WORDS},
}
HEADERS = st.one_of(st.just("application/json"), WORDS)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """A request as API Gateway passes it on, mostly of somebody who may ask."""
    route = draw(st.sampled_from(sorted(RIGHTS)))
    method, _, resource = route.partition(" ")
    query = draw(st.fixed_dictionaries({}, optional=QUERIES[route]))
    sample = event("erase_image" if method == "DELETE" else "http_api")
    sample["headers"]["content-type"] = draw(HEADERS)
    return as_caller(sample, "ada", draw(st.sampled_from(["operators", "uploaders", ""]))) | {
        "httpMethod": method,
        "resource": resource,
        "path": resource.replace("{image_id}", quote(draw(st.text(min_size=1, max_size=90)), safe="")),
        "queryStringParameters": query or None,
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()} or None,
        "body": draw(BODIES),
    }


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(request=requests())
def test_no_request_is_a_fault_of_ours(
    request: dict[str, Any],
    tell: Callable[[str], Context],
    logs: StringIO,  # noqa: ARG001  # not for the terminal
) -> None:
    is_erasure = request["httpMethod"] == "DELETE"

    answer = (erase_image if is_erasure else http_api)(request, tell("erase_image" if is_erasure else "http_api"))

    assert answer["statusCode"] < 500
    if answer["statusCode"] >= 400:
        assert answer["multiValueHeaders"]["Content-Type"] == ["application/problem+json"]
        assert json.loads(answer["body"])["status"] == answer["statusCode"]
