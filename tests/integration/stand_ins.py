"""Puts stand-ins where the domain looks for its clients: those of `fakes`, and one for starts of a function."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from types import ModuleType
from typing import Final, Self

import pytest

from imagelake.audit import auditor, evidence, rows
from imagelake.retention import receipts
from imagelake.stores import buckets, catalog_table, dead_letters, event_bus, functions, images_table
from tests.application import physical_name
from tests.integration.fakes import Clock, FakeEvents, FakeGlue, FakeQueue, FakeS3, FakeScan, FakeTable

ERASE_IMAGE: Final = physical_name("EraseImageFunction")


class StartedErasures:
    """Stands in for Lambda where `erase_image` is started; the function is not run."""

    def __init__(self) -> None:
        self._image_ids: list[str] = []

    @classmethod
    def installed(cls, patch: pytest.MonkeyPatch) -> Self:
        """What the domain starts functions with, for as long as `patch` lasts."""
        made = cls()
        patch.setattr(functions, "_lambda", _always(made))
        return made

    def invoke(self, FunctionName: str, InvocationType: str, Payload: bytes) -> None:  # noqa: N803  # boto3's names
        """Keep the image that an erasure is started for."""
        assert (FunctionName, InvocationType) == (ERASE_IMAGE, "Event")
        self._image_ids.append(json.loads(Payload)["image_id"])

    def take(self) -> list[str]:
        """The images since the last look, in the order of their ids."""
        taken, self._image_ids = sorted(self._image_ids), []
        return taken


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
