"""What all commands of `imagelake` have in common."""

import ast
import inspect
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ProfileNotFound,
    TokenRetrievalError,
)
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from imagelake_cli import connection, failures
from imagelake_cli.failures import ExitCode
from imagelake_cli.main import app
from imagelake_cli.rights import RIGHTS
from tests.application import ROOT, TEMPLATE

INTERRUPTED_AT_START = """
import os, signal, sys

class Interrupting:
    @staticmethod
    def find_spec(name, *_):
        if name == "imagelake_cli.main":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever starts this in the background has it ignored
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


def _commands(group: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by its name, those of groups included."""
    given: Any = group or get_command(app)
    for part, command in given.commands.items():
        whole = f"{name} {part}".strip()
        if hasattr(command, "commands"):
            yield from _commands(command, whole)
        else:
            yield whole, command


COMMANDS = dict(_commands())
DOCUMENTATION = (ROOT / "docs/cli.md").read_text(encoding="utf-8")


def _example(name: str) -> list[str]:
    """The arguments of the example in a command's help."""
    [(_, used)] = re.findall(r"(\*\*Example\*\*: `imagelake )([^`]*)`", COMMANDS[name].epilog or "")
    arguments = shlex.split(used)
    assert arguments[: len(name.split())] == name.split()
    return arguments


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with what examples name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "photos").mkdir()
    shutil.copytree(ROOT / "governance", tmp_path / "governance")
    Image.new("L", (16, 16)).save(tmp_path / "photos" / "1.png")
    CliRunner().invoke(app, ["script", "new", "darkness"])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_answer_in_json(name: str) -> None:
    assert any("--json" in option.opts for option in COMMANDS[name].params)


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_ends_with_an_example_that_can_be_typed(name: str) -> None:
    arguments = _example(name)

    COMMANDS[name].make_context(name, arguments[len(name.split()) :])
    assert "Example: imagelake" in CliRunner().invoke(app, [*name.split(), "--help"]).stdout


REFUSALS: list[tuple[BaseException, int, str]] = [
    (KeyboardInterrupt(), ExitCode.INTERRUPTED, "Stopped."),
    (NoCredentialsError(), ExitCode.FAILED, "Error: There are no credentials of AWS"),
    (ClientError({"Error": {"Code": "ExpiredToken", "Message": "over"}}, "DescribeStacks"), ExitCode.FAILED,
     "Error: The credentials of AWS have expired. Sign in anew"),
    (ClientError({"Error": {"Code": "ValidationError", "Message": "Stack with id x does not exist"}}, "DescribeStacks"),
     ExitCode.FAILED, "Error: Stack with id x does not exist, in this region of this account"),
    (EndpointConnectionError(endpoint_url="https://cloudformation.us-moon-1.amazonaws.com/"), ExitCode.FAILED,
     "Is the region right, and is there a network?"),
    (connection.NoLakeError("No local lake is running"), ExitCode.FAILED, "Error: No local lake is running"),
]  # fmt: skip


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("name", [name for name in COMMANDS if not name.startswith(("script ", "access show"))])
@pytest.mark.parametrize(("error", "code", "said"), REFUSALS, ids=lambda one: type(one).__name__)
def test_every_command_says_in_a_sentence_why_it_reaches_no_lake(
    name: str, error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(connection, "_chosen", refuse)

    ended = CliRunner().invoke(app, _example(name), input="y\n")

    assert (ended.exit_code, ended.stdout.removeprefix(" y\n")) == (code, "")
    assert said in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ProfileNotFound(profile="x"), "aws configure list-profiles"),
        (NoRegionError(), "No region is named"),
        (TokenRetrievalError(provider="sso", error_msg="Token has expired"), "aws sso login"),
        (ClientError({"Error": {"Code": "InvalidClientTokenId", "Message": "no"}}, "X"), "does not know these"),
        (ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "X"), "imagelake doctor says which rights"),
        (ClientError({"Error": {"Code": "UsernameExistsException", "Message": "no"}}, "X"), "imagelake users reset"),
        (ClientError({"Error": {"Code": "UserNotFoundException", "Message": "no"}}, "X"), "imagelake users add"),
        (ClientError({"Error": {"Code": "Other", "Message": "its own words"}}, "X"), "its own words"),
        (FileNotFoundError(2, "No such file", "a.json"), "a.json: No such file"),
    ],
)
def test_what_aws_refuses_is_said_with_what_to_do_in_one_line(error: Exception, said: str) -> None:
    told = failures.words(error)

    assert said in told
    assert "\n" not in told


def test_an_error_of_the_program_itself_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), failures.explained(ValueError):
        raise ZeroDivisionError


