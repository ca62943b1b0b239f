"""What docs/aws.md says that a deployment settles is what tests/aws asks, and nothing is asked without an account.

Also what is the same in every account and partition, and what an idle stack costs beyond the default.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.application import ROOT

CHECKS = {path.name for path in ROOT.glob("tests/aws/test_*.py")}
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")]


def test_the_page_has_a_row_for_every_file_of_checks() -> None:
    _, _, section = (ROOT / "docs/aws.md").read_text().partition("## What only a deployment can settle")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "| `test_" in line
    ]

    assert sorted(name for _, settles, _ in rows for name in re.findall(r"`(test_\w+\.py)`", settles)) == sorted(CHECKS)
    for question, _, until_then in rows:
        assert question.endswith("?")
        assert until_then


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_checks_that_are_there(page: Path) -> None:
    assert set(re.findall(r"tests/aws/(test_\w+\.py)", page.read_text())) <= CHECKS


def test_without_a_stack_every_check_is_skipped_and_says_why() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "STACK"}
    ran = subprocess.run(  # our own interpreter, no shell
        [
            *(sys.executable, "-m", "pytest", "--quiet", "-rs", "-p", "no:randomly", "-p", "no:cacheprovider"),
            "tests/aws",
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout
    assert re.fullmatch(r"\d+ skipped in .*", ran.stdout.splitlines()[-1])
    assert "no stack is named: make aws STACK=image-lake" in ran.stdout


DEPLOYED = [
    *(
        ROOT / "template.yaml",
        *ROOT.glob("stacks/*.yaml"),
        *ROOT.glob("infra/*.yaml"),
        *ROOT.glob("statemachine/*.json"),
    ),
    *(
        path
        for folder in ("functions", "tasks", "layers/imagelake/imagelake")
        for path in ROOT.glob(f"{folder}/**/*.py")
    ),
    *ROOT.glob("imagelake_cli/**/*.py"),
]


def test_nothing_that_is_deployed_or_calls_aws_names_a_partition() -> None:
    assert len(DEPLOYED) > 50
    assert [path.name for path in DEPLOYED if "arn:aws:" in path.read_text()] == []


@pytest.mark.parametrize("page", ["README.md", "docs/kafka.md", "docs/aws.md"])
def test_a_page_says_what_an_idle_poller_costs(page: str) -> None:
    provisioned = [path for path in DEPLOYED if "ProvisionedPollerConfig: { MinimumPollers: 1," in path.read_text()]

    assert {path.name for path in provisioned} == {"kafka.yaml", "self_managed_kafka.yaml"}
    assert "about $135" in " ".join((ROOT / page).read_text().replace("**", "").split())
