"""A deployed lake under faults that a seed draws: what it has accepted is cataloged or reported, once, and right.

A failure prints the seed, the plan and every fault that was injected: the same seed has the same faults again.
"""

import json
import os

from local.emulator.faults import KINDS, Plan
from local.lake import Lake
from tests.e2e.faults import ledger as books
from tests.e2e.faults.doors import through_api, through_kafka
from tests.e2e.faults.injection import injected
from tests.e2e.faults.ledger import Ledger
from tests.e2e.faults.pictures import CLAIM, pictures

IMAGES = 60
SEED = int(os.environ.get("SEED", "1"))
RATES = {"workflow": 0.12, "sdk": 0.06, "door": 0.1, "event": 0.2, "stream": 0.3, "worker": 0.06}
STUBBORN = 0.25


def test_what_was_accepted_under_faults_is_cataloged_once_or_reported(lake: Lake) -> None:
    plan = Plan(SEED, RATES, STUBBORN)
    print(plan)
    sent = pictures(IMAGES, SEED)

    with injected(lake, plan) as report:
        accepted = through_kafka(lake, [*sent[1::2], CLAIM]) | through_api(lake, sent[::2])
        books.wait_until_taken(lake, accepted)
        books.wait_until_idle(lake)
    print(json.dumps(report, indent=1))

    ledger = Ledger()
    books.reconciled(lake)
    found = books.settled(lake, accepted, ledger)
    ledger.counts["redriven"] = books.redriven(lake, found)
    books.cataloged(lake, accepted, ledger)
    print(ledger)
    assert not ledger.wrong
    assert len(accepted) > IMAGES * 0.9, "so few have been accepted that little was shown"
    assert {name.partition(" ")[0] for name in report["injected"]} == KINDS.keys()
