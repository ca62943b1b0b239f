"""The checks of a stack on AWS, tried on the local lake: those that need neither Lambda's kernel nor a network."""

import re
import subprocess
import sys

from local.emulator import ROOT
from local.lake import Lake


def test_the_checks_of_a_stack_on_aws_pass_where_they_do_not_need_aws(lake: Lake) -> None:
    ran = subprocess.run(  # our own interpreter, no shell
        [*(sys.executable, "-m", "pytest", "--quiet", "-rs", "-p", "no:randomly"), "tests/aws"],
        cwd=ROOT,
        env=lake.emulator.environment | {"STACK": lake.stack.name},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert int(re.findall(r"(\d+) passed", ran.stdout)[0]) >= 70
    assert "Lambda's kernel" in ran.stdout, "it says what it has not checked"
