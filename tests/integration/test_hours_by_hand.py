"""Objects that somebody puts by hand under an hour that is not now: nothing of them is kept beyond its time."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from imagelake.keys import CLOCK_SKEW, ArrivalHour, RawKey
from imagelake.retention.purge import Purge
from imagelake.settings import load
from tests.integration.conftest import (
    IMAGES_TABLE,
    LAKE_BUCKET,
    RAW_BUCKET,
    Context,
    client,
    created,
    dead_letters_sent,
)
from tests.integration.test_retention import item, kept
from tests.unit.pictures import encoded, photo
from tests.workflow import Workflow

NOW = datetime.now(UTC)
DAYS = timedelta(days=7)
IN_2031 = ArrivalHour("2031-01-01", "00")
NEXT = ArrivalHour.of(NOW + CLOCK_SKEW + timedelta(hours=1))
DUE = ArrivalHour.of(NOW - DAYS - timedelta(hours=3))
NEARLY_DUE = ArrivalHour.of(NOW - DAYS)

type PurgeAt = Callable[[datetime], None]


@pytest.fixture
def purge_at(tell: Callable[[str], Context]) -> PurgeAt:
    """A whole run of the purge, as of a time."""

    def run(now: datetime) -> None:
        tell("enforce_retention")
        purge = load(Purge)
        for work in purge.find_work(now):
            assert purge.run(work, now, 60).finished

    return run


def put_by_hand(hour: ArrivalHour, workflow: Workflow) -> tuple[RawKey, list[str]]:
    """Put a picture under an hour; its key, and the states that its event led to."""
    key = RawKey(hour, str(uuid4()))
    client("s3").put_object(Bucket=RAW_BUCKET, Key=str(key), Body=encoded(photo()), ContentType="image/jpeg")
    return key, workflow.run(created(str(key)))


@pytest.mark.parametrize("hour", [IN_2031, NEXT, DUE], ids=["2031", "next", "due"])
def test_an_object_under_an_hour_that_has_not_begun_or_is_due_is_not_processed(
    hour: ArrivalHour, workflow: Workflow
) -> None:
    key, states = put_by_hand(hour, workflow)

    assert states == ["Identify image", "Open image", "Check decision", "Finish"]
    assert item(key.image_id) is None
    assert kept(LAKE_BUCKET) == []
    assert dead_letters_sent() == []


def test_an_object_under_an_hour_that_has_not_begun_goes_by_its_own_age(workflow: Workflow, purge_at: PurgeAt) -> None:
    key, _ = put_by_hand(IN_2031, workflow)
    stored = client("s3").head_object(Bucket=RAW_BUCKET, Key=str(key))["LastModified"]

    purge_at(stored + DAYS - timedelta(minutes=1))
    assert kept(RAW_BUCKET) == [str(key)]
    purge_at(stored + DAYS)
    assert kept(RAW_BUCKET) == []


def test_an_hour_is_empty_a_day_before_it_begins(workflow: Workflow, purge_at: PurgeAt) -> None:
    """Else what was put there days ahead would be kept until its hour is due, days longer than promised."""
    hour = ArrivalHour.of(NOW + timedelta(days=5))
    key, _ = put_by_hand(hour, workflow)

    purge_at(hour.start - timedelta(days=1, minutes=1))
    assert kept(RAW_BUCKET) == [str(key)]
    purge_at(hour.start - timedelta(days=1))
    assert kept(RAW_BUCKET) == []


def test_a_purge_as_of_an_earlier_time_spares_what_has_arrived_since(workflow: Workflow, purge_at: PurgeAt) -> None:
    key, _ = put_by_hand(ArrivalHour.of(NOW), workflow)

    purge_at(NOW - timedelta(hours=20))

    assert kept(RAW_BUCKET) == [str(key)]
    assert len(kept(LAKE_BUCKET)) == 2


def test_an_object_under_an_hour_that_is_due_goes_with_the_next_purge(workflow: Workflow, purge_at: PurgeAt) -> None:
    put_by_hand(DUE, workflow)

    purge_at(NOW)

    assert kept(RAW_BUCKET) == kept(LAKE_BUCKET) == []


def test_an_object_under_an_hour_that_is_soon_due_is_kept_as_long_as_that_hour(
    workflow: Workflow, purge_at: PurgeAt
) -> None:
    """Its redrives and derivatives, too: whatever is made of it is younger, and filed under the same hour."""
    key, _ = put_by_hand(NEARLY_DUE, workflow)
    ends = NEARLY_DUE.closed_at + DAYS

    stored = item(key.image_id)
    assert stored is not None
    assert (stored["status"]["S"], int(stored["expires_at"]["N"])) == ("processed", int(ends.timestamp()))
    assert len(kept(LAKE_BUCKET)) == 2

    purge_at(ends - timedelta(minutes=1))
    assert kept(RAW_BUCKET) == [str(key)]
    purge_at(ends)
    assert kept(RAW_BUCKET) == kept(LAKE_BUCKET) == []
    assert client("dynamodb").scan(TableName=IMAGES_TABLE)["Items"] == []
