"""Puts the stand-ins of `fakes` where the domain looks for its clients."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from types import ModuleType

import pytest

from imagelake.audit import auditor, evidence, rows
from imagelake.retention import receipts
from imagelake.stores import buckets, catalog_table, dead_letters, event_bus, images_table
from tests.integration.fakes import Clock, FakeEvents, FakeGlue, FakeQueue, FakeS3, FakeScan, FakeTable


@dataclass(frozen=True)
class StandIns:
    """The stores of one simulated stack: buckets `raw`, `lake` and `audit`, and their clock."""

    clock: Clock
    s3: FakeS3
    table: FakeTable
    glue: FakeGlue
    queue: FakeQueue
    events: FakeEvents


def install(patch: pytest.MonkeyPatch, now: datetime) -> StandIns:
    """Let the domain talk to stand-ins, and to nothing else, for as long as `patch` lasts."""
    clock = Clock(now)
    made = StandIns(clock, FakeS3(clock, {"raw", "audit"}), FakeTable(clock), FakeGlue(), FakeQueue(), FakeEvents())
    clients: list[tuple[ModuleType, str, object]] = [
        (buckets, "s3_client", made.s3),
        (images_table, "_resource", made.table),
        (catalog_table, "_glue", made.glue),
        (dead_letters, "_sqs", made.queue),
        (event_bus, "_events", made.events),
    ]
    for module, name, client in clients:
        patch.setattr(module, name, _always(client))
    audited = {"s3": made.s3, "glue": made.glue, "dynamodb": FakeScan(made.table)}
    for room in (auditor, evidence, rows):
        patch.setattr(room, "client", audited.__getitem__)
    patch.setattr(auditor, "check_configuration", lambda *_: None)  # the stand-ins have no settings
    for module in (images_table, receipts):
        patch.setattr(module, "datetime", clock.patched())
    return made


def _always(client: object) -> Callable[..., object]:
    return lambda *_: client
