"""Every command line of `imagelake` in the documentation can be typed: command, options and arguments are there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from imagelake_cli.main import app
from tests.application import ROOT

PAGES = [page for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")) if page.name != "CHANGELOG.md"]
LINE = re.compile(r"^ {4,}(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?imagelake (?P<used>.*)$")
INLINE = re.compile(r"`imagelake (?P<used>[^`]+)`")
SHELL = {"|", "||", "&&", ";", ">", ">>", "<"}
"""What ends a command line."""


def used(text: str) -> Iterator[tuple[str, bool]]:
    """The command lines in a page, without `imagelake`; and whether each is a line of its own, not in a sentence."""
    for line in text.replace("\\\n", " ").splitlines():
        if whole := LINE.match(line):
            yield whole["used"], True
        for found in INLINE.finditer(line):
            yield found["used"], False


def refusal(line: str, *, is_whole: bool) -> str | None:
    """Why a command line cannot be typed."""
    words = shlex.split(line, comments=True)
    words = words[: next((at for at, word in enumerate(words) if word in SHELL), len(words))]
    command: Any = get_command(app)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name = words.pop(0)
        if name not in command.commands:
            return f"there is no command {name}"
        command = command.commands[name]
    parser = command.make_parser(command.context_class(command))
    try:
        given, left, _ = parser.parse_args(list(words))
    except Exception as error:  # noqa: BLE001  # whatever the parser says
        return str(error) if is_whole or "No such option" in str(error) else None
    if not is_whole:  # a sentence leaves out what does not matter there
        return None
    if hasattr(command, "commands") and not given:
        return "its command is missing"
    if left:
        return f"it does not take {left}"
    return next((f"{one.name} is missing" for one in command.params if one.required and not given.get(one.name)), None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_line_can_be_typed(page: Path) -> None:
    found = list(used(page.read_text(encoding="utf-8")))

    refused = {line: said for line, is_whole in found if (said := refusal(line, is_whole=is_whole))}

    assert refused == {}


def test_command_lines_are_found_and_refused() -> None:
    text = "\n".join(
        [
            "Ask `imagelake dead-letters --stack lake`, or `imagelake query`, or `imagelake users group`.",
            "",
            "    $ imagelake upload photos/ --tag a=b \\",
            "        --wait | tee log     # as ever",
            "    imagelake redrive --our 1",
            "    imagelake status",
            "    .venv/bin/imagelake dead-leters list",
            "    imagelake dead-letters",
        ]
    )

    said = {line: refusal(line, is_whole=is_whole) for line, is_whole in used(text)}

    assert [line for line, refused in said.items() if refused is None] == [
        "query", "users group", "upload photos/ --tag a=b          --wait | tee log     # as ever",
    ]  # fmt: skip
    assert len(said) == 8
    assert {"upload", "dead-letters list"} <= {
        " ".join(line.split()[:count])
        for page in ("docs/cli.md", "docs/operations.md")
        for line, _ in used((ROOT / page).read_text(encoding="utf-8"))
        for count in (1, 2)
    }
