"""What every test starts from: nothing remembered of the environment of another."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imagelake import pipelines, settings
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
    settings.forget()
    pipelines.load.cache_clear()
    yield
    settings.forget()
    pipelines.load.cache_clear()


type GivePipelines = Callable[..., None]


@pytest.fixture
def give_pipelines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GivePipelines:
    """Gives this process other pipelines than those of `pipelines.yaml`, from now to the end of the test.

    `give_pipelines(limits={"max_side": 9})` changes one limit and leaves all else; a second call adds to the first.
    """

    def give(
        limits: dict[str, int] | None = None,
        large_limits: dict[str, int] | None = None,
        default: dict[str, Any] | None = None,
    ) -> None:
        document = json.loads(pipelines.FILE.read_bytes())
        document["limits"] |= limits or {}
        document["large_limits"] |= large_limits or {}
        document["pipelines"]["default"] |= default or {}
        file = tmp_path / "pipelines.json"
        file.write_text(json.dumps(document))
        monkeypatch.setattr(pipelines, "FILE", file)
        pipelines.load.cache_clear()

    return give
