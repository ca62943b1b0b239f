"""What every test starts from: nothing remembered of the environment of another."""

import os
from collections.abc import Iterator

import pytest

from imagelake import settings
from tests.application import TEMPLATE, resolve

# Powertools reads these when a function is imported.
os.environ |= resolve(TEMPLATE["Globals"]["Function"]["Environment"]["Variables"])


@pytest.fixture(autouse=True)
def _settings_unread() -> Iterator[None]:
    settings.forget()
    yield
    settings.forget()
