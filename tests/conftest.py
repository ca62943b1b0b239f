"""What every test starts from: nothing remembered of the environment of another."""

from collections.abc import Iterator

import pytest

from imagelake import settings


@pytest.fixture(autouse=True)
def _settings_unread() -> Iterator[None]:
    settings.load.cache_clear()
    yield
    settings.load.cache_clear()
