"""A deployed lake under faults that a seed draws: what it has accepted is cataloged or reported, once, and right.

After its days it goes, and what was erased goes at once.

`make test` sends some sixty images, `make faults` as many as it is told. A failure prints the seed, the plans and every
fault that was injected: the same seed has the same faults again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from local.emulator.faults import KINDS, Plan
from local.lake import Lake
from tests.e2e.conftest import Listener, listening
from tests.e2e.faults import hours
from tests.e2e.faults import ledger as books
from tests.e2e.faults.doors import Accepted, Erasures, api_of_operator, through_api, through_kafka
from tests.e2e.faults.injection import Clock, held_stream, injected, wait_until_idle
from tests.e2e.faults.ledger import Ledger
from tests.e2e.faults.pictures import CLAIM, Picture, pictures

RATES = {"workflow": 0.12, "sdk": 0.06, "door": 0.1, "event": 0.2, "stream": 0.3, "worker": 0.06}
STUBBORN = 0.25
YOUNGER = 3
"""One of so many images arrives when the others are hours old, and keeps its days when they are purged."""
STREAM_KEEPS = timedelta(hours=24)
JUST_BEFORE = timedelta(minutes=20)


@dataclass
class Run:
    """One run: the lake and its clock, what is counted, and whatever was erased or went wrong until now."""

    clock: Clock
    ledger: Ledger
    erasures: Erasures
    listener: Listener
    faults: set[str] = field(default_factory=set)

    @property
    def lake(self) -> Lake:
        return self.clock.lake

    def send(self, sent: Sequence[Picture], plan: Plan) -> Accepted:
        """Send images through both doors under faults; gives those that nobody has had erased."""
        print(plan)
        self.erasures.door = api_of_operator(self.lake)  # of the last time, its token is over
        with injected(self.lake, plan) as report:
            messages = through_kafka(self.lake, [*sent[1::2], CLAIM], self.clock.now)
            uploads = through_api(self.lake, sent[::2], self.erasures)
            books.wait_until_taken(self.lake, messages)
            self.erasures.ask_all(sorted(messages)[9::10])
            wait_until_idle(self.lake)
        print(json.dumps(report, indent=1))
        self.faults |= {name.partition(" ")[0] for name in report["injected"]}
        self.erasures.ask_all(self.erasures.wanted - self.erasures.erased)
        self.ledger.check("asked to be erased, without an answer", self.erasures.wanted - self.erasures.erased)
        accepted = messages | uploads
        return {one: picture for one, picture in accepted.items() if one not in self.erasures.erased}

    def settle(self, accepted: Accepted) -> None:
        """The faults are over: reconcile, check that nothing is lost and all is reported, redrive what can be."""
        self.ledger.count("hours until reconciled", hours.reconciled(self.clock))
        found = books.settled(self.lake, accepted, self.ledger)
        self.ledger.count("redriven", books.redriven(self.lake, accepted, found))
        hours.compacted(self.clock)  # rows that come late are seen when it is through

    def check_cataloged(self, accepted: Accepted) -> None:
        """Check what is true of each image in the end."""
        books.cataloged(self.lake, accepted, self.ledger, self.listener.look())

    def check_erased(self) -> None:
        """Check that of what was erased nothing has stayed, nothing has come back, and others were told."""
        heard = {one["detail"]["image_id"] for one in self.listener.look() if one["detail-type"] == "ImageErased"}
        self.ledger.check("erased, and nobody was told", self.erasures.erased - heard)
        self.ledger.count("erased on request", len(self.erasures.erased))
        for place, image_ids in hours.left(self.lake, self.erasures.erased).items():
            self.ledger.check(f"erased, and its {place} is there", image_ids)


def _hours_purged(run: Run) -> list[dict[str, Any]]:
    """The events of hours of which the raw bucket has nothing any more."""
    purged = [one for one in run.listener.look() if one["detail-type"] == "HourPurged"]
    return [one for one in purged if one["detail"]["store"] == "raw"]


@pytest.mark.timeout(0)  # `injection.wait` ends what hangs, whatever time the rest takes
def test_what_was_accepted_under_faults_is_cataloged_or_reported_and_goes_after_its_days(
    clock: Clock, images: int, seed: int, tmp_path: Path
) -> None:
    with listening(clock.lake) as listener:
        check(Run(clock, Ledger(), Erasures(), listener), images, seed, tmp_path)


def check(run: Run, images: int, seed: int, folder: Path) -> None:
    """The three parts of a run."""
    lake = run.lake
    ledger, sent = run.ledger, pictures(images, seed)
    many = images // YOUNGER

    ledger.begin("Under faults, then reconciled and redriven")
    older = run.send(sent[many:], Plan(seed, RATES, STUBBORN))
    due = hours.due(lake, older)
    run.settle(older)
    run.check_cataloged(older)
    books.told_of_rejections(lake, older, ledger)
    run.check_erased()

    ledger.begin("Hours later, under faults, while the stream is held for a day")
    with held_stream(lake):
        younger = run.send(sent[:many], Plan(seed + 1, RATES, STUBBORN))
        run.settle(younger)
        run.clock.go_on(STREAM_KEEPS)
    hours.purge(lake)
    lacking, left = hours.found_missing(run.clock, younger, run.erasures.erased, ledger)
    run.erasures.door = api_of_operator(lake)
    run.erasures.ask_all(left)
    rebuilt = hours.made_good(lake, "catalog rebuild", lacking, folder, "restored")
    ledger.count("rows brought back by imagelake catalog rebuild", rebuilt)
    published = hours.made_good(lake, "events publish", lacking, folder, "published")
    ledger.count("events put again by imagelake events publish", published)
    hours.compacted(run.clock)
    run.check_cataloged(younger)
    books.told_of_rejections(lake, younger, ledger)
    run.check_erased()

    ledger.begin("After seven days, when the older images are purged")
    run.clock.go_to(due[0].start + hours.RETENTION + hours.PURGED_AT - JUST_BEFORE)
    latest = run.send(sent[:2], Plan(seed, {}))
    hours.purged(run.clock, due)
    ledger.count("images purged", len(older))
    for place, image_ids in hours.left(lake, older).items():
        ledger.check(f"older, and its {place} is there", image_ids)
    ledger.check("anything else of their hours, or of hours before", hours.older_left(lake, due))
    run.check_cataloged(younger | latest)
    books.told_of_rejections(lake, latest, ledger)
    purged = {(one["detail"]["ingest_date"], one["detail"]["hour"]) for one in _hours_purged(run)}
    ledger.check(
        "hours purged without an event", {hour.path for hour in due if (hour.ingest_date, hour.hour) not in purged}
    )
    claims = {one for one, picture in latest.items() if picture is CLAIM}
    ledger.check("a kept Kafka record of today that is gone", claims - hours.left(lake, claims)["kept Kafka record"])
    run.check_erased()
    ledger.check("findings of the audit", (json.dumps(finding) for finding in hours.audit(lake)))

    print(ledger)
    assert not ledger.wrong
    assert len(older) + len(younger) + len(run.erasures.erased) > images * 0.9, "so few are in that little was shown"
    assert run.faults == KINDS.keys()
