"""Every state of the workflow is a window: an execution dies ahead of it, or the answer to its call is lost.

The real workflow with its real functions on stores in process. Afterwards the faults stop, an hour passes, and
`reconcile` runs. Then each image has one outcome, the right one, and was reported if that is to be.
"""

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from moto.s3.models import s3_backends

from functions.reconcile.app import handler as reconcile
from imagelake.keys import ArrivalHour, ImageVersion, RawKey
from imagelake.model import Arrival
from imagelake.process import reconciliation
from imagelake.stores import images_table, ingest_workflow
from imagelake.stores.dead_letters import DeadLetterQueue
from imagelake.stores.images_table import ImagesTable
from local.samples import make_samples
from tasks.process_large_image.app import main
from tests.application import WORKFLOW, event, resolve, task_variables
from tests.integration.call_faults import Died
from tests.integration.conftest import IMAGES_TABLE, RAW_BUCKET, Context, client, created, dead_letters_sent
from tests.workflow import StateError, Workflow

SAMPLES = {sample.filename: sample for sample in make_samples()}
IMAGES = {
    "processed": SAMPLES["icon.bmp"],
    "rejected": SAMPLES["notes.jpg"],
    "failed": SAMPLES["icon.bmp"],
    "large": SAMPLES["icon.bmp"],
}
"""By what becomes of them; a large one is left to the task, whatever its size, and processed."""
ARRIVED = datetime.now(UTC) - timedelta(minutes=30)

TO_THE_COMMIT = ["Open image", "Check decision", "Process image", "Check size", "Close image"]
WAYS = {
    "processed": [*TO_THE_COMMIT, "Catalog image", "Finish"],
    "rejected": [*TO_THE_COMMIT, "Catalog image", "Finish"],
    "failed": [*TO_THE_COMMIT, "Record failure", "Report to dead-letter queue", "Close report", "Fail"],
    "large": [
        *("Open image", "Check decision", "Process image", "Check size", "Open image for task"),
        *("Check whether task is needed", "Hand over large image", "Finish"),
    ],
}


