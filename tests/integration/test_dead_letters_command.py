"""What `imagelake dead-letters` shows of a queue, and that nothing leaves it before its image was started again."""

import json
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from imagelake.model import DeadLetter, FaultCode
from imagelake.stores import dead_letters
from imagelake_cli import connection, dead_letter_queue
from imagelake_cli.dead_letter_queue import DeadLetterQueue
from imagelake_cli.main import app
from imagelake_cli.redriving import RedriveError, Redriven
from tests.integration.conftest import QUEUE_URL, client


class Redriving:
    """What answers instead of the stack's function: everything is started, unless `results` says otherwise."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.results: dict[str, str] = {}
        self.dies_at: str | None = None
        self.fails_again: set[str] = set()

    def redrive(self, image_ids: Sequence[str], *, dry_run: bool) -> Iterator[list[Redriven]]:
        yield [self._one(image_id, dry_run) for image_id in image_ids]

    def start_arrivals(self, keys: Sequence[str], *, dry_run: bool) -> Iterator[list[Redriven]]:
        yield [self._one(key.rpartition("/")[2], dry_run) for key in keys]

    def _one(self, image_id: str, dry_run: bool) -> Redriven:
        if image_id == self.dies_at:
            raise RedriveError("SlowDown on StartExecution")
        result = self.results.get(image_id, "redrivable" if dry_run else "redriven")
        if result == "redriven":
            self.started.append(image_id)
            if image_id in self.fails_again:
                send(of_image(image_id, "fault: again"))
        return Redriven(image_id=image_id, result=result)


@pytest.fixture(autouse=True)
def _queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "dead_letter_queue", lambda *_: DeadLetterQueue(client("sqs"), QUEUE_URL))
    monkeypatch.setattr(dead_letter_queue, "WAIT_SECONDS", 0)


@pytest.fixture(autouse=True)
def redriving(monkeypatch: pytest.MonkeyPatch) -> Redriving:
    made = Redriving()
    monkeypatch.setattr(connection, "image_redriving", lambda *_: made)
    return made


def send(*letters: DeadLetter) -> None:
    for letter in letters:
        dead_letters.DeadLetterQueue(QUEUE_URL).report(letter)


def letter(number: int, code: str = "script_error") -> DeadLetter:
    return of_image(f"image-{number:02}", f"{code}: as the test says")


def of_image(image_id: str, reason: str) -> DeadLetter:
    return DeadLetter(
        image_id=image_id, code=FaultCode.of(reason), reason=reason, step="Open image", last_at=datetime.now(UTC)
    )


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["dead-letters", *arguments])
    assert result.exit_code == code, result.output
    return result


def listed(*arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("list", *arguments, "--json").stdout.splitlines()]


def images_left() -> list[str]:
    return sorted(str(one["image_id"]) for one in listed())


def test_an_empty_queue_has_no_messages() -> None:
    assert listed() == []
    assert "0 messages" in run("list").stderr


def test_of_no_messages_it_is_not_said_that_yes_does_something() -> None:
    assert run("redrive", "--code", "fault").stderr == "0 messages\n"


def test_every_message_is_listed_and_stays_to_be_listed_again() -> None:
    send(*(letter(number) for number in range(25)))

    first, second = listed(), listed()

    assert first == second
    assert sorted(one["image_id"] for one in first) == [f"image-{number:02}" for number in range(25)]
    assert list(first[0]) == ["message_id", "sent_at", "image_id", "status", "code", "can_be_redriven", "message"]
    assert {(one["status"], one["code"], one["can_be_redriven"]) for one in first} == {("failed", "script_error", True)}
    assert first[0]["message"]["reason"] == "script_error: as the test says"


def test_codes_times_and_ids_choose_among_them() -> None:
    send(letter(1), letter(2, "corrupt"), letter(3))
    message_id = next(one["message_id"] for one in listed() if one["image_id"] == "image-02")

    assert sorted(one["image_id"] for one in listed("--code", "script_error")) == ["image-01", "image-03"]
    assert [one["image_id"] for one in listed(message_id)] == ["image-02"]
    assert [one["image_id"] for one in listed("image-03")] == ["image-03"]
    assert len(listed("--since", "1m")) == 3
    assert listed("--until", "1m") == []
    assert listed("--since", "2099-01-01T00:00:00Z") == []
    assert "3 messages, 2 script_error, 1 corrupt" in run("list").stderr


def test_a_message_of_an_earlier_version_is_listed_beside_those_of_today() -> None:
    earlier = {"image_id": "image-02", "status": "rejected", "reason": "truncated: the file ends early"}
    client("sqs").send_message(QueueUrl=QUEUE_URL, MessageBody=json.dumps(earlier))
    send(letter(1))

    assert {(one["image_id"], one["code"]) for one in listed()} == {
        ("image-01", "script_error"),
        ("image-02", "truncated"),
    }


def test_an_id_that_no_message_has_is_said() -> None:
    send(letter(1))

    assert "image-09: no message has this id" in run("list", "image-09", code=3).stderr
    assert "image-09: no message has this id" in run("show", "image-01", "image-09", code=3).stderr


def test_a_message_is_shown_whole_and_with_what_can_be_done() -> None:
    send(letter(1))

    shown = run("show", "image-01").stdout

    assert '"reason": "script_error: as the test says"' in shown
    assert "To do: correct the cause, and run imagelake dead-letters redrive " in shown


IMAGE_ID = str(uuid.uuid4())
ARRIVAL = {
    "detail-type": "Object Created",
    "source": "aws.s3",
    "detail": {"object": {"key": f"raw/ingest_date=2026-11-22/hour=09/{IMAGE_ID}"}},
}
RESULT_OF_TASK = ARRIVAL | {
    "detail": {"object": {"key": f"derived/ingest_date=2026-11-22/hour=09/{IMAGE_ID}/v1/result.json"}}
}
UNREAL = f"raw/ingest_date=2026-13-45/hour=99/{IMAGE_ID}"
ERASURE = {"requestContext": {"functionArn": "arn:aws:lambda:…:lake-EraseImageFunction-1"}, "DDBStreamBatchInfo": {}}
UNPUT = ERASURE | {"requestContext": {"functionArn": "arn:aws:lambda:…:lake-PublishOutcomesFunction-1"}}
KEPT = {"image_id": None, "status": "failed", "reason": "given_up: too old", "kept_at": "s3://kept/given-up/1"}
EVENTS: list[tuple[Any, str, str]] = [
    (ARRIVAL, "object_created", "Object Created"),
    (RESULT_OF_TASK, "object_created", "Object Created"),
    (ARRIVAL | {"detail": {"object": {"key": "given-up/1.json"}}}, "object_created", "Object Created"),
    ({"source": "aws.scheduler"}, "schedule", "aws.scheduler"),
    ({"version": "1.0", "DDBStreamBatchInfo": {}}, "stream_batch", "version, DDBStreamBatchInfo"),
    (ERASURE, "stream_batch", "requestContext, DDBStreamBatchInfo"),
    (UNPUT, "stream_batch", "requestContext, DDBStreamBatchInfo"),
    (ARRIVAL | {"detail": {"object": {"key": UNREAL}}}, "object_created", "Object Created"),
    ({"image_id": "b", "key": "raw/by hand", "reason": "fault: x"}, "fault", "fault: x"),
    (KEPT, "given_up", "given_up: too old"),
    ({"image_id": "a", "status": "failed", "reason": "unreadable_item: x"}, "unreadable_item", "unreadable_item: x"),
    ({"image_id": "image-77"}, "erasure", "image_id"),
    ({"source": "image-lake", "detail-type": "ImageRejected"}, "image_rejected", "ImageRejected"),
    ({}, "schedule", "an event that says nothing"),
    ([1], "unknown", "an event that says nothing"),
]  # fmt: skip
ADVISED = {
    "object_created": {"started again", "send the Kafka records of that object again", "send the file through a door"},
    "fault": {"send the file through a door"},
    "schedule": {"the next run does what this one did not"},
    "stream_batch": {"imagelake catalog rebuild --all", "erase the images again", "imagelake events publish"},
    "erasure": {"reconcile has it repeated by the hour"},
    "image_rejected": {"the API and SQL say so"},
    "given_up": {"send the Kafka record that is at kept_at again"},
    "unreadable_item": {"report it"},
    "unknown": {"imagelake dead-letters show"},
}


def send_events() -> None:
    for event, _, _ in EVENTS:
        client("sqs").send_message(QueueUrl=QUEUE_URL, MessageBody=json.dumps(event))
    client("sqs").send_message(QueueUrl=QUEUE_URL, MessageBody="no JSON")


def test_an_event_that_is_no_message_of_ours_is_listed_as_what_it_is() -> None:
    send_events()

    lines = run("list").stdout.splitlines()

    assert sorted(line.rpartition("  ")[2] for line in lines) == sorted(
        [*(shown for _, _, shown in EVENTS), "an event that says nothing"]
    )
    codes = Counter(one["code"] for one in listed())
    assert codes == Counter([*(code for _, code, _ in EVENTS), "unknown"])
    assert {one["image_id"] for one in listed("--code", "object_created")} == {IMAGE_ID, None}


def test_of_every_kind_of_message_it_is_said_what_can_be_done_and_it_is_done_where_a_redrive_can(
    redriving: Redriving,
) -> None:
    send_events()

    result = run("redrive", "--all", "--yes", code=3)

    assert redriving.started == [IMAGE_ID], "two events of one image, and one start"
    said = [line.split("  ", 3)[2:] for line in result.stdout.splitlines()]
    for code, sentences in ADVISED.items():
        for sentence in sentences:
            assert any(code == one and sentence in words for one, words in said), (code, sentence)
    assert len(listed()) == len(EVENTS) + 1 - 2


@pytest.mark.parametrize("command", ["redrive", "drop"])
def test_without_yes_it_is_said_what_would_happen_and_nothing_does(command: str, redriving: Redriving) -> None:
    redriving.results = {"image-03": "final"}
    send(*(letter(number, "corrupt" if number == 3 else "script_error") for number in range(12)))

    result = run(command, "--all", code=3 if command == "redrive" else 0)

    would = "can be redriven" if command == "redrive" else "would be deleted"
    assert f"11  script_error: {would}" in result.stderr
    assert "12 messages; nothing was done, --yes does it" in result.stderr
    assert (redriving.started, len(images_left())) == ([], 12)


def test_a_message_is_deleted_when_its_image_was_started_and_no_other_is(redriving: Redriving) -> None:
    kept = {
        "image-01": "final",
        "image-02": "unknown",
        "image-03": "gone",
        "image-04": "changed",
        "image-05": "waiting",
    }
    redriving.results = kept | {"image-06": "processed"}
    send(*(letter(number) for number in range(1, 30)))

    result = run("redrive", "--code", "script_error", "--yes", "--json", code=3)

    told = {one["image_id"]: one["result"] for one in map(json.loads, result.stdout.splitlines())}
    assert (len(told), {name: told[name] for name in kept}) == (29, kept)
    assert images_left() == sorted(kept)
    assert sorted(redriving.started) == sorted(told.keys() - redriving.results.keys())


@pytest.mark.parametrize(
    "key", ["raw/ingest_date=2026-11-22/hour=09/{}", "derived/ingest_date=2026-11-22/hour=09/{}/v1/result.json"]
)
def test_the_image_of_a_message_that_names_its_object_is_started_by_its_key_whatever_is_known_of_it(
    key: str, monkeypatch: pytest.MonkeyPatch, redriving: Redriving
) -> None:
    """By its image_id, an image whose item is missing is unknown, and one that is awaited waits for `reconcile`."""
    monkeypatch.setattr(redriving, "redrive", lambda image_ids, **_: [[]] if not image_ids else pytest.fail(image_ids))
    keys: list[str] = []
    start = redriving.start_arrivals

    def start_and_note(some: Sequence[str], *, dry_run: bool) -> Iterator[list[Redriven]]:
        keys.extend(some)
        return start(some, dry_run=dry_run)

    monkeypatch.setattr(redriving, "start_arrivals", start_and_note)
    about = of_image(IMAGE_ID, "fault: SlowDown on PutItem").model_copy(update={"key": key.format(IMAGE_ID)})
    send(about)
    client("sqs").send_message(QueueUrl=QUEUE_URL, MessageBody=json.dumps(ARRIVAL))

    assert [one["can_be_redriven"] for one in listed()] == [True, True]
    run("redrive", "--all", "--yes")

    assert (keys, images_left()) == ([f"raw/ingest_date=2026-11-22/hour=09/{IMAGE_ID}"], [])


def test_both_messages_of_an_image_go_with_one_start(redriving: Redriving) -> None:
    send(letter(1), *(letter(number) for number in range(10, 25)), letter(1, "fault"))

    run("redrive", "image-01", "--yes")

    assert (redriving.started, len(images_left())) == (["image-01"], 15)


def test_an_image_that_fails_again_at_once_is_started_once_and_its_new_message_stays(redriving: Redriving) -> None:
    redriving.fails_again = {"image-01"}
    send(letter(1))

    run("redrive", "--all", "--yes")

    assert redriving.started == ["image-01"]
    assert [(one["image_id"], one["code"]) for one in listed()] == [("image-01", "fault")]


def test_what_dies_half_way_keeps_every_message_that_was_not_started_and_goes_on(redriving: Redriving) -> None:
    send(*(letter(number) for number in range(40)))
    redriving.dies_at = "image-25"

    said = run("redrive", "--all", "--yes", code=1)

    assert "SlowDown on StartExecution" in said.stderr
    left = images_left()
    assert {f"image-{number:02}" for number in range(40)} == set(left) | set(redriving.started)
    redriving.dies_at = None
    # Of the ten that were under way, some were started; the function says that they are processed by now.
    redriving.results = dict.fromkeys(redriving.started, "processed")
    run("redrive", "--all", "--yes")

    assert images_left() == []
    assert Counter(redriving.started) == {f"image-{number:02}": 1 for number in range(40)}


def test_a_message_that_sqs_does_not_delete_is_said_and_shown_again(
    redriving: Redriving, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(letter(1))
    failed = {"Failed": [{"Id": "0", "SenderFault": False, "Code": "InternalError"}]}
    with monkeypatch.context() as patch:
        patch.setattr(client("sqs"), "delete_message_batch", lambda **_: failed)
        result = run("redrive", "--all", "--yes", code=3)

    assert "it is still there" in result.stderr
    assert redriving.started == ["image-01"]


def test_a_message_that_somebody_else_reads_meanwhile_is_neither_started_nor_deleted(
    redriving: Redriving, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(letter(1), letter(2))
    both = DeadLetterQueue(client("sqs"), QUEUE_URL).letters()
    [taken] = client("sqs").receive_message(QueueUrl=QUEUE_URL, VisibilityTimeout=600)["Messages"]
    monkeypatch.setattr(DeadLetterQueue, "letters", lambda _: both)

    result = run("redrive", "--all", "--yes", code=3)

    assert f"{taken['MessageId']}: it is still there, or somebody else is reading it" in result.stderr
    assert "About 1 more are hidden" in result.stderr
    assert len(redriving.started) == 1


def test_messages_are_dropped_by_code_and_nothing_is_started(redriving: Redriving) -> None:
    send(*(letter(number, "corrupt" if number % 2 else "fault") for number in range(20)))

    result = run("drop", "--code", "corrupt", "--yes")

    assert "10  corrupt: deleted" in result.stderr
    assert images_left() == [f"image-{number:02}" for number in range(0, 20, 2)]
    assert redriving.started == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["redrive"], "give ids, --code, --since or --until; or --all"),
        (["drop", "--yes"], "give ids, --code, --since or --until; or --all"),
        (["drop", "--all", "--code", "fault"], "or --all"),
        (["list", "--since", "1h", "--until", "2h"], "must not be after --until"),
        (["list", "--since", "yesterday"], "is neither a time with its zone"),
        (["list", "--since", "2026-11-22T09:00:00"], "is neither a time with its zone"),
        (["show"], "Missing argument"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], said: str) -> None:
    send(letter(1))

    assert said in " ".join(run(*arguments, code=2).stderr.replace("│", " ").split())
    assert images_left() == ["image-01"]


def test_the_group_alone_says_what_to_type() -> None:
    said = run(code=2).output

    assert all(command in said for command in ("list", "show", "redrive", "drop"))
