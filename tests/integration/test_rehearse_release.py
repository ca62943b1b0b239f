"""The rehearsal of a release, by the real engine: what it refuses, what it answers, and what it leaves behind."""

import io
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from urllib3 import PoolManager

from functions.process_image import app as process_image
from functions.rehearse_release import app
from imagelake.process import rehearsal
from imagelake.stores import buckets, functions
from tests.application import TEMPLATE, event
from tests.conftest import GivePipelines
from tests.integration.conftest import IMAGES_TABLE, LAKE_BUCKET, RAW_BUCKET, Context, client, events_put
from tests.integration.presigned import PresignedS3

NEW = event("rehearse_release")["ResourceProperties"]["ProcessImageVersion"]
NAMES = ["photograph.jpg", "drawing.png", "broken.jpg"]

type Engine = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass
class Release:
    """A version of `process_image`, CloudFormation that asks and is answered, and time that passes at once."""

    rehearse_context: Context
    engine: Engine
    orders: list[dict[str, Any]] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
        """As Lambda does, of what goes wrong as well."""
        assert FunctionName == NEW
        self.orders.append(json.loads(Payload))
        try:
            answer = self.engine(json.loads(Payload))
        except ClientError:
            raise
        except Exception as error:  # noqa: BLE001  # Lambda takes all
            said = {"errorType": type(error).__name__, "errorMessage": str(error)}
            return {"FunctionError": "Unhandled", "Payload": BytesIO(json.dumps(said).encode())}
        return {"Payload": BytesIO(json.dumps(answer).encode())}

    def request(self, _method: str, _url: str, body: bytes, **_: Any) -> SimpleNamespace:
        """CloudFormation takes an answer."""
        self.answers.append(json.loads(body))
        return SimpleNamespace(status=200)

    def rehearse(self, **changed: Any) -> tuple[str, str]:
        """Status and reason that CloudFormation is told."""
        told = app.handler(event("rehearse_release") | changed, self.rehearse_context)
        assert told == {"status": self.answers[-1]["Status"]}
        return self.answers[-1]["Status"], self.answers[-1]["Reason"]


@pytest.fixture
def release(tell: Callable[[str], Context], presigned: PresignedS3, monkeypatch: pytest.MonkeyPatch) -> Release:  # noqa: ARG001
    context = tell("process_image")
    made = Release(tell("rehearse_release"), lambda order: process_image.handler(order, context))
    monkeypatch.setattr(made.rehearse_context, "get_remaining_time_in_millis", lambda: 240_000)
    monkeypatch.setattr(functions, "_waiting", lambda: made)
    monkeypatch.setattr(PoolManager, "request", staticmethod(made.request))
    monkeypatch.setattr(time, "sleep", made.pauses.append)
    return made


def left() -> list[str]:
    listed = client("s3").list_objects_v2(Bucket=LAKE_BUCKET).get("Contents", [])
    return [one["Key"] for one in listed]


def test_a_release_that_processes_the_pictures_passes_and_nothing_is_left(release: Release) -> None:
    assert release.rehearse() == ("SUCCESS", "")
    assert len(release.orders) == len(NAMES)
    assert {order["prefix"].rsplit("/", 2)[1] for order in release.orders} == {"rehearsal"}
    assert left() == []
    assert "Contents" not in client("s3").list_objects_v2(Bucket=RAW_BUCKET)
    assert client("dynamodb").scan(TableName=IMAGES_TABLE)["Items"] == []
    assert events_put() == []


def test_the_pictures_have_derivatives_as_images_have(release: Release, presigned: PresignedS3) -> None:
    release.rehearse()

    stored = [key.rpartition("/")[2] for method, key in presigned.requests if method == "POST"]
    assert len(stored) >= 2
    assert len([key for method, key in presigned.requests if method == "GET"]) == len(NAMES)


def test_a_first_deployment_is_rehearsed(release: Release) -> None:
    assert release.rehearse(RequestType="Create") == ("SUCCESS", "")
    assert len(release.orders) == len(NAMES)


def test_a_script_that_fails_on_every_image_is_refused_with_picture_and_reason(
    release: Release, give_pipelines: GivePipelines
) -> None:
    give_pipelines(default={"scripts": ["redact"], "params": {"redact": {"max_side": "no number"}}})

    status, reason = release.rehearse()

    assert status == "FAILED"
    assert reason.startswith("UnfitReleaseError: photograph.jpg was rejected, not processed: script_")
    assert len(release.orders) == 1
    assert left() == []


def test_a_version_that_cannot_be_imported_is_refused_with_what_lambda_says(release: Release) -> None:
    def engine(_: dict[str, Any]) -> dict[str, Any]:
        raise ImportError("Unable to import module 'app': No module named 'a_module'")

    release.engine = engine

    status, reason = release.rehearse()

    assert (status, len(release.orders)) == ("FAILED", 1 + len(rehearsal.PAUSES))
    assert "photograph.jpg ended with a fault: ImportError: Unable to import" in reason


