"""What an attacker who has got hold of the engine can make of one image: nothing but a rejection, or its own columns.

Every answer goes through the real workflow, with the engine's function in the attacker's hand: it gets the order as
the real one does, may store what the order allows, and says what it likes.
"""

import copy
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer

from functions.process_image.app import handler as engine
from imagelake.engine import transfer
from imagelake.engine.contract import EngineOrder
from imagelake.errors import Fault
from imagelake.keys import ArrivalHour, ImageVersion, RawKey
from imagelake.model import Arrival, AwaitedUpload
from imagelake.stores.images_table import ImagesTable
from local.samples import make_samples
from tests.conftest import GivePipelines
from tests.integration.conftest import (
    IMAGES_TABLE,
    LAKE_BUCKET,
    RAW_BUCKET,
    Context,
    client,
    created,
    dead_letters_sent,
)
from tests.integration.presigned import PresignedS3
from tests.workflow import Workflow

NOW = datetime.now(UTC)
HOUR = ArrivalHour.of(NOW)
KEY = RawKey(HOUR, "01a20297-8952-7c11-9d0a-5b1f3c2e4d6f")
VICTIM = RawKey(HOUR, "01a20297-8952-7c11-9d0a-000000000000")
ARRIVAL = Arrival(source="api", source_ref="0f4e1c9b", uploader="attacker", tags={"trip": "north face"})
HILLS = next(sample for sample in make_samples() if sample.filename == "hills.jpg")

TRUSTED = (
    "image_id", "source", "source_ref", "uploader", "received_at", "expires_at", "expiry_shard", "bytes",
    "content_type", "tags", "ingest_date", "hour", "version_id",
)  # fmt: skip
"""What the engine must not be able to say."""

type Answer = dict[str, Any]
type Forge = Callable[[Answer], Any]


def item(image_id: str) -> dict[str, Any]:
    stored = client("dynamodb").get_item(TableName=IMAGES_TABLE, Key={"image_id": {"S": image_id}}).get("Item", {})
    return {name: TypeDeserializer().deserialize(value) for name, value in stored.items()}


@pytest.fixture
def honest(workflow: Workflow) -> dict[str, Any]:
    """The item that an honest engine makes; its image stays."""
    put(KEY)
    workflow.run(created(str(KEY)))
    made = item(KEY.image_id)
    assert made["status"] == "processed"
    client("dynamodb").delete_item(TableName=IMAGES_TABLE, Key={"image_id": {"S": KEY.image_id}})
    return made


def put(key: RawKey) -> ImageVersion:
    stored = client("s3").put_object(
        Bucket=RAW_BUCKET,
        Key=str(key),
        Body=HILLS.content,
        ContentType=HILLS.content_type,
        Metadata=ARRIVAL.to_metadata(),
    )
    return ImageVersion(key, stored["VersionId"])


def forged(workflow: Workflow, forge: Forge) -> None:
    """Have the engine do its work, and say what `forge` makes of its answer."""
    workflow.functions = dict(workflow.functions) | {
        "process_image": lambda order: forge(copy.deepcopy(engine(order, Context("process_image"))))
    }
    workflow.run(created(str(KEY)))


def setting(*path: str | int, to: Any) -> Forge:
    def forge(answer: Answer) -> Answer:
        *ways, last = path
        place: Any = answer
        for way in ways:
            place = place[way]
        place[last] = to
        return answer

    return forge


def doubled(answer: Answer) -> Answer:
    answer["derivatives"].append(answer["derivatives"][0])
    return answer


def many(answer: Answer) -> Answer:
    answer["derivatives"] = [answer["derivatives"][0] | {"name": f"thumb_{number}"} for number in range(17)]
    return answer


def nested(levels: int) -> list[Any]:
    deep: list[Any] = []
    for _ in range(levels):
        deep = [deep]
    return deep


