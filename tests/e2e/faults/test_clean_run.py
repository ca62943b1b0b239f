"""A deployed lake without a fault: no alarm rings, and what is emitted, registered, drawn and watched is the same.

It comes first on the lake that `test_faults.py` then injects faults into. `make test` sends some sixty images, `make
alarms` as many as it is told.
"""

from datetime import UTC, datetime
from itertools import batched
from typing import Final

import pytest

from local.lake import Lake
from tests.application import resources
from tests.e2e.conftest import invoke
from tests.e2e.faults import hours, metered
from tests.e2e.faults import ledger as books
from tests.e2e.faults.doors import Accepted, Erasures, api_of_operator, through_api, through_kafka
from tests.e2e.faults.injection import wait, wait_until_idle
from tests.e2e.faults.pictures import painted

PARTS: Final = 5
"""After each of which the alarms are looked at."""
NOT_HERE: Final = {"ExpectsImages", "ShiftsInSteps"}
"""Conditions of alarms that a stack has where it is asked for them."""
EXPECTED: Final = sorted(
    name
    for kind in ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
    for name, one in resources(kind).items()
    if one.get("Condition") not in NOT_HERE
)
UNSEEN: Final = {
    *("ImagesRejected", "ImagesFailed", "ImagesRedriven", "DuplicatesAbsorbed", "LaterVersions"),
    *("EngineAnswersInvalid", "EnvironmentsGivenUp", "ScriptFailures", "ScriptFailuresOfAllVersions"),
    *("ImagesErased", "ObjectsPurged"),  # half an hour later, and after seven days
}
"""What nothing emits while all is well."""


class _NoErasures(Erasures):
    def ask(self, image_id: str) -> None:
        """An image that is erased while it is processed may end as a dead letter."""


def alarms(lake: Lake) -> dict[str, str]:
    """The states of all alarms of the stack and its nested stacks."""
    found = lake.client("cloudwatch").get_paginator("describe_alarms")
    pages = found.paginate(AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    return {
        one["AlarmName"]: one["StateValue"]
        for page in pages
        for one in (*page["MetricAlarms"], *page["CompositeAlarms"])
    }


def ringing(lake: Lake) -> set[str]:
    return {name for name, state in alarms(lake).items() if state != "OK"}


@pytest.mark.timeout(0)
def test_every_alarm_is_quiet_while_images_flow(lake: Lake, images: int, seed: int) -> None:
    hours.purge(lake)
    assert hours.audit(lake) == []
    wait(lake, lambda: ringing(lake), lambda rung: not rung)  # nobody had looked, until now

    accepted: Accepted = {}
    rung = set[str]()
    for some in batched(painted(images, seed), -(-images // PARTS), strict=False):
        messages = through_kafka(lake, some[1::2], datetime.now(UTC))
        accepted |= messages | through_api(lake, some[::2], _NoErasures())
        books.wait_until_taken(lake, messages)
        rung |= ringing(lake)
    wait_until_idle(lake)
    rung |= ringing(lake)
    statuses = [one["status"] for one in books.items(lake, accepted).values()]
    assert statuses == ["processed"] * images

    erasures = Erasures()
    erasures.door = api_of_operator(lake)
    erasures.ask_all(sorted(accepted)[:PARTS])
    for function in ("ReconcileFunction", "CompactCatalogFunction"):
        invoke(lake, function, {})
    hours.purge(lake)
    assert hours.audit(lake) == []
    wait_until_idle(lake)

    rung |= ringing(lake)
    for expected in EXPECTED:
        assert [name for name in alarms(lake) if f"-{expected}-" in name], expected
    assert rung == set()


def test_what_is_emitted_is_registered_drawn_and_watched_by_the_same_names(lake: Lake) -> None:
    metered.check(lake, unseen=UNSEEN)
