"""Asking the emulator for faults, and for other clocks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import httpx

from local.emulator.faults import Plan
from local.lake import Lake


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
        hold_streams(lake, held=False)
        report |= ask(lake, "DELETE")


def hold_streams(lake: Lake, *, held: bool) -> None:
    """Keep what changes in tables from functions, or let it go."""
    ask(lake, "PUT", "/stream", json=held)


def set_clock(lake: Lake, ahead: float, *functions: str) -> None:
    """Let these functions, or everything where none are named, live so many seconds ahead."""
    ask(lake, "PUT", "/clock", json={"ahead": ahead, "functions": functions})