NOT_BELIEVED: dict[str, Forge] = {
    # Whose image it is, and what becomes of it
    "another image_id": setting("image_id", to=VICTIM.image_id),
    "another uploader": setting("uploader", to="somebody-else"),
    "another source": setting("source", to="drones"),
    "another hour": setting("hour", to="00"),
    "another expiry": setting("expires_at", to="9999-01-01T00:00:00Z"),
    "a whole item": setting("item", to={"image_id": {"S": VICTIM.image_id}}),
    "facts": setting("facts", to={"image_id": VICTIM.image_id}),
    "a foreign status": setting("status", to="erased"),
    "a failed status": setting("status", to="failed"),
    "an awaited status": setting("status", to="awaiting_upload"),
    "no status": lambda answer: {name: value for name, value in answer.items() if name != "status"},
    "a large image without a task": lambda _: {"status": "large"},
    # Not an answer at all
    "nothing": lambda _: None,
    "a text": lambda _: "processed",
    "a list": lambda answer: [answer],
    "an empty object": lambda _: {},
    "an outcome of an earlier version": lambda _: {"outcome": "processed", "item": {}},
    # Numbers and texts
    "a width that is not a number": setting("header", "width", to=float("nan")),
    "an endless width": setting("header", "width", to=float("inf")),
    "a width of 2**31": setting("header", "width", to=1 << 31),
    "a width over the limit": setting("header", "width", to=123_456),
    "a width of none": setting("header", "width", to=0),
    "a width in words": setting("header", "width", to="1600"),
    "an orientation of 9": setting("header", "orientation", to=9),
    "a format that is none": setting("header", "format", to="XYZ"),
    "a mode of a page": setting("header", "mode", to="R" * 5_000),
    "brightness that is not a number": setting("columns", "brightness", to=float("nan")),
    "brightness over what an item holds": setting("columns", "brightness", to=1e300),
    "a place beyond the pole": setting("columns", "gps_lat", to=91),
    "a huge camera": setting("columns", "camera_make", to="x" * 230_000),
    "a column of others": setting("columns", "reason", to="none"),
    "a time in words": setting("columns", "taken_at", to="yesterday"),
    "the output of a script that is none": setting("script_output", to={"backdoor": {"a": 1}}),
    "output that is not JSON": setting("script_output", to={"describe": {"a": float("nan")}}),
    "output without end": setting("script_output", to={"describe": {"a": nested(60)}}),
    "output deeper than JSON is read": setting("script_output", to={"describe": {"a": nested(400)}}),
    "half a character": setting("script_output", to={"describe": {"a": "\ud800"}}),
    "more versions than scripts": setting("script_version", to="a" * 12 + "," + "b" * 12 + "," + "c" * 12),
    "versions that are none": setting("script_version", to="latest,latest"),
    "other bytes": setting("bytes", to=1),
    "a hash that is none": setting("sha256", to="0" * 63),
    "as much as a step takes": lambda answer: answer | {"x": "x" * (262_100 - len(json.dumps(answer)))},
    "more than a step takes": setting("script_output", to={"describe": {"a": "x" * 300_000}}),
    # Derivatives
    "a key of its own": setting("derivatives", 0, "key", to=ImageVersion(VICTIM, "1").derived("thumb_256", "jpg")),
    "another bucket": setting("derivatives", 0, "bucket", to="somebody-elses"),
    "a folder above": setting("derivatives", 0, "name", to="../1/thumb_256"),
    "a folder of another image": setting("derivatives", 0, "name", to=f"../../{VICTIM.image_id}/1/thumb_256"),
    "a folder below": setting("derivatives", 0, "name", to="a/b"),
    "an absolute name": setting("derivatives", 0, "name", to="/thumb_256"),
    "an escaped name": setting("derivatives", 0, "name", to="%2e%2e%2fthumb"),
    "a name with a line": setting("derivatives", 0, "name", to="thumb\n"),
    "a page": setting("derivatives", 0, "extension", to="html"),
    "the order as a derivative": setting("derivatives", 0, "extension", to="json"),
    "another type of content": setting("derivatives", 0, "content_type", to="text/html"),
    "one of another size": setting("derivatives", 0, "bytes", to=1),
    "one of no size": setting("derivatives", 0, "bytes", to=0),
    "one of negative size": setting("derivatives", 0, "bytes", to=-1),
    "one of huge size": setting("derivatives", 0, "bytes", to=33_000_000),
    "one of huge sides": setting("derivatives", 0, "width", to=20_000),
    "one twice": doubled,
    "too many": many,
    # Reasons
    "a reason that is none": lambda answer: rejected(answer, code="because"),
    "a reason without end": lambda answer: rejected(answer, detail="x" * 601),
    "a reason of two lines": lambda answer: rejected(answer, detail="one\ntwo"),
    "a reason of none": lambda answer: rejected(answer, detail=""),
    "a fault": lambda answer: rejected(answer, code="fault"),
}


def rejected(answer: Answer, **changes: Any) -> Answer:
    said = {name: answer[name] for name in ("sha256", "script_version")}
    return said | {"status": "rejected", "code": "truncated", "detail": "the file ends early"} | changes


