"""Provided scripts run on their own: what they import is in the scripts layer or in Python."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "layers/scripts/scripts"


def imported_packages(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_scripts_import_only_pillow_and_the_standard_library() -> None:
    foreign = {
        (script.name, package)
        for script in SCRIPTS.glob("*.py")
        for package in imported_packages(script.read_text())
        if package != "PIL" and package not in sys.stdlib_module_names
    }

    assert foreign == set()
