"""What `imagelake query` accepts, refuses and says; the lake is a stand-in."""

import json
import socket
from pathlib import Path
from unittest.mock import MagicMock, create_autospec

import pytest
from typer.testing import CliRunner, Result

from imagelake_cli import connection
from imagelake_cli.athena import Answer, Column, NamedQuery, QueryError, WorkGroup
from imagelake_cli.main import app

SQL = "SELECT date_diff('day', received_at, expires_at) AS days FROM images"
ARRIVALS = NamedQuery("arrivals", "How many came?", f"{SQL}\n")
ANSWER = Answer([Column("status", "varchar"), Column("images", "bigint")], [["processed", 11]], False, 2048, 0.42)


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    group: MagicMock = create_autospec(WorkGroup, instance=True)
    group.named_queries.return_value = {"arrivals": ARRIVALS}
    group.ask.return_value = ANSWER
    monkeypatch.setattr(connection, "work_group", lambda *_: group)
    return group


def query(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["query", *arguments], stdin)


def test_a_pipe_gets_csv_and_standard_error_what_it_took(group: MagicMock) -> None:
    result = query("SELECT 1")

    assert result.stdout == "status,images\nprocessed,11\n"
    assert result.stderr == "1 row; 2.0 kB scanned in 0.4 s\n"
    assert group.ask.call_args.args[:2] == ("SELECT 1", None)


def test_sql_comes_from_a_file_from_standard_input_or_from_the_work_group(group: MagicMock, tmp_path: Path) -> None:
    file = tmp_path / "one.sql"
    file.write_text("SELECT 1")

    results = [query("-f", str(file)), query("-f", "-", stdin="SELECT 2"), query("-", stdin="SELECT 3")]
    results.append(query("-n", "arrivals"))

    assert [result.exit_code for result in results] == [0] * 4

    assert [call.args[0] for call in group.ask.call_args_list] == ["SELECT 1", "SELECT 2", "SELECT 3", ARRIVALS.sql]


def test_a_limit_that_cuts_is_said(group: MagicMock) -> None:
    group.ask.return_value = Answer(ANSWER.columns, ANSWER.rows, is_cut=True)

    result = query("SELECT 1", "--limit", "1")

    assert group.ask.call_args.args[1] == 1
    assert result.stderr.startswith("1 row, cut by --limit; ")


@pytest.mark.usefixtures("group")
def test_a_file_is_written_as_it_is_called(tmp_path: Path) -> None:
    for name, begins in (("a.csv", b"status,images"), ("a.json", b'{"status": "processed"'), ("a.parquet", b"PAR1")):
        result = query("SELECT 1", "-o", str(tmp_path / name))

        assert (result.exit_code, result.stdout) == (0, ""), result.output
        assert (tmp_path / name).read_bytes().startswith(begins)


def test_a_table_in_a_file_is_not_folded(group: MagicMock, tmp_path: Path) -> None:
    group.ask.return_value = Answer([Column("text", "varchar")], [["x" * 300]])

    assert query("SELECT 1", "--format", "table", "-o", str(tmp_path / "a.txt")).exit_code == 0
    assert (tmp_path / "a.txt").read_text().splitlines()[1] == "x" * 300


def test_named_queries_are_listed_and_shown_without_being_run(group: MagicMock) -> None:
    assert query("--list").stdout == "name,question\narrivals,How many came?\n"
    assert query("-n", "arrivals", "--show").stdout == f"{SQL}\n"
    assert "DATEDIFF(DAY, received_at, expires_at)" in query("-n", "arrivals", "--show", "--dialect", "redshift").stdout
    assert not group.ask.called


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["-n", "arival"], "Error: There is no named query arival. Near to it: arrivals.\n"),
        (["-n", "xyz"], "Error: There is no named query xyz. There are arrivals.\n"),
        (["-n", "arrivals", "--show", "--dialect", "klingon"], "Error: Unknown dialect 'klingon'."),
    ],
)
def test_what_cannot_be_done_is_one_line_and_no_traceback(arguments: list[str], error: str) -> None:
    result = query(*arguments)

    assert result.exit_code == 1
    assert result.stderr.startswith(error)
    assert "Traceback" not in result.output


def test_what_cannot_be_plotted_is_said(group: MagicMock) -> None:
    group.ask.return_value = Answer([Column("tags", "map"), Column("images", "bigint")], [["{}", 11]])

    result = query("SELECT 1", "--plot")

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: Cannot plot over tags")