class Lake:
    """The workflow for one image, faults, and what `reconcile` makes of them an hour later."""

    def __init__(self, status: str, workflow: Workflow, tell: Callable[[str], Context]) -> None:
        self.status, self.workflow, self.tell = status, workflow, tell
        self.key = RawKey(ArrivalHour.of(ARRIVED), str(uuid.uuid4()))
        self.lost: list[str] = []
        self.results: list[str] = []
        self._to_lose: str | None = None
        functions = dict(workflow.functions)
        if status == "failed":
            functions["close_image"] = self._fault
        if status == "large":
            functions["process_image"] = lambda _: {"status": "large"}
            workflow.run_task = lambda arguments: self.answered(self._task(arguments))
        workflow.functions = {name: self._losing(function) for name, function in functions.items()}
        workflow.clients = lambda service: _Client(self, service)
        workflow.before = self._enter
        self._dies_at: str | None = None
        self._state = ""
        sample = IMAGES[status]
        client("s3").put_object(
            Bucket=RAW_BUCKET,
            Key=str(self.key),
            Body=sample.content,
            ContentType=sample.content_type,
            Metadata=Arrival(source="api").to_metadata(),
        )
        (in_moto,) = (account["aws"] for account in s3_backends.values() if RAW_BUCKET in account["aws"].buckets)
        in_moto.buckets[RAW_BUCKET].keys[str(self.key)].last_modified = ARRIVED.replace(tzinfo=None)

    def run(self, *, dies_at: str | None = None, loses: str | None = None) -> None:
        """One execution, with a fault."""
        self._dies_at, self._to_lose = dies_at, loses
        try:
            self.workflow.run(created(str(self.key)))
        except (Died, StateError):
            self.lost.append(dies_at or "")
        self._dies_at = self._to_lose = None
        self._collect()

    def an_hour_later(self, patch: pytest.MonkeyPatch) -> None:
        """`reconcile` runs; what it starts runs at once."""

        class StepFunctions:
            @staticmethod
            def start_execution(stateMachineArn: str, input: str) -> None:  # noqa: A002, ARG004, N803
                self.workflow.run(json.loads(input))
                self._collect()

        with patch.context() as hour:
            hour.setattr(reconciliation, "PATIENCE", timedelta(minutes=-1))
            hour.setattr(images_table, "ATTEMPT_SECONDS", 0)
            hour.setattr(ingest_workflow, "_step_functions", StepFunctions)
            reconcile(event("reconcile"), self.tell("reconcile"))

    def outcome(self) -> str | None:
        found = client("dynamodb").get_item(TableName=IMAGES_TABLE, Key={"image_id": {"S": self.key.image_id}})
        item = found.get("Item", {})
        assert "unsettled_since" not in item
        return item["status"]["S"] if item else None

    def check(self) -> None:
        """One outcome, the right one, reported if that is to be."""
        assert self.outcome() == ("processed" if self.status == "large" else self.status)
        letters = dead_letters_sent()
        reported = {self.status} & {"failed"}
        assert {letter["status"] for letter in letters} == reported
        assert {letter["image_id"] for letter in letters} <= {self.key.image_id}

    def answered(self, answer: Any) -> Any:
        """The answer to a call, unless it is to be lost."""
        if self._state == self._to_lose:
            self._to_lose = None
            self.lost.append(self._state)
            raise StateError("SdkClientException", "the answer is lost")
        return answer

    def _enter(self, state: str) -> None:
        self._state = state
        if state == self._dies_at:
            raise Died

    def _losing(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda payload: self.answered(function(payload))

    def _task(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Run the task for large images, which stores what it has to say."""
        [override] = arguments["Overrides"]["ContainerOverrides"]
        assert main(*override["Command"]) == 0
        version = client("s3").list_object_versions(Bucket=RAW_BUCKET, Prefix=str(self.key))["Versions"][0]
        self.results.append(ImageVersion(self.key, version["VersionId"]).result)
        return {}

    def _collect(self) -> None:
        """The events of what tasks have stored come in."""
        while self.results:
            self.workflow.run(created(self.results.pop()))

    @staticmethod
    def _fault(_: Any) -> Any:
        raise RuntimeError("of the test")


class _Client:
    """A client whose answers can be lost, after the work was done."""

    def __init__(self, lake: Lake, service: str) -> None:
        self._lake, self._service = lake, service

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        return lambda **arguments: self._lake.answered(getattr(client(self._service), operation)(**arguments))


@pytest.fixture(autouse=True)
def task(workflow: Workflow, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001  # its functions are told first
    """A stack that takes large images; the task is told what the template tells it."""
    for name, value in {**task_variables(), "LARGE_IMAGES": "true"}.items():
        monkeypatch.setenv(name, str(resolve(value)))


@pytest.mark.parametrize(("status", "state"), [(status, state) for status, way in WAYS.items() for state in way])
def test_an_execution_that_dies_ahead_of_any_state_is_made_good(
    status: str, state: str, workflow: Workflow, tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(status, workflow, tell)

    lake.run(dies_at=state)
    assert lake.lost == [state]
    lake.an_hour_later(monkeypatch)

    lake.check()


CALLS = [
    (status, state)
    for status, way in WAYS.items()
    for state in way
    if WORKFLOW["States"][state]["Type"] == "Task" and (status, state) != ("failed", "Close image")  # it has no answer
]


@pytest.mark.parametrize(("status", "state"), CALLS)
def test_a_call_whose_answer_is_lost_is_made_good_by_the_execution_itself(
    status: str, state: str, workflow: Workflow, tell: Callable[[str], Context]
) -> None:
    lake = Lake(status, workflow, tell)

    lake.run(loses=state)

    assert lake.lost == [state]
    lake.check()


@pytest.mark.parametrize(("status", "state"), CALLS)
def test_an_execution_that_dies_with_a_call_under_way_is_made_good(
    status: str, state: str, workflow: Workflow, tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call is carried out, and nobody is there for its answer."""
    lake = Lake(status, workflow, tell)

    def die(answer: Any) -> Any:
        if lake._state == state:
            raise Died
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(lake, "answered", die)
        lake.run()
    assert lake.lost == [""]
    lake.an_hour_later(monkeypatch)

    lake.check()


@pytest.mark.parametrize("status", WAYS)
def test_the_ways_are_those_of_the_workflow(status: str, workflow: Workflow, tell: Callable[[str], Context]) -> None:
    lake = Lake(status, workflow, tell)
    entered: list[str] = []
    workflow.before = entered.append

    lake.run()

    collected = ["Identify image", "Open image", "Check decision", "Close image", *WAYS["processed"][-2:]]
    assert entered == ["Identify image", *WAYS[status], *(collected if status == "large" else ())]


RECONCILE_CALLS = [(ImagesTable, "give_up"), (DeadLetterQueue, "report"), (ImagesTable, "close_report")]


@pytest.mark.parametrize("is_done", [False, True], ids=["ahead", "done"])
@pytest.mark.parametrize(("kind", "call"), RECONCILE_CALLS, ids=lambda one: getattr(one, "__name__", one))
def test_a_run_of_reconcile_that_dies_at_any_call_reports_in_the_end(
    kind: type,
    call: str,
    is_done: bool,
    workflow: Workflow,
    tell: Callable[[str], Context],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An image that gets lost again and again; the run that gives it up dies."""
    lake = Lake("failed", workflow, tell)
    monkeypatch.setattr(workflow, "run", lambda _: [])  # nothing comes of it
    for _ in range(reconciliation.MAX_ATTEMPTS):
        lake.an_hour_later(monkeypatch)
    assert lake.outcome() == "awaiting_upload"
    real = getattr(kind, call)

    def die(*arguments: Any) -> None:
        if is_done:
            real(*arguments)
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(kind, call, die)
        with pytest.raises(Died):
            lake.an_hour_later(monkeypatch)
    lake.an_hour_later(monkeypatch)

    lake.check()