def test_a_fault_is_tried_again(release: Release) -> None:
    good, faults = release.engine, iter([True] * 6)

    def engine(order: dict[str, Any]) -> dict[str, Any]:
        if next(faults, False):
            raise ClientError({"Error": {"Code": "TooManyRequestsException"}}, "Invoke")
        return good(order)

    release.engine = engine

    assert release.rehearse() == ("SUCCESS", "")
    assert release.pauses == [2.0, 4.0, 8.0, 15.0, 15.0, 15.0], "of a lake that has no room for a minute"


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ({"bytes": 1}, "it is of other bytes"),
        ({"derivatives": [{"name": "thumb", "extension": "jpg", "width": 1, "height": 1, "bytes": 1}]}, "NoSuchKey"),
        ({"status": "large"}, "the form of one"),
    ],
)
def test_an_answer_that_close_image_would_not_believe_is_refused(
    lie: dict[str, Any], reason: str, release: Release
) -> None:
    good = release.engine

    def engine(order: dict[str, Any]) -> dict[str, Any]:
        answer = good(order)
        made = [one | {"sha256": answer["sha256"]} for one in lie.get("derivatives", ())]
        return answer | lie | ({"derivatives": made} if made else {})

    release.engine = engine

    status, said = release.rehearse()

    assert status == "FAILED"
    assert "photograph.jpg" in said
    assert reason in said


@pytest.mark.parametrize(
    ("answered", "reason"),
    [
        ({"status": "rejected", "code": "script_error", "detail": "a bug", "sha256": None}, "for another reason"),
        ({"status": "processed"}, "for another reason than its own: engine_answer_invalid"),
    ],
)
def test_a_broken_picture_has_to_be_rejected_for_what_is_wrong_with_it(
    answered: dict[str, Any], reason: str, release: Release
) -> None:
    good = release.engine

    def engine(order: dict[str, Any]) -> dict[str, Any]:
        return good(order) | answered if len(release.orders) == len(NAMES) else good(order)

    release.engine = engine

    status, said = release.rehearse()

    assert status == "FAILED"
    assert "broken.jpg was rejected" in said
    assert reason in said


def test_a_release_whose_modules_cannot_be_imported_is_answered(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imagelake.process.rehearsal", None)

    status, reason = release.rehearse()

    assert status == "FAILED"
    assert "imagelake.process.rehearsal" in reason


def test_a_rollback_and_a_deletion_pass_whatever_is_broken(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagelake.process.rehearsal", None)
    sample = event("rehearse_release")
    new, old = sample["ResourceProperties"], sample["OldResourceProperties"]

    assert release.rehearse(ResourceProperties=old, OldResourceProperties=new) == ("SUCCESS", "")
    assert release.rehearse(RequestType="Delete") == ("SUCCESS", "")
    assert release.orders == []


def test_a_version_of_ten_is_newer_than_one_of_nine(release: Release) -> None:
    sample = event("rehearse_release")
    release.rehearse(
        OldResourceProperties=sample["OldResourceProperties"] | {"ProcessImageVersion": NEW.removesuffix("8") + "10"},
    )
    assert release.orders == []


def test_what_cannot_be_deleted_keeps_back_no_release(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "SlowDown"}}, "DeleteObjects")

    monkeypatch.setattr(buckets.s3_client(), "delete_objects", refuse)
    log = io.StringIO()
    monkeypatch.setattr(app.logger.registered_handler, "stream", log)

    assert release.rehearse() == ("SUCCESS", "")
    assert {key.split("/")[4] for key in left()} == {"rehearsal"}
    assert log.getvalue().count("left behind") == len(NAMES)


def test_a_try_begun_last_and_the_answer_fit_the_invocation_and_three_of_those_the_service_timeout() -> None:
    function = TEMPLATE["Resources"]["RehearseReleaseFunction"]["Properties"]
    engine = TEMPLATE["Resources"]["ProcessImageFunction"]["Properties"]
    custom = TEMPLATE["Resources"]["RehearsedRelease"]["Properties"]
    answer, tries, pauses = 30, 3, 60 + 120

    assert engine["Timeout"] < functions.WAIT_SECONDS
    assert functions.WAIT_SECONDS + answer < app.ANSWER_SECONDS < function["Timeout"] / 2
    assert custom["ServiceTimeout"] == tries * function["Timeout"] + pauses
    assert custom["ProcessImageVersion"] == {"Ref": "ProcessImageFunction.Version"}


def test_the_workflow_is_changed_after_the_rehearsal() -> None:
    assert "RehearsedRelease" in TEMPLATE["Resources"]["IngestImageStateMachine"]["DependsOn"]
