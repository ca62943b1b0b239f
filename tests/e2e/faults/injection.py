"""Asking the emulator for faults and for another time, and waiting for what goes on in it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from local.emulator.faults import Plan
from local.lake import Lake
from tests.e2e.faults.progress import say

STALLED_SECONDS = 300
"""How long functions may make no request before nothing is waited for any more: however slow a machine is, they do."""
SAY_SECONDS = 15


def ask(lake: Lake, method: str = "GET", path: str = "", **options: Any) -> dict[str, Any]:
    """Ask for faults, or about them."""
    answer = httpx.request(method, f"{lake.emulator.endpoint_url}/_faults{path}", timeout=60, **options)
    document: dict[str, Any] = answer.raise_for_status().json()
    return document


@contextmanager
def injected(lake: Lake, plan: Plan) -> Iterator[dict[str, Any]]:
    """Meanwhile there are faults; afterwards the report of what was injected is in what is given."""
    report: dict[str, Any] = {}
    ask(lake, "PUT", json=asdict(plan))
    try:
        yield report
    finally:
        report |= ask(lake, "DELETE")


@contextmanager
def held_stream(lake: Lake) -> Iterator[None]:
    """Meanwhile functions get nothing of what changes in tables."""
    ask(lake, "PUT", "/stream", json=True)
    try:
        yield
    finally:
        ask(lake, "PUT", "/stream", json=False)


@dataclass
class Clock:
    """The time of the lake: ours, and so much ahead."""

    lake: Lake
    ahead: timedelta = timedelta(0)

    @property
    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def go_on(self, time: timedelta) -> None:
        """Let time pass, in which nothing happens."""
        wait_until_idle(self.lake)
        self.ahead += time
        ask(self.lake, "PUT", "/clock", json=self.ahead.total_seconds())
        say(f"It is {self.now:%Y-%m-%d %H:%M} in the lake")

    def go_to(self, moment: datetime) -> None:
        """Let time pass until then."""
        self.go_on(moment - self.now)


def wait_until_idle(lake: Lake) -> None:
    """Wait until no execution and no function runs, and functions have had all records of streams that flow."""
    wait(lake, lambda: ask(lake)["busy"], lambda busy: not any(busy.values()))


def wait[T](lake: Lake, look: Callable[[], T], is_so: Callable[[T], bool]) -> T:
    """What `look` sees once `is_so`; fails when functions have done nothing for `STALLED_SECONDS`."""
    worked, worked_at, said_at = -1, time.monotonic(), time.monotonic()
    while not is_so(seen := look()):
        now, state = time.monotonic(), ask(lake)
        if state["worked"] != worked:
            worked, worked_at = state["worked"], now
        elif now - worked_at > STALLED_SECONDS:
            pytest.fail(f"nothing has gone on for {STALLED_SECONDS} s, and it is still not so: {seen}")
        if now - said_at > SAY_SECONDS:
            said_at = now
            say("  " + ", ".join(f"{number:,} {what}" for what, number in state["busy"].items()))
        time.sleep(0.3)
    return seen
