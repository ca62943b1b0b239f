"""What nobody waits for, and what operators call, run now: on AWS each has the rights that it takes."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from botocore.config import Config

from tests.aws.live import Live

SECONDS = 900
"""The longest that a function may take."""
NOW, SINCE = (f"{datetime.now(UTC) - timedelta(hours=hours):%Y-%m-%dT%H}" for hours in (0, 4))


@pytest.mark.parametrize("function", ["ReconcileFunction", "CompactCatalogFunction", "AuditRetentionFunction"])
def test_what_is_scheduled_runs_to_its_end(live: Live, function: str) -> None:
    patient = Config(read_timeout=SECONDS + 10, retries={"total_max_attempts": 1})

    answer = live.client("lambda", patient).invoke(FunctionName=live.physical_ids[function], Payload=b"{}")

    assert "FunctionError" not in answer, answer["Payload"].read().decode()


@pytest.mark.parametrize(
    "command",
    [
        ["redrive", "--from", SINCE, "--to", NOW, "--dry-run", "--json"],
        ["catalog", "rebuild", "--from", SINCE, "--to", NOW, "--dry-run", "--json"],
        ["dead-letters", "list", "--json"],
        ["retention", "due", "--hours", "1", "--json"],
        ["doctor", "--json"],
        ["query", "--named", "arrivals", "--format", "json"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_command_of_operators_or_analysts_works(live: Live, command: list[str]) -> None:
    ran = subprocess.run(  # our own interpreter, no shell
        [sys.executable, "-c", "from imagelake_cli.main import app; app()", *command, "--stack", live.stack],
        env=os.environ | {"AWS_REGION": live.region},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode in (0, 3), ran.stderr  # 3: there was something to be done, and it was a dry run
    for line in ran.stdout.splitlines():
        json.loads(line)
