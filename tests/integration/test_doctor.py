"""`imagelake doctor`, here and where a kernel refuses what AWS Lambda's refuses."""

import json
import os
import subprocess
import sys

import pytest

from imagelake.engine.runner import Measure
from imagelake_cli.doctor import _KEPT_FROM
from local.emulator import ROOT, lambda_like

DOCTOR = [sys.executable, "-c", "from imagelake_cli.main import app; app()", "doctor"]
DOCUMENTATION = (ROOT / "docs/scripts.md").read_text()


def test_says_what_holds_on_this_machine() -> None:
    ended = subprocess.run([*DOCTOR, "--json"], capture_output=True, text=True, check=False)
    said = json.loads(ended.stdout)
    assert said["measures"].keys() == set(Measure)
    assert said["confined"] == all(said["measures"].values())
    assert ended.returncode == (0 if said["confined"] else 1)


def test_says_what_does_not_hold_in_sentences_and_with_its_exit_code() -> None:
    command = lambda_like.command(DOCTOR)
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"})
    assert ended.returncode == 1, ended.stderr
    [line] = [line.split() for line in ended.stdout.splitlines() if line.startswith("filter")]
    assert line[1] == "no"
    assert f"of {len(Measure)} measures" in ended.stdout


@pytest.mark.parametrize("measure", Measure)
def test_every_measure_is_explained(measure: Measure) -> None:
    assert measure in _KEPT_FROM
    assert f"`{measure}`" in DOCUMENTATION
