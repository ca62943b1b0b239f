"""A lake of its own for what goes wrong: days pass on its clock, and nothing else is in it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import lake as local_lake
from local.emulator import FAULTY
from local.lake import Lake
from tests.e2e.faults.injection import Clock
from tests.e2e.faults.progress import say


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One lake for all, so in this order: the clean run, the faults, and what was emitted in both."""
    here = [index for index, item in enumerate(items) if item.path.parent == Path(__file__).parent]
    for index, item in zip(here, sorted((items[index] for index in here), key=_place), strict=True):
        items[index] = item


def _place(item: pytest.Item) -> tuple[str, int]:
    return item.path.name, item.location[1] or 0


@pytest.fixture(scope="session")
def lake() -> Iterator[Lake]:
    with local_lake.running(report=say, application=FAULTY) as running:
        yield running


@pytest.fixture(scope="session")
def clock(lake: Lake) -> Clock:
    """That of the lake, which every test may set ahead."""
    return Clock(lake)


@pytest.fixture(scope="session")
def images() -> int:
    """How many are sent."""
    return int(os.environ.get("IMAGES", "60"))


@pytest.fixture(scope="session")
def seed() -> int:
    """Of all that is drawn."""
    return int(os.environ.get("SEED", "1"))
