"""The documentation of the API is tried as it is written."""

import os
import re
import subprocess
import sys
from pathlib import Path

from local.api_client import ApiClient
from local.demo import how_to_go_on
from local.emulator import ROOT
from local.lake import Lake
from local.samples import Sample


def test_the_python_in_the_documentation_uploads_an_image(
    lake: Lake, client: ApiClient, samples: dict[str, Sample], tmp_path: Path
) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "photo.jpg").write_bytes(samples["hills.jpg"].content)
    environment = os.environ | {"API": lake.api_url, "TOKEN": lake.sign_in()}

    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("processed")
    [image] = [
        one
        for one in client.images(limit=20)["images"]
        if one["metadata"].get("tags") == {"filename": "photo.jpg", "site": "north"}
    ]
    assert len(image["derivatives"]) == run.stdout.count("http")


def test_what_a_running_lake_says_can_be_pasted_into_a_shell(lake: Lake) -> None:
    lines = how_to_go_on(lake).split("\n\n", 1)[1].splitlines()
    # The poller would run on, and `imagelake` finds a lake that `make run` has started only.
    commands = [line for line in lines if not any(word in line for word in ("kafka_poller", "imagelake "))]

    run = subprocess.run(["sh", "-euc", "\n".join(commands)], capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stderr
    assert '"images"' in run.stdout
    assert '"upload"' in run.stdout
