"""Pictures of the operators' dashboards of a run in which things go wrong: can one tell in five seconds what is wrong?

    python -m benchmarks.dashboards [--images 2000] [--seed 1] [--folder docs]

Starts a lake of its own and sends it images through both doors: a third while all is well, a third under faults as
`make faults` has them, a third while all is well again: `flow.png`. Then eight days pass on the lake's clock, each with
a run of the purge and of the audit; on the seventh, when the images are due, the purge is down: `promise.png`. Prints
what was sent, what was injected, and what became of the images.
"""

import argparse
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from imagelake_cli.dashboard import read
from imagelake_cli.watch import picture
from imagelake_cli.watch.monitor import Monitor
from local import lake as local_lake
from local.emulator import FAULTY
from local.emulator.faults import Plan
from local.lake import Lake
from tests.e2e.faults import hours
from tests.e2e.faults import ledger as books
from tests.e2e.faults.doors import Accepted, Erasures, api_of_operator, through_api, through_kafka
from tests.e2e.faults.injection import Clock, injected, wait_until_idle
from tests.e2e.faults.pictures import Picture, pictures
from tests.e2e.faults.progress import say

CALM: Final[dict[str, float]] = {}
FAULTS: Final = {"workflow": 0.12, "sdk": 0.06, "door": 0.1, "event": 0.1, "stream": 0.2, "worker": 0.06}
STUBBORN: Final = 0.3
"""Of the faults of the workflow that outlast all tries: such images fail."""
DAYS: Final = 8
DOWN: Final = 7
"""The day on which the images are due and nobody purges them."""
DAY: Final = timedelta(days=1)


def main() -> None:
    """Run it, draw both dashboards, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dashboards")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("docs"), help="Where flow.png and promise.png are put.")
    options = parser.parse_args()
    with local_lake.running(report=say, application=FAULTY) as lake:
        clock = Clock(lake)
        began = datetime.now(UTC)
        _flow(clock, pictures(options.images, options.seed), options.seed)
        end = datetime.now(UTC) + timedelta(minutes=1)
        _draw(lake, "flow", end - began, end, options.folder)
        _promise(clock)
        end = clock.now + timedelta(hours=1)
        _draw(lake, "promise", end - began, end, options.folder)


def _flow(clock: Clock, sent: Sequence[Picture], seed: int) -> None:
    third = len(sent) // 3
    accepted: Accepted = {}
    for number, rates in enumerate((CALM, FAULTS, CALM)):
        some = sent[number * third : (number + 1) * third]
        say(f"Sending {len(some)} images {'under faults' if rates else 'while all is well'}")
        accepted |= _send(clock, some, Plan(seed + number, rates, STUBBORN))
    ended = books.items(clock.lake, accepted).values()
    outcomes = {
        status: sum(item["status"] == status for item in ended) for status in sorted({i["status"] for i in ended})
    }
    print(json.dumps({"accepted": len(accepted), "outcomes": outcomes}))


def _send(clock: Clock, some: Sequence[Picture], plan: Plan) -> Accepted:
    lake, erasures = clock.lake, Erasures()
    erasures.door = api_of_operator(lake)
    began = time.monotonic()
    with injected(lake, plan) as report:
        messages = through_kafka(lake, some[1::2], clock.now)
        uploads = through_api(lake, some[::2], erasures)
        books.wait_until_taken(lake, messages)
        wait_until_idle(lake)
    figures = {"seconds": round(time.monotonic() - began), "injected": report["injected"]}
    print(json.dumps(figures | {"erased": len(erasures.erased)}))
    return messages | uploads


def _promise(clock: Clock) -> None:
    hours.reconciled(clock)
    hours.compacted(clock)
    for day in range(1, DAYS + 1):
        clock.go_on(DAY)
        if day != DOWN:
            hours.purge(clock.lake)
        findings = hours.audit(clock.lake)
        say(f"Day {day}: {', '.join(sorted(one['what'] for one in findings)) or 'the audit finds nothing'}")


def _draw(lake: Lake, name: str, length: timedelta, end: datetime, folder: Path) -> None:
    output = {"flow": "DashboardUrl", "promise": "PromiseDashboardUrl"}[name]
    deployed = lake.stack.outputs[output].rpartition("name=")[2]
    shown = read(Monitor(lake.client("cloudwatch")), deployed, length, end)
    (folder / f"{name}.png").write_bytes(picture.to_png(shown))
    say(f"{folder}/{name}.png")


if __name__ == "__main__":
    main()