def test_a_pipe_that_is_closed_ends_a_command_without_a_traceback() -> None:
    program = Path(sys.executable).with_name("imagelake")
    piped = f"{program} script check describe --json | head -n 1"

    ended = subprocess.run(["sh", "-c", piped], capture_output=True, text=True, check=False)

    assert (len(ended.stdout.splitlines()), ended.stderr) == (1, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(shell: str) -> None:
    typed = {"COMP_WORDS": "imagelake dead", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "imagelake dead"}
    asked = {"_IMAGELAKE_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    program = Path(sys.executable).with_name("imagelake")

    ended = subprocess.run([program], env=os.environ | typed | asked, capture_output=True, text=True, check=False)

    assert "dead-letters" in ended.stdout
    assert "imagelake --install-completion" in DOCUMENTATION


def test_what_the_runbook_calls_by_name_is_in_the_templates() -> None:
    named = set(re.findall(r"\$\(named (\w+)\)", (ROOT / "docs/operations.md").read_text(encoding="utf-8")))

    assert named
    assert named <= TEMPLATE["Resources"].keys()


def _table(title: str) -> dict[str, str]:
    """The first two columns of a table in the documentation, without their quotes."""
    section = DOCUMENTATION.partition(f"## {title}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("|")]
    return {cells[0].strip("`"): cells[1] for cells in rows[2:]}


def test_the_documentation_has_every_exit_code() -> None:
    assert {int(code) for code in _table("Exit codes")} == set(ExitCode)


def test_the_documentation_says_of_every_command_what_3_means() -> None:
    documented = _table("What 3 means")
    assert documented.keys() == COMMANDS.keys()
    for name, means in documented.items():
        ends_so = "with 3" in " ".join((COMMANDS[name].help or "").split())
        assert ends_so == (means != "—"), name


@pytest.mark.parametrize("name", COMMANDS)
def test_the_documentation_shows_every_command_at_work(name: str) -> None:
    assert f"$ imagelake {name}" in DOCUMENTATION


def _actions(text: str) -> set[str]:
    return set(re.findall(r"`([a-z0-9-]+:\w+)`", text))


def test_the_documentation_says_which_rights_commands_take() -> None:
    documented = {command: _actions(takes) for command, takes in _table("Rights").items()}
    checked: dict[str, set[str]] = {}
    for right in RIGHTS:
        checked.setdefault(right.command, set()).update(right.actions)

    assert {command: takes for command, takes in documented.items() if command != "doctor"} == checked
    assert documented["doctor"] == _called("diagnosis.py") | _called("stack.py")


NAMED_OTHERWISE = {
    "GetStage": "GET", "GetRestApi": "GET", "Invoke": "InvokeFunction", "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility", "ListObjectsV2": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
}  # fmt: skip
"""Operations whose action has another name."""
FREE = {"GetCallerIdentity", "InitiateAuth"}
"""What everybody may call."""
SERVICES = (
    "apigateway", "athena", "cloudformation", "cloudwatch", "cognito-idp", "dynamodb", "iam", "lambda", "logs", "s3",
    "scheduler", "sqs", "sts",
)  # fmt: skip
OPERATIONS = {
    xform_name(operation): f"{service}:{NAMED_OTHERWISE.get(operation, operation)}"
    for service in SERVICES
    for operation in botocore.session.get_session().get_service_model(service).operation_names
    if operation not in FREE and (service, operation) not in {("logs", "GetQueryResults"), ("iam", "CreateGroup")}
}
"""The action of IAM by the name of the method that takes it."""


def _called(pattern: str) -> set[str]:
    """The actions that modules of the command line take."""
    calls = (
        call
        for module in (ROOT / "imagelake_cli").glob(pattern)
        for call in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
    )
    names = {call.args[0].value if call.func.attr == "get_paginator" else call.func.attr for call in calls}  # type: ignore[attr-defined]  # literals
    return {OPERATIONS[name] for name in names & OPERATIONS.keys()}


def test_the_documentation_says_the_rights_to_all_that_the_command_line_calls() -> None:
    section = DOCUMENTATION.partition("## Rights\n")[2].partition("\n## ")[0]

    assert _called("**/*.py") == _actions(section)


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("name", ["status", "erase", "redrive"])
@pytest.mark.parametrize("image_id", ["", "../images", "x?y#z", "an id"])
def test_what_is_no_image_id_is_refused_before_anything_is_asked(name: str, image_id: str) -> None:
    """An empty one would be a request for the list of all images."""
    refused = CliRunner().invoke(app, [name, image_id])

    assert refused.exit_code == ExitCode.USAGE
    assert "is no image_id" in " ".join(refused.stderr.split())
