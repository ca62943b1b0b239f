"""What `sam build` made of the functions and layers of the running lake."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from local.emulator import ROOT
from local.lake import Lake
from tests.application import FUNCTION_FOLDERS, logical_id
from tools.package_sizes import LIMIT_BYTES, function_folders, function_sizes

UNCHECKED_HASH = (0b01).to_bytes(4, "little")
"""PEP 552: by hash, and the source is not looked at."""


@pytest.fixture(scope="module")
def built(lake: Lake) -> Path:
    return lake.emulator.folder / "build"


def test_every_source_has_bytecode_that_is_never_checked(built: Path) -> None:
    headers = {source: _header(Path(importlib.util.cache_from_source(source))) for source in built.rglob("*.py")}
    assert {source.name for source in headers} >= {"app.py", "buckets.py", "describe.py", "main.py"}
    assert [source for source, head in headers.items() if head != importlib.util.MAGIC_NUMBER + UNCHECKED_HASH] == []


def _header(bytecode: Path) -> bytes:
    return bytecode.read_bytes()[:8] if bytecode.exists() else b""


@pytest.mark.parametrize("function", FUNCTION_FOLDERS)
def test_a_start_compiles_nothing(built: Path, tmp_path: Path, function: str) -> None:
    folder = function_folders(built / "template.yaml")[logical_id(function)]
    packages = [folder, built / "DomainLayer/python", built / "ScriptsLayer/python"]
    for number, package in enumerate(packages):
        shutil.copytree(package, tmp_path / str(number))
    for source in tmp_path.rglob("*.py"):
        source.write_text("raise AssertionError('compiled')", encoding="utf-8")
    subprocess.run(
        [ROOT / ".venv-lambda" / "bin" / "python", "-c", "import app; assert callable(app.handler)"],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(str(tmp_path / str(number)) for number in range(len(packages))),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        check=True,
    )


def test_functions_fit_with_their_layers(built: Path) -> None:
    sizes = function_sizes(built / "template.yaml")
    assert set(sizes) == {logical_id(function) for function in FUNCTION_FOLDERS}
    assert {name: whole for name, (_, whole) in sizes.items() if whole > LIMIT_BYTES} == {}
