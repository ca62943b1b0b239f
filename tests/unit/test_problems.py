"""Problem documents point at what was wrong and never repeat what was sent."""

import json
from http import HTTPStatus
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from imagelake.api.problems import invalid_request, problem
from imagelake.api.uploads import UploadBatch, UploadRequest

SENT = "a5e1-private"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAW_BUCKET", "LAKE_BUCKET", "IMAGES_TABLE"):
        monkeypatch.setenv(name, "a-name")
    monkeypatch.setenv("ACCEPT_HEIF", "false")


def _document(kind: type, body: object) -> dict[str, Any]:
    """The document for what is wrong with `body`, located as the API's resolver does."""
    with pytest.raises(ValidationError) as invalid:
        TypeAdapter(kind).validate_python(body)
    tag = "<batch>" if kind is UploadBatch else "<one>"
    faults = [{**fault, "loc": ("body", tag, *fault["loc"])} for fault in invalid.value.errors()]
    response = invalid_request(faults)
    assert response.status_code == HTTPStatus.BAD_REQUEST
    assert response.content_type == "application/problem+json"
    assert SENT not in str(response.body)
    document: dict[str, Any] = json.loads(str(response.body))
    return document


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"content_type": SENT}, "#/content_type"),
        ({"content_type": "image/jpeg", "size": SENT}, "#/size"),
        ({"content_type": "image/jpeg", "a/b~c": SENT}, "#/a~1b~0c"),
        ({"content_type": "image/jpeg", "two words": SENT}, "#/two%20words"),
        ({"content_type": "image/jpeg", "content_length": SENT}, "#/content_length"),
        ({"content_type": "image/jpeg", "tags": {"note": [SENT]}}, "#/tags/note"),
        ({"content_type": "image/jpeg", "tags": {"n" * 65: SENT}}, "#/tags/" + "n" * 65),
        (SENT, "#"),
    ],
)
def test_points_at_the_field_of_one_upload(body: object, pointer: str) -> None:
    assert [error["pointer"] for error in _document(UploadRequest, body)["errors"]] == [pointer]


def test_points_into_a_batch_by_position() -> None:
    good, bad = {"content_type": "image/png"}, {"content_type": SENT}

    assert [error["pointer"] for error in _document(UploadBatch, {"uploads": [good, bad]})["errors"]] == [
        "#/uploads/1/content_type"
    ]


def test_sums_up_no_more_than_three_faults() -> None:
    document = _document(UploadBatch, {"uploads": [{"content_type": SENT}] * 5})

    assert len(document["errors"]) == 5
    assert document["detail"].count("#/uploads") == 3


def test_names_the_parameter_of_a_query() -> None:
    response = invalid_request([{"loc": ("query", "limit"), "type": "int_parsing", "msg": "not a number"}])

    assert json.loads(str(response.body))["errors"] == [{"parameter": "limit", "detail": "not a number"}]


def test_a_body_that_is_not_json_is_named_as_that() -> None:
    response = invalid_request([{"loc": ("body", 17), "type": "json_invalid", "msg": "JSON decode error"}])

    assert json.loads(str(response.body))["errors"] == [{"pointer": "#", "detail": "the body is not JSON"}]


def test_a_problem_has_the_members_of_rfc_9457() -> None:
    response = problem(HTTPStatus.NOT_FOUND, "There is no such image.")

    assert json.loads(str(response.body)) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "There is no such image.",
    }
