"""The documentation of scripts is tried as it is written."""

import json
import re
from pathlib import Path
from textwrap import dedent

import pytest

from imagelake.engine.reason_codes import Reason
from imagelake.engine.runner import Limits, Script, find_scripts, run_scripts
from tests.unit.pictures import encoded, photo

ROOT = Path(__file__).parents[2]
SCRIPTS = (ROOT / "docs/scripts.md").read_text()
LIMITS = (ROOT / "docs/limits.md").read_text()
PROVIDED = sorted(file.stem for file in (ROOT / "layers/scripts/scripts").glob("[!_]*.py"))


def test_the_script_in_the_documentation_runs(tmp_path: Path) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", SCRIPTS, re.DOTALL)
    file = tmp_path / "warmth.py"
    file.write_text(source)
    result = run_scripts(encoded(photo()), [Script.from_file(file)], {"warmth": {"side": 32}}, Limits(), 10)
    assert list(result.script_output["warmth"]) == ["warmth"]
    assert [(made.name, made.width) for made in result.derivatives] == [("preview", 32)]


def test_the_script_in_the_readme_runs(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    (block,) = [block for block in re.findall(r"(?:^(?:    .*)?\n)+", readme, re.MULTILINE) if "def process" in block]
    file = tmp_path / "dark.py"
    file.write_text(dedent(block.partition(".venv/bin")[0]))
    result = run_scripts(encoded(photo()), [Script.from_file(file)], {}, Limits(), 10)
    assert 0 <= json.loads(json.dumps(result.script_output))["dark"]["dark"] <= 1


def test_every_reason_is_documented() -> None:
    assert [reason for reason in Reason if f"`{reason}`" not in SCRIPTS + LIMITS] == []


def test_every_provided_script_is_documented_and_runs_alone_and_in_a_chain() -> None:
    assert [name for name in PROVIDED if f"| `{name}` |" not in SCRIPTS] == []
    for chain in [[name] for name in PROVIDED] + [PROVIDED]:
        result = run_scripts(encoded(photo(400, 300)), find_scripts(chain), {}, Limits(), 10)
        assert result.columns["format"] == "JPEG"


def test_the_example_with_numpy_runs() -> None:
    pytest.importorskip("numpy")
    script = Script.from_file(ROOT / "examples/vegetation.py")
    result = run_scripts(encoded(photo(400, 300)), [script], {}, Limits(), 20)
    assert 0 <= json.loads(json.dumps(result.script_output))["vegetation"]["green_share"] <= 1
    assert result.derivatives[0].name == "vegetation"
