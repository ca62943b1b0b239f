"""What a function imports is in its package or in the layer that all functions have."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.application import ROOT

LAYER = ROOT / "layers/imagelake"
FUNCTIONS = sorted(path.parent.name for path in ROOT.glob("functions/*/app.py"))
OF_THE_RUNTIME = {"boto3", "botocore"}


def packages(requirements: Path) -> set[str]:
    """What it installs, as it is imported."""
    text = requirements.read_text() if requirements.exists() else ""
    return {name.replace("-", "_") for name in re.findall(r"^([\w-]+)==", text, re.MULTILINE)}


def imports(path: Path) -> Iterator[str]:
    """Modules that it imports somewhere, but for those that only types need."""
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        waiting += ast.iter_child_nodes(node)


def imported(function: str) -> set[str]:
    """Packages of others that the function imports, through whatever modules of ours."""
    seen, found = set[Path](), set[str]()
    waiting = [ROOT / "functions" / function / "app.py"]
    while waiting:
        path = waiting.pop()
        seen.add(path)
        for module in imports(path):
            ours = LAYER.joinpath(*module.split("."))
            files = {file for file in (ours.with_suffix(".py"), ours / "__init__.py") if file.is_file()}
            waiting += files - seen
            found |= set() if module.startswith("imagelake") else {module.split(".")[0]}
    return found - sys.stdlib_module_names


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_has_what_it_imports_and_no_package_besides(function: str) -> None:
    own = packages(ROOT / "functions" / function / "requirements.txt")
    of_layer = packages(LAYER / "requirements.txt")

    assert imported(function) - of_layer - OF_THE_RUNTIME == own
