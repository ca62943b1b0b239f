"""What the code of a function imports, at once or when it needs it, ships with the function or its layers."""

import re
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import grimp
import pytest

from tests.application import FUNCTION_FOLDERS, ROOT, TEMPLATE, logical_id

LAYERS = {"DomainLayer": "imagelake", "ScriptsLayer": "scripts"}
OF_THE_RUNTIME = {"boto3", "botocore"}


@cache
def imports() -> grimp.ImportGraph:
    """All imports but those for types, wherever in a module they are."""
    return grimp.build_graph(
        "functions", "imagelake", "scripts", include_external_packages=True, exclude_type_checking_imports=True
    )


def distributions(file: Path) -> set[str]:
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else ()
    return {re.split(r"[^\w-]", line)[0] for line in lines if not line.startswith("#")}


def shipped(function: str) -> set[str]:
    properties: dict[str, Any] = TEMPLATE["Resources"][logical_id(function)]["Properties"]
    layers = [name for name in LAYERS if name in str(properties["Layers"])]
    files = [ROOT / f"layers/{LAYERS[name]}/requirements.txt" for name in layers]
    return {name for file in (ROOT / f"functions/{function}/requirements.txt", *files) for name in distributions(file)}


@pytest.mark.parametrize("function", FUNCTION_FOLDERS)
def test_a_function_ships_with_what_its_code_imports(function: str) -> None:
    graph, found = imports(), packages_distributions()
    upstream = graph.find_upstream_modules(f"functions.{function}.app")
    packages = {name for name in upstream if graph.is_module_squashed(name)}
    needed = packages - set(sys.stdlib_module_names) - OF_THE_RUNTIME

    assert {
        one for one in needed if not shipped(function) & {name.lower().replace("_", "-") for name in found[one]}
    } == set()


def test_imports_inside_of_functions_are_seen() -> None:
    chain = imports().find_shortest_chain("functions.rebuild_catalog.app", "duckdb")

    assert chain is not None
