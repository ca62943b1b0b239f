"""What all commands of `imagelake` have in common."""

import inspect
import signal
import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from imagelake_cli.main import app

INTERRUPTED_AT_START = """
import os, signal, sys

class Interrupting:
    @staticmethod
    def find_spec(name, *_):
        if name == "imagelake_cli.main":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting)
from imagelake_cli.__main__ import main
main()
"""


def test_ctrl_c_while_the_command_line_is_imported_ends_it_without_a_traceback() -> None:
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED_AT_START], capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("name", ["upload", "redrive", "query", "catalog rebuild", "script run"])
def test_help_has_no_line_breaks_but_those_of_the_terminal(name: str) -> None:
    told = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "2000"}).stdout

    command = get_command(app)
    for part in name.split():
        command = command.commands[part]  # type: ignore[attr-defined]  # of groups
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        assert " ".join(paragraph.split()) in told