@pytest.mark.parametrize("name", NOT_BELIEVED)
def test_a_forged_answer_is_a_rejection_with_the_trusted_facts(
    name: str, workflow: Workflow, honest: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    forged(workflow, NOT_BELIEVED[name])

    made = item(KEY.image_id)
    assert (made["status"], made["reason"].partition(":")[0]) == ("rejected", "engine_answer_invalid")
    assert {field: made.get(field) for field in TRUSTED} == {field: honest.get(field) for field in TRUSTED}
    assert made.keys() <= {*TRUSTED, "status", "reason", "processed_at", "derivatives"}
    assert made["derivatives"] == []
    assert item(VICTIM.image_id) == {}
    assert dead_letters_sent() == []
    assert '"EngineAnswersInvalid":[1.0]' in capsys.readouterr().out


def test_an_answer_nested_deeper_than_json_is_written_is_not_believed(workflow: Workflow) -> None:
    put(KEY)
    closes = workflow.functions["close_image"]
    deep = nested(60_000)
    workflow.functions = dict(workflow.functions) | {"close_image": lambda event: closes(event | {"answer": deep})}

    workflow.run(created(str(KEY)))

    made = item(KEY.image_id)
    assert (made["status"], made["reason"].partition(":")[0]) == ("rejected", "engine_answer_invalid")
    assert dead_letters_sent() == []


@pytest.mark.parametrize(
    ("forge", "columns"),
    [
        (setting("columns", "dominant_color", to="#000000"), {"dominant_color": "#000000"}),
        (setting("derivatives", to=[]), {"derivatives": []}),
        (setting("header", "mode", to="L"), {"mode": "L"}),
        (setting("sha256", to="0" * 64), {"sha256": "0" * 64}),
    ],
    ids=["a colour", "no derivatives", "a mode", "a hash that nobody gave"],
)
def test_what_the_engine_may_lie_about_is_what_it_measures_of_its_own_image(
    forge: Forge, columns: dict[str, Any], workflow: Workflow, honest: dict[str, Any]
) -> None:
    forged(workflow, forge)

    made = item(KEY.image_id)
    assert {name: made[name] for name in made if name != "processed_at"} == {
        name: value for name, value in (honest | columns).items() if name != "processed_at"
    }


def test_a_rejection_that_is_a_lie_is_one_with_the_trusted_facts(workflow: Workflow, honest: dict[str, Any]) -> None:
    forged(workflow, rejected)

    made = item(KEY.image_id)
    assert (made["status"], made["reason"]) == ("rejected", "truncated: the file ends early")
    assert {field: made.get(field) for field in TRUSTED} == {field: honest.get(field) for field in TRUSTED}


@pytest.mark.parametrize(
    "forge", [setting("derivatives", 0, "name", to="thumb_9999"), setting("derivatives", 0, "extension", to="png")]
)
def test_a_derivative_that_was_never_stored_is_not_believed_and_ends_as_a_failure(
    forge: Forge, workflow: Workflow, capsys: pytest.CaptureFixture[str]
) -> None:
    put(KEY)

    forged(workflow, forge)

    (letter,) = dead_letters_sent()
    made = item(KEY.image_id)
    assert (made["status"], made["reason"]) == ("failed", "fault: NoSuchKey on HeadObject")
    assert (letter["status"], letter["reason"]) == ("failed", made["reason"])
    assert "EngineAnswersInvalid" not in capsys.readouterr().out


def test_an_image_is_checked_against_the_scripts_and_limits_it_was_ordered_with(
    workflow: Workflow, give_pipelines: GivePipelines
) -> None:
    put(KEY)
    workflow.before = lambda state: (
        give_pipelines(limits={"max_side": 1}, default={"scripts": ["describe", "redact", "thumbnails"]})
        if state == "Close image"
        else None
    )

    workflow.run(created(str(KEY)))

    made = item(KEY.image_id)
    assert (made["status"], made["script"]) == ("processed", "describe,thumbnails")


def test_somebody_else_s_awaited_upload_stays_awaited(workflow: Workflow) -> None:
    """Tried on the design before: an item for it under the attacker's name."""
    upload = AwaitedUpload(
        image_id=VICTIM.image_id,
        uploader="victim",
        received_at=NOW,
        expires_at=NOW.replace(year=NOW.year + 1),
        content_type="image/jpeg",
        ingest_date=HOUR.ingest_date,
        hour=HOUR.hour,
    )
    ImagesTable(IMAGES_TABLE).expect_uploads([upload])
    before = item(VICTIM.image_id)
    put(KEY)
    secret = {"image_id": {"S": VICTIM.image_id}, "status": {"S": "processed"}, "uploader": {"S": "attacker"}}

    forged(workflow, lambda answer: answer | {"outcome": "processed", "item": secret})

    assert item(VICTIM.image_id) == before
    assert item(KEY.image_id)["status"] == "rejected"


def test_an_answer_of_random_damage_never_reaches_the_trusted_facts(
    workflow: Workflow, honest: dict[str, Any], logs: StringIO
) -> None:
    chance = random.Random(11)  # noqa: S311  # no secret
    values: list[Any] = [
        None,
        "",
        "x" * 500,
        -1,
        0,
        1 << 40,
        1e300,
        float("nan"),
        [],
        {},
        True,
        "../x",
        VICTIM.image_id,
    ]
    seen = {"processed": 0, "rejected": 0, "failed": 0}

    for _ in range(150):
        forged(workflow, lambda answer: damaged(answer, chance, values))
        made = item(KEY.image_id)
        assert made["status"] in seen, made["reason"]
        seen[made["status"]] += 1
        if made["status"] == "failed":
            assert made["reason"] == "fault: NoSuchKey on HeadObject"
        else:
            assert {field: made.get(field) for field in TRUSTED} == {field: honest.get(field) for field in TRUSTED}
        for derivative in made.get("derivatives", []):
            assert derivative["key"].startswith(ImageVersion(KEY, made["version_id"]).prefix)
        client("dynamodb").delete_item(TableName=IMAGES_TABLE, Key={"image_id": {"S": KEY.image_id}})

    assert item(VICTIM.image_id) == {}
    assert seen["rejected"] > 100
    assert VICTIM.image_id not in logs.getvalue()


def damaged(answer: Answer, chance: random.Random, values: list[Any]) -> Answer:
    """The answer with one to three of its values, at whatever depth, replaced, added or taken out."""
    for _ in range(chance.randint(1, 3)):
        places = list(_places(answer))
        place = chance.choice(places)
        names = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not names or chance.random() < 0.2:
            if isinstance(place, dict):
                place[chance.choice(["key", "image_id", "uploader", "extra"])] = copy.deepcopy(chance.choice(values))
        elif isinstance(place, dict) and chance.random() < 0.2:
            del place[chance.choice(names)]
        else:
            place[chance.choice(names)] = copy.deepcopy(chance.choice(values))
    return answer


def _places(value: Any) -> Any:
    if isinstance(value, dict | list):
        yield value
        for one in list(value.values()) if isinstance(value, dict) else value:
            yield from _places(one)


# What the order itself allows


@pytest.fixture
def order(workflow: Workflow, presigned: PresignedS3) -> EngineOrder:  # noqa: ARG001  # it answers the requests
    """The order for an image of the attacker's."""
    put(KEY)
    return EngineOrder.model_validate(workflow.functions["open_image"]({"key": str(KEY)})["order"])


@pytest.mark.parametrize(
    ("key", "content_type", "size"),
    [
        (ImageVersion(VICTIM, "1").derived("thumb_256", "jpg"), "image/jpeg", 10),
        (f"derived/{HOUR.path}/{KEY.image_id}/another-version/thumb_256.jpg", "image/jpeg", 10),
        (f"catalog/{HOUR.path}/rows.parquet", "image/jpeg", 10),
        (str(KEY), "image/jpeg", 10),
        ("{prefix}page.html", "text/html", 10),
        ("{prefix}result.json", "application/json", 10),
        ("{prefix}thumb_256.jpg", "image/jpeg", 32_000_001),
        ("{prefix}thumb_256.jpg", "image/jpeg", 0),
    ],
)
def test_the_form_takes_nothing_but_images_of_a_size_in_the_image_s_own_folder(
    key: str, content_type: str, size: int, order: EngineOrder
) -> None:
    with pytest.raises(Fault, match=r"^status 40[03] on POST$"):
        transfer.store(order.form, key.replace("{prefix}", order.prefix), b"x" * size, content_type)

    assert client("s3").list_objects_v2(Bucket=LAKE_BUCKET).get("KeyCount") == 0


def test_an_order_names_no_credentials_and_nothing_of_who_sent_the_image(order: EngineOrder) -> None:
    text = order.model_dump_json()

    assert not [word for word in ("attacker", "north face", "0f4e1c9b", "testing-secret") if word in text]


def test_the_image_s_url_opens_no_other_version(order: EngineOrder) -> None:
    put(KEY)

    assert transfer.fetch(order.image_url) == HILLS.content
    listed = client("s3").list_object_versions(Bucket=RAW_BUCKET, Prefix=str(KEY))["Versions"]
    assert f"versionId={listed[-1]['VersionId']}" in order.image_url
    assert json.loads(order.model_dump_json())["bytes"] == len(HILLS.content)