def test_text_is_plotted_as_bars(group: MagicMock) -> None:
    result = query("-n", "arrivals", "--plot")

    assert (result.exit_code, group.ask.called) == (0, True)
    assert result.stdout.startswith("images over status\nprocessed █")


@pytest.mark.usefixtures("group")
def test_a_statement_without_sql_is_said() -> None:
    for result in (query(""), query("-", stdin=" \n")):
        assert "there is nothing in the statement" in result.stderr


@pytest.mark.usefixtures("group")
def test_a_file_that_cannot_be_written_is_one_line() -> None:
    result = query("SELECT 1", "-o", "/proc/a.csv")

    assert (result.exit_code, result.stderr) == (1, "Error: /proc/a.csv: No such file or directory\n")


def test_athena_s_reason_is_the_error(group: MagicMock) -> None:
    group.ask.side_effect = QueryError("COLUMN_NOT_FOUND: line 1:8: Column [red] cannot be resolved")

    result = query("SELECT red FROM images")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: COLUMN_NOT_FOUND: line 1:8: Column [red] cannot be resolved\n"


def test_an_interrupt_ends_as_a_shell_expects(group: MagicMock) -> None:
    group.ask.side_effect = KeyboardInterrupt

    result = query("SELECT 1")

    assert (result.exit_code, result.stderr) == (130, "Stopped.\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["SELECT 1", "--list"],
        ["SELECT 1", "-n", "arrivals"],
        ["SELECT 1", "--show"],
        ["SELECT 1", "--format", "parquet"],
        ["SELECT 1", "--format", "xml"],
        ["SELECT 1", "-o", "answer.xlsx"],
        ["SELECT 1", "--plot", "--format", "csv"],
        ["SELECT 1", "--plot", "-o", "plot.csv"],
        ["--list", "--plot"],
        ["SELECT 1", "-o", "/no/such/folder/a.csv"],
        ["SELECT 1", "-o", "/"],
        ["SELECT 1", "--limit", "0"],
        [""],
        ["-n", "arrivals", "--show", "--dialect", ""],
        ["-f", "/no/such/file.sql"],
    ],
)
def test_arguments_that_contradict_each_other_are_refused(group: MagicMock, arguments: list[str]) -> None:
    assert query(*arguments).exit_code == 2
    assert not group.ask.called


def test_without_a_lake_both_ways_to_one_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    result = query("SELECT 1")

    assert result.exit_code == 1
    assert f".local/lake.json is neither in {tmp_path} nor" in result.stderr
    assert "make run" in result.stderr
    assert "--stack" in result.stderr


@pytest.mark.parametrize("description", [b"", b"{", b"{}", b"[]", b"\xff", b"null"])
def test_a_damaged_description_of_a_lake_is_named(
    description: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".local").mkdir()
    damaged = tmp_path / ".local" / "lake.json"
    damaged.write_bytes(description)

    result = query("SELECT 1")

    said = f"Error: {damaged} does not describe a local lake: remove it, and start the lake with make run.\n"
    assert (result.exit_code, result.stderr) == (1, said)


def test_a_lake_that_was_killed_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    (tmp_path / ".local").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        lake = {
            "endpoint_url": f"http://127.0.0.1:{free.getsockname()[1]}",
            "region": "us-east-1",
            "stack_name": "lake",
        }
        (tmp_path / ".local/lake.json").write_text(json.dumps(lake))

        result = query("SELECT 1")

    said = f"Error: The local lake at {lake['endpoint_url']} does not answer: it was killed."
    assert result.exit_code == 1
    assert result.stderr.startswith(said)


def test_a_statement_that_is_no_text_is_named(group: MagicMock, tmp_path: Path) -> None:
    file = tmp_path / "picture.sql"
    file.write_bytes(b"\xff\xd8")

    result = query("-f", str(file))

    assert (result.exit_code, result.stderr) == (1, f"Error: {file}: is not text in UTF-8.\n")
    assert not group.ask.called


def test_a_region_without_a_stack_is_no_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert "need --stack" in query("SELECT 1", "--region", "eu-west-1").stderr


def test_a_profile_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    result = query("SELECT 1", "--stack", "lake", "--profile", "nobody")

    assert result.exit_code == 1
    said = "Error: The config profile (nobody) could not be found. aws configure list-profiles names those there are.\n"
    assert result.stderr == said
