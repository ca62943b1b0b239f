"""What strangers wrote reaches a terminal as text, and never as an instruction to it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from imagelake_cli import connection, formats, plot
from imagelake_cli.athena import Answer, Column
from imagelake_cli.image_logs import Line
from imagelake_cli.lake_api import ApiError
from imagelake_cli.letters import Letter
from imagelake_cli.main import app
from imagelake_cli.redriving import Redriven

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
IMAGE_ID = "01a20297-8952-7c11-9d0a-5b1f3c2e4d6f"
WILD = "fault: gone\x1b[2K\r\x9b1A\x07\u202eline\n01a20297  processed\x00"
TAMED = r"fault: gone\x1b[2K\r\x9b1A\x07\u202eline\n01a20297  processed\x00"
IMAGE = {"image_id": IMAGE_ID, "status": "failed", "reason": WILD, "metadata": {WILD: WILD}, "source": "api"}
LETTER = Letter("m1", NOW, {"image_id": IMAGE_ID, "reason": WILD, "kept_at": "x"})


class Everything:
    """Whatever a command asks, with an answer that nobody tamed."""

    base_url = "https://lake"

    def image(self, _image_id: str) -> dict[str, Any]:
        return IMAGE

    def images(self, *_: Any, **__: Any) -> Iterator[dict[str, Any]]:
        yield IMAGE

    def erase(self, *_: Any) -> bool:
        raise ApiError(WILD, 404)

    def request_uploads(self, _uploads: Any) -> list[dict[str, Any]]:
        raise ApiError(WILD, 500)

    def of(self, *_: Any) -> list[Line]:
        return [Line(NOW, "OpenImage", "stream", json.dumps({"level": "ERROR", "message": WILD, WILD: WILD}))]

    def letters(self) -> list[Letter]:
        return [LETTER]

    def hidden(self) -> int:
        return 0

    def redrive(self, image_ids: Any, **_: Any) -> Iterator[list[Redriven]]:
        yield [Redriven(image_id=IMAGE_ID, result="final", status="failed", code=WILD) for _ in image_ids]

    def start_arrivals(self, keys: Any, **_: Any) -> Iterator[list[Redriven]]:
        yield [Redriven(image_id=IMAGE_ID, result="final") for _ in keys]


@pytest.fixture(autouse=True)
def _lake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("lake_api", "image_logs", "dead_letter_queue", "image_redriving"):
        monkeypatch.setattr(connection, name, lambda *_: Everything())
    monkeypatch.setattr("platformdirs.user_state_path", lambda _: tmp_path / "state")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "400"})


def is_tame(output: str) -> bool:
    return all(one.isprintable() or one == "\n" for one in output)


@pytest.mark.parametrize(
    ("arguments", "tells"),
    [
        (["status", IMAGE_ID], True),
        (["images"], True),
        (["erase", IMAGE_ID, "--yes"], True),
        (["logs", IMAGE_ID], True),
        (["dead-letters", "list"], True),
        (["dead-letters", "show", IMAGE_ID], True),
        (["dead-letters", "redrive", "--all"], False),
        (["redrive", IMAGE_ID], True),
        (["upload", "{file}"], True),
        (["upload", "--dry-run", "{file}"], True),
    ],
)
def test_lines_for_people_obey_nobody(arguments: list[str], tells: bool, tmp_path: Path) -> None:
    file = tmp_path / WILD.replace("\x00", "").replace("/", "")
    file.write_bytes(b"\xff\xd8\xff\xe0" + bytes(64))

    result = run(*(one.format(file=file) for one in arguments))

    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    assert is_tame(result.output), result.output
    assert (TAMED.removesuffix(r"\x00") in result.output) == tells, result.output


@pytest.mark.parametrize("arguments", [["status", IMAGE_ID], ["images"], ["logs", IMAGE_ID], ["dead-letters", "list"]])
def test_json_says_it_as_it_is(arguments: list[str]) -> None:
    result = run(*arguments, "--json")

    assert is_tame(result.stdout)
    assert WILD in _texts(json.loads(result.stdout))


def _texts(value: Any) -> list[str]:
    match value:
        case dict():
            return [text for entry in value.values() for text in _texts(entry)]
        case list():
            return [text for entry in value for text in _texts(entry)]
        case _:
            return [str(value)]


def test_tables_and_plots_keep_lines_and_obey_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer([Column("reason", "varchar"), Column("n", "bigint")], [[WILD, 1]])

    formats.print_table(formats.table(answer))
    table = capsys.readouterr().out
    [bars] = plot.in_terminal(plot.split(answer), 400, False)

    assert is_tame(table)
    assert is_tame(bars)
    assert r"fault: gone\x1b[2K\r\x9b1A\x07\u202eline" in table
    assert table.count("\n") == 3, "the line break of the text is one of the cell"
    assert TAMED in bars
