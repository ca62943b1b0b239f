"""Each alarm rings in a run of the fault it is for, and is quiet in a clean run.

The alarms are those of the template. What functions count is what they really emit, of a run of theirs. What AWS counts
of itself (requests of the API, invocations, messages, executions) is simulated, in its form; `tests/e2e/test_alarms.py`
has it counted by the emulator. The evaluation is `local.emulator.alarms`.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from functions.audit_retention.app import handler as audit_retention
from functions.consume_image_topic.app import handler as consume_image_topic
from functions.publish_outcomes.app import handler as publish_outcomes
from imagelake import metrics
from imagelake.engine import own_metrics
from imagelake.metrics import AwsMetric
from imagelake.model import ImageRecord
from local.emulator.alarms import State, composite_state, state
from local.emulator.datapoints import Datapoint, in_logs
from tests.application import STACK, TEMPLATE, event, physical_name, resolve, resources
from tests.integration import plants
from tests.integration.conftest import RAW_BUCKET, Context, client, created, stream_of
from tests.integration.settings_of_stores import configure_stores
from tests.integration.test_forged_answers import KEY, forged, item, put, setting
from tests.workflow import Workflow
from tools.cloudwatch import flow

MINUTE, HOUR, DAY = 60, 3600, 86400
NOW = datetime.now(UTC).timestamp() + 1

ALARMS: dict[str, dict[str, Any]] = {}
for name, one in resources("AWS::CloudWatch::Alarm").items():
    properties = dict(one["Properties"])
    for kept_out in ("AlarmActions", "OKActions"):
        properties.pop(kept_out, None)
    ALARMS[name] = properties
ALARMS["SilenceAlarm"] |= {"EvaluationPeriods": 3}  # SilenceHours

[GATE] = resources("AWS::CloudWatch::CompositeAlarm").values()
RULE = GATE["Properties"]["AlarmRule"]["Fn::Sub"].replace("${", "").replace("}", "")


def _resolved(properties: Any) -> Any:
    """With names of the stack of the tests; a name of a queue or workflow is as good as another."""
    match properties:
        case {"Fn::GetAtt": [name, _]} | {"Ref": name} if name in TEMPLATE["Resources"]:
            return physical_name(name)
        case {"Fn::If": ["HasKafka", with_kafka, _]}:
            return _resolved(with_kafka)
        case {"Fn::Sub": _} | {"Ref": _} | {"Fn::Select": _} | {"Fn::Join": _}:
            return resolve(properties)
        case dict():
            return {name: _resolved(value) for name, value in properties.items()}
        case list():
            return [_resolved(value) for value in properties]
    return properties


ALARMS = {name: _resolved(one) for name, one in ALARMS.items()}


def of_aws(metric: AwsMetric, value: float, ago: float = 1, **names: str) -> Datapoint:
    """A datapoint that AWS would publish."""
    assert {*names} == {*metric.dimensions}
    return Datapoint(metric.namespace, metric.name, metric.unit, tuple(sorted(names.items())), NOW - ago, value)


WRITER, PUBLISHER = physical_name("WriteCatalogFunction"), physical_name("PublishOutcomesFunction")
API, ENGINE = physical_name("HttpApiFunction"), physical_name("ProcessImageFunction")
RELEASED = {"FunctionName": ENGINE, "Resource": f"{ENGINE}:1"}
API_RELEASED = {"FunctionName": API, "Resource": f"{API}:live", "ExecutedVersion": "1"}
CLOSER = physical_name("CloseImageFunction")
QUEUE, PURGE = physical_name("DeadLetterQueue"), physical_name("EnforceRetentionStateMachine")
STAGE = {"ApiName": STACK, "Stage": "v1"}

CLEAN = [
    *(of_aws(metrics.API_FAULTS, 0, ago, **STAGE) for ago in range(1, HOUR, MINUTE)),
    *(of_aws(metrics.MESSAGES_VISIBLE, 0, ago, QueueName=QUEUE) for ago in range(1, HOUR, MINUTE)),
    *(of_aws(metrics.FUNCTION_THROTTLES, 0, ago, FunctionName=API) for ago in (1, 400, 700)),
    *(of_aws(metrics.ITERATOR_AGE, 900, ago, FunctionName=WRITER) for ago in range(1, HOUR, 300)),
    *(of_aws(metrics.ITERATOR_AGE, 90, ago, FunctionName=PUBLISHER) for ago in range(1, HOUR, 300)),
    *(of_aws(metrics.EXECUTIONS_SUCCEEDED, 1, ago, StateMachineArn=PURGE) for ago in (100, 1900)),
]
"""What AWS publishes of a lake that is well."""


def ringing(published: Sequence[Datapoint], before: State = "OK") -> set[str]:
    """The alarms that ring, the gate of releases among them."""
    states = {name: state(alarm, published, NOW, before) for name, alarm in ALARMS.items()}
    states["ReleaseGateAlarm"] = composite_state(RULE, states)
    return {name for name, found in states.items() if found == "ALARM"}


type Emitted = Callable[..., list[Datapoint]]


@pytest.fixture
def emitted(capsys: pytest.CaptureFixture[str]) -> Emitted:
    """What functions have emitted since the last call; `every` has it in each of three periods of so many seconds."""

    def emitted(every: int = 0) -> list[Datapoint]:
        found = list(in_logs(capsys.readouterr().out.splitlines()))
        assert {one.of("service") for one in found} == {STACK}
        periods = range(3) if every else range(1)
        return [
            Datapoint(one.namespace, one.name, one.unit, one.dimensions, NOW - 1 - every * period, one.value)
            for one in found
            for period in periods
        ]

    return emitted


@pytest.fixture
def audited(tell: Callable[[str], Context], emitted: Emitted) -> list[Datapoint]:
    """An audit of an empty lake: it finds nothing."""
    configure_stores()
    audit_retention(event("audit_retention"), tell("audit_retention"))
    return emitted()


@pytest.fixture
def tell_of(tell: Callable[[str], Context]) -> Callable[..., None]:
    """Has `publish_outcomes` read items from the stream."""
    context = tell("publish_outcomes")

    def tell_of(*made: dict[str, Any]) -> None:
        again = ({name: value for name, value in one.items() if name == "attempts"} for one in made)
        items = (ImageRecord.model_validate(one).to_item() for one in made)
        publish_outcomes(stream_of(*(one | more for one, more in zip(items, again, strict=True))), context)

    return tell_of


@pytest.fixture
def clean(
    audited: list[Datapoint], workflow: Workflow, tell_of: Callable[..., None], emitted: Emitted
) -> list[Datapoint]:
    """A run without a fault: an image arrives, is processed and told of."""
    put(KEY)
    workflow.run(created(str(KEY)))
    tell_of(fresh(item(KEY.image_id)))
    return [*CLEAN, *audited, *emitted(every=300)]


def fresh(made: dict[str, Any], seconds: float = 1) -> dict[str, Any]:
    """An item of an image that arrived so many seconds before it got its outcome."""
    ended = datetime.now(UTC)
    return made | {"processed_at": ended.isoformat(), "received_at": (ended - timedelta(seconds=seconds)).isoformat()}


def test_every_alarm_is_quiet_in_a_clean_run(clean: list[Datapoint]) -> None:
    assert {one.name for one in clean} >= {"ImagesProcessed", "ImagesReceived", "OverdueObjects", "ArrivalToAnswer"}
    assert ringing(clean) == set()


def test_a_rejected_file_rings_nothing(
    audited: list[Datapoint], workflow: Workflow, tell_of: Callable[..., None], emitted: Emitted
) -> None:
    client("s3").put_object(Bucket=RAW_BUCKET, Key=str(KEY), Body=b"no image", ContentType="image/png")
    workflow.run(created(str(KEY)))
    tell_of(fresh(item(KEY.image_id)))

    found = emitted(every=300)
    assert [(one.value, one.of("reason")) for one in found if one.name == "ImagesRejected"] == [(1, "not_an_image")] * 3
    assert ringing([*CLEAN, *audited, *found]) == set()


def test_a_failed_image_rings(clean: list[Datapoint], tell_of: Callable[..., None], emitted: Emitted) -> None:
    tell_of(fresh(item(KEY.image_id)) | {"status": "failed", "reason": "fault: AccessDenied on GetObject"})

    assert ringing([*clean, *emitted()]) == {"ImagesFailedAlarm", "ReleaseGateAlarm"}


@pytest.mark.parametrize(
    ("seconds", "images", "more", "periods", "rings"),
    [
        (70, 200, {}, 300, True),
        (70, 200, {}, 0, False),
        (50, 200, {}, 300, False),
        (70, 150, {}, 300, False),  # with that of the clean run, too few to say anything
        (90_000, 200, {"attempts": 1}, 300, False),  # redriven, or of the task
    ],
)
def test_new_images_whose_answers_are_slow_for_a_quarter_of_an_hour_ring(
    seconds: float,
    images: int,
    more: dict[str, Any],
    periods: int,
    rings: bool,
    clean: list[Datapoint],
    tell_of: Callable[..., None],
    emitted: Emitted,
) -> None:
    made = fresh(item(KEY.image_id), seconds)
    tell_of(*[made | {"image_id": str(UUID(int=number))} | more for number in range(images)])

    assert ringing([*clean, *emitted(every=periods)]) == ({"SlowAnswersAlarm", "ReleaseGateAlarm"} if rings else set())


def test_an_answer_that_is_not_believed_rings(clean: list[Datapoint], workflow: Workflow, emitted: Emitted) -> None:
    client("dynamodb").delete_item(TableName=physical_name("ImagesTable"), Key={"image_id": {"S": KEY.image_id}})
    forged(workflow, setting("sha256", to="0" * 63))

    assert ringing([*clean, *emitted()]) == {"EngineAnswersInvalidAlarm", "ReleaseGateAlarm"}


@pytest.mark.parametrize(("minutes", "rings"), [(20, True), (10, False)])
def test_a_kafka_partition_that_is_behind_rings_while_others_are_well(
    minutes: int,
    rings: bool,
    clean: list[Datapoint],
    tell: Callable[[str], Context],
    emitted: Emitted,
) -> None:
    client("s3").create_bucket(Bucket=physical_name("FailedRecordsBucket"))
    for ago in (minutes, 0):
        batch = event("consume_image_topic")
        sent_at = int((datetime.now(UTC) - timedelta(minutes=ago)).timestamp() * 1000)
        for records in batch["records"].values():
            for record in records:
                record["timestamp"] = sent_at
        consume_image_topic(batch, tell("consume_image_topic"))

    assert ringing([*clean, *emitted(every=300)]) == ({"KafkaBehindAlarm"} if rings else set())


OF_AUDIT = {
    "OverdueObjects": "OverdueObjectsAlarm",
    "OldestObjectAgeHours": "OldestObjectAgeAlarm",
    "EarlyDeletions": "EarlyDeletionsAlarm",
    "OtherFindings": "AuditFindingsAlarm",
}
"""Metrics of the audit, each with its alarm."""
FINDINGS = {
    "an_overdue_image": {"OverdueObjectsAlarm", "OldestObjectAgeAlarm"},
    "an_image_deleted_early": {"EarlyDeletionsAlarm"},
    "an_object_outside_the_layout": {"AuditFindingsAlarm"},
}


@pytest.mark.parametrize("plant", FINDINGS)
def test_what_the_audit_finds_rings(
    plant: str, clean: list[Datapoint], tell: Callable[[str], Context], emitted: Emitted
) -> None:
    """`test_audit.py` has all that it finds."""
    plants.lake_as_promised()
    plants.VIOLATIONS[plant].plant()

    audit_retention(event("audit_retention"), tell("audit_retention"))

    others = [one for one in clean if one.name not in OF_AUDIT]
    assert ringing([*others, *emitted()]) == FINDINGS[plant]


def test_an_audit_and_a_purge_that_do_not_run_ring(clean: list[Datapoint]) -> None:
    found = [one for one in clean if one.name not in {*OF_AUDIT, "ExecutionsSucceeded"}]

    assert ringing(found) == {*OF_AUDIT.values(), "PurgeSilentAlarm"}


def test_a_lake_that_nobody_sends_anything_rings_where_that_was_asked_for(clean: list[Datapoint]) -> None:
    received = [one for one in clean if one.name == "ImagesReceived"]
    rest = [one for one in clean if one.name != "ImagesReceived"]
    last = Datapoint(**vars(received[0]) | {"at": NOW - 2.5 * HOUR})

    assert ringing(rest) == {"SilenceAlarm"}
    assert ringing([*rest, last]) == set(), "SilenceHours are not over"


COMING = [Datapoint("ImageLake", "ImagesReceived", "Count", (("service", STACK),), NOW - ago, 1.0) for ago in (30, 930)]
AWS_FAULTS: dict[str, tuple[list[Datapoint], set[str]]] = {
    "a dead letter": ([of_aws(metrics.MESSAGES_VISIBLE, 1, 30, QueueName=QUEUE)], {"DeadLettersAlarm"}),
    "a dead letter that comes": ([of_aws(metrics.MESSAGES_SENT, 1, 30, QueueName=QUEUE)], {"NewDeadLettersAlarm"}),
    "a dead letter that came before": (
        [of_aws(metrics.MESSAGES_SENT, count, ago, QueueName=QUEUE) for count, ago in ((1, 400), (0, 30))],
        set(),
    ),
    "images that come while nothing writes the catalog": (
        [*COMING, *(of_aws(metrics.FUNCTION_INVOCATIONS, 1, ago, FunctionName=PUBLISHER) for ago in (30, 930))],
        {"StreamUnreadAlarm"},
    ),
    "images that come while nothing publishes outcomes": (
        [*COMING, *(of_aws(metrics.FUNCTION_INVOCATIONS, 1, ago, FunctionName=WRITER) for ago in (30, 930))],
        {"StreamUnreadAlarm"},
    ),
    "images whose rows take a quarter of an hour": (
        [
            *COMING,
            *(of_aws(metrics.FUNCTION_INVOCATIONS, 1, ago, FunctionName=PUBLISHER) for ago in (30, 930)),
            of_aws(metrics.FUNCTION_INVOCATIONS, 1, 30, FunctionName=WRITER),
        ],
        set(),
    ),
    "two answers of 5xx": ([of_aws(metrics.API_FAULTS, 2, 30, **STAGE)], set()),
    "three answers of 5xx": ([of_aws(metrics.API_FAULTS, 3, 30, **STAGE)], {"ApiFaultsAlarm", "ReleaseGateAlarm"}),
    "a burst that is throttled": (
        [of_aws(metrics.FUNCTION_THROTTLES, 50, 30, FunctionName=ENGINE)],
        set(),
    ),
    **{
        f"throttling of {name} for a quarter of an hour": (
            [of_aws(metrics.FUNCTION_THROTTLES, 1, ago, FunctionName=physical_name(name)) for ago in (30, 330, 630)],
            {"ThrottledAlarm", "ReleaseGateAlarm"},
        )
        for name in flow.FUNCTIONS
    },
    "a catalog that is behind": (
        [of_aws(metrics.ITERATOR_AGE, 16 * 60_000, ago, FunctionName=WRITER) for ago in (30, 330, 630)],
        {"CatalogBehindAlarm", "ReleaseGateAlarm"},
    ),
    "two errors of a new version": ([of_aws(metrics.VERSION_ERRORS, 2, 30, **RELEASED)], set()),
    "three errors of a new version": ([of_aws(metrics.VERSION_ERRORS, 3, 30, **RELEASED)], {"NewVersionFaultsAlarm"}),
    "three errors of new versions together": (
        [
            of_aws(metrics.VERSION_ERRORS, 2, 30, **RELEASED),
            of_aws(metrics.VERSION_ERRORS, 1, 30, FunctionName=CLOSER, Resource=f"{CLOSER}:1"),
        ],
        {"NewVersionFaultsAlarm"},
    ),
    "errors of the version before": (
        [of_aws(metrics.VERSION_ERRORS, 50, 30, FunctionName=ENGINE, Resource=f"{ENGINE}:0")],
        set(),
    ),
    "three errors of a new version of the API": (
        [of_aws(metrics.EXECUTED_VERSION_ERRORS, 3, 30, **API_RELEASED)],
        {"NewVersionApiAlarm"},
    ),
    "errors of the version of the API before": (
        [of_aws(metrics.EXECUTED_VERSION_ERRORS, 50, 30, **API_RELEASED | {"ExecutedVersion": "0"})],
        set(),
    ),
    "a new version that takes twice the time": (
        [
            *(of_aws(metrics.FUNCTION_DURATION, time, 30, FunctionName=ENGINE) for time in (400, 410, 390, 800)),
            of_aws(metrics.VERSION_DURATION, 800, 30, **RELEASED),
        ],
        {"NewVersionSlowAlarm"},
    ),
    "a new version that takes a little longer": (
        [
            *(of_aws(metrics.FUNCTION_DURATION, time, 30, FunctionName=ENGINE) for time in (400, 410, 390, 500)),
            of_aws(metrics.VERSION_DURATION, 500, 30, **RELEASED),
        ],
        set(),
    ),
    "outcomes that are behind": (
        [of_aws(metrics.ITERATOR_AGE, 16 * 60_000, ago, FunctionName=PUBLISHER) for ago in (30, 330, 630)],
        {"OutcomesBehindAlarm", "ReleaseGateAlarm"},
    ),
}


@pytest.mark.parametrize("fault", AWS_FAULTS)
def test_what_aws_counts_of_a_fault_rings(fault: str, clean: list[Datapoint]) -> None:
    published, expected = AWS_FAULTS[fault]

    assert ringing([*clean, *published]) == expected


@pytest.mark.parametrize(
    ("failed", "failed_before", "rings"),
    [(3, 0, True), (2, 0, False), (10, 0, True), (10, 90, False), (5, 45, False), (0, 10, False)],
    ids=["some", "too few to judge", "all", "all in both", "half in both", "only of before"],
)
def test_scripts_of_a_new_version_that_fail_more_ring(
    failed: int, failed_before: int, rings: bool, clean: list[Datapoint], emitted: Emitted
) -> None:
    """Of ten images that the new version takes, and ninety that the one before does."""
    images = [of_aws(metrics.VERSION_INVOCATIONS, 1, 30, **RELEASED) for _ in range(10)]
    images += [of_aws(metrics.FUNCTION_INVOCATIONS, 1, 30, FunctionName=ENGINE) for _ in range(100)]
    for version in ["1"] * failed + ["0"] * failed_before:
        _fail(version)

    assert ringing([*clean, *images, *emitted()]) == ({"NewVersionScriptsAlarm"} if rings else set())


def _fail(version: str) -> None:
    """Count as the function does; `test_process_image.py` compares."""
    said = {own_metrics.VERSION: version}
    own_metrics.write(own_metrics.SCRIPT_FAILURES, 1, "a script failed", said, by=own_metrics.VERSION)
    own_metrics.write(own_metrics.SCRIPT_FAILURES_OF_ALL, 1, "a script failed in some version")


def test_each_alarm_has_a_fault_here() -> None:
    tested = {name for _, names in AWS_FAULTS.values() for name in names}
    tested |= {name for names in FINDINGS.values() for name in names}
    tested |= {"ImagesFailedAlarm", "SlowAnswersAlarm", "EngineAnswersInvalidAlarm", "KafkaBehindAlarm"}
    tested |= {"PurgeSilentAlarm", "SilenceAlarm", "NewVersionScriptsAlarm"}

    assert tested == {*ALARMS, "ReleaseGateAlarm"}
    assert json.dumps(ALARMS), "all references are resolved"
