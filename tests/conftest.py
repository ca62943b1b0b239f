"""What every test starts from: nothing remembered of the environment of another."""

import os
from collections.abc import Iterator

import pytest

from imagelake import settings
from tests.application import TEMPLATE, resolve

# Powertools reads these when a function is imported.
os.environ |= resolve(TEMPLATE["Globals"]["Function"]["Environment"]["Variables"])


@pytest.fixture(autouse=True, scope="session")
def _state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test finds a lake that is running on this machine, or leaves a pointer to one of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def _settings_unread() -> Iterator[None]:
    settings.load.cache_clear()
    yield
    settings.load.cache_clear()
