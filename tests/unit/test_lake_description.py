"""Where a running local lake describes itself, and how the command line finds it."""

import json
import socket
import stat
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import MagicMock, create_autospec

import pytest
from typer.testing import CliRunner

from imagelake_cli import connection
from imagelake_cli.connection import NoLakeError
from local import demo
from local import lake as local_lake
from local.__main__ import app
from local.demo import how_to_go_on
from local.lake import Lake


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users have a state folder of their own in each test, and work outside of the repository."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """Gets what the command line would ask: session, name of the stack and endpoint."""
    asked: MagicMock = create_autospec(connection._of_stack)
    monkeypatch.setattr(connection, "_of_stack", asked)
    return asked


class Repository:
    """A folder whose lake can be started."""

    def __init__(self, folder: Path) -> None:
        self.description = folder / ".local" / "lake.json"
        folder.mkdir()

    def lake(self, monkeypatch: pytest.MonkeyPatch, endpoint_url: str) -> Lake:
        monkeypatch.setattr(local_lake, "DESCRIPTION", self.description)
        lake: MagicMock = create_autospec(Lake, instance=True)
        described = {"endpoint_url": endpoint_url, "region": "us-east-1", "stack_name": "lake", "password": "secret"}
        lake.describe.return_value = described
        return lake


def endpoint(asked: MagicMock) -> str:
    connection.work_group(None, None, None)
    found: str = asked.call_args.args[2]
    return found


def test_a_running_lake_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: MagicMock
) -> None:
    repository = Repository(tmp_path / "repository")

    with local_lake.described(repository.lake(monkeypatch, "http://one")):
        assert endpoint(asked) == "http://one"
        pointer = connection.pointer()
        assert pointer.is_relative_to(tmp_path / "state")
        assert pointer.read_text() == f"{repository.description}\n"
        assert stat.S_IMODE(pointer.stat().st_mode) == stat.S_IMODE(repository.description.stat().st_mode) == 0o600
        assert [file.name for file in pointer.parent.iterdir()] == [pointer.name]
        assert f"Pointer  {pointer} " in how_to_go_on(MagicMock())

    assert not repository.description.exists()
    assert not pointer.exists()


def test_the_nearest_description_comes_before_the_pointer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: MagicMock
) -> None:
    nearest = tmp_path / ".local" / "lake.json"
    nearest.parent.mkdir()
    nearest.write_text(json.dumps({"endpoint_url": "http://near", "region": "us-east-1", "stack_name": "lake"}))

    with local_lake.described(Repository(tmp_path / "repository").lake(monkeypatch, "http://far")):
        assert endpoint(asked) == "http://near"


def test_of_several_lakes_the_last_started_has_the_pointer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: MagicMock
) -> None:
    first, second = Repository(tmp_path / "first"), Repository(tmp_path / "second")
    one = local_lake.described(first.lake(monkeypatch, "http://one"))
    one.__enter__()
    two = local_lake.described(second.lake(monkeypatch, "http://two"))
    two.__enter__()
    assert endpoint(asked) == "http://two"

    monkeypatch.setattr(local_lake, "DESCRIPTION", first.description)
    one.__exit__(None, None, None)
    assert endpoint(asked) == "http://two"

    monkeypatch.setattr(local_lake, "DESCRIPTION", second.description)
    two.__exit__(None, None, None)
    with pytest.raises(NoLakeError):
        endpoint(asked)


def test_an_earlier_lake_of_the_same_repository_leaves_both_files_to_the_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: MagicMock
) -> None:
    repository = Repository(tmp_path / "repository")
    earlier = local_lake.described(repository.lake(monkeypatch, "http://earlier"))
    earlier.__enter__()

    with local_lake.described(repository.lake(monkeypatch, "http://later")):
        earlier.__exit__(None, None, None)
        assert endpoint(asked) == "http://later"

    assert not connection.pointer().exists()


@pytest.mark.parametrize("pointed", [b"/no/such/lake.json\n", b"", b"\xff\x00"])
def test_a_pointer_to_nothing_is_ignored(pointed: bytes, tmp_path: Path) -> None:
    connection.pointer().parent.mkdir(parents=True)
    connection.pointer().write_bytes(pointed)

    with pytest.raises(NoLakeError, match=f"neither in {tmp_path}/elsewhere nor in a folder above") as refused:
        connection.work_group(None, None, None)

    assert "make run" in str(refused.value)


def test_a_lake_runs_where_no_pointer_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").write_text("a file in the place of the folder")
    reported: list[str] = []

    with local_lake.described(Repository(tmp_path / "repository").lake(monkeypatch, "http://one"), reported.append):
        assert "Pointer" not in how_to_go_on(MagicMock())

    [sentence] = reported
    assert sentence.startswith("imagelake query finds this lake in its own folder only: ")


def test_a_second_lake_in_a_folder_is_refused_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = Repository(tmp_path / "repository")
    started = MagicMock()
    monkeypatch.setattr(local_lake, "running", started)

    with socket.create_server(("127.0.0.1", 0)) as emulator:
        lake = repository.lake(monkeypatch, f"http://127.0.0.1:{emulator.getsockname()[1]}")
        with local_lake.described(lake):
            refused = CliRunner().invoke(app, ["run"])
            assert repository.description.exists()

    assert refused.exit_code == 1
    assert "a lake runs in this folder already" in " ".join(capsys.readouterr().out.split()) + refused.output
    assert not started.called


def test_the_description_of_a_lake_that_was_killed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as emulator:
        address = f"http://127.0.0.1:{emulator.getsockname()[1]}"
    lake = Repository(tmp_path / "repository").lake(monkeypatch, address)

    with local_lake.described(lake):
        assert not local_lake.is_described()


def test_a_demo_leaves_the_lake_that_runs_described_and_says_no_address_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = Repository(tmp_path / "repository")
    stopping = MagicMock()
    monkeypatch.setattr(local_lake, "running", lambda *_, **__: nullcontext(stopping))
    monkeypatch.setattr(demo, "show", lambda *_: None)

    with local_lake.described(repository.lake(monkeypatch, "http://one")):
        shown = CliRunner().invoke(app, ["demo"])
        assert endpoint(asked) == "http://one"

    said = capsys.readouterr().out + shown.output
    assert shown.exit_code == 0
    assert "The lake is stopped." in said
    assert "API" not in said
