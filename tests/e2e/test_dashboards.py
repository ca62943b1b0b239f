"""`imagelake dashboard`, as it is installed, draws what is deployed with the numbers of the lake that runs here."""

import json
import struct
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imagelake_cli.watch import widgets
from imagelake_cli.watch.monitor import Monitor
from local.emulator import ROOT
from local.lake import Lake
from local.samples import Sample
from tests.e2e.conftest import Await, Upload

PROGRAM = Path(sys.executable).with_name("imagelake")
OUTPUTS = {"flow": "DashboardUrl", "promise": "PromiseDashboardUrl"}


def totals(lake: Lake, name: str) -> dict[tuple[str, str], float | None]:
    """One number for each line of each graph, by title and label."""
    monitor = Monitor(lake.client("cloudwatch"))
    found = widgets.read(monitor.body(lake.stack.outputs[OUTPUTS[name]].rpartition("name=")[2]))
    end = datetime.now(UTC) + timedelta(minutes=1)
    return {
        (widget.title, line.label): line.total
        for widget in found.widgets
        for line in monitor.series(widget, end - timedelta(hours=3), end)
    }


def test_the_deployed_dashboards_have_alarms_and_every_graph_is_answered(lake: Lake) -> None:
    monitor = Monitor(lake.client("cloudwatch"))
    for name, output in OUTPUTS.items():
        deployed = lake.stack.outputs[output].rpartition("name=")[2]
        found = widgets.read(monitor.body(deployed))
        [alarms] = [widget.alarms for widget in found.widgets if widget.kind == "alarm"]
        assert deployed.endswith(f"-{name}")
        assert len(monitor.alarms(alarms)) == len(alarms) > 1
        assert totals(lake, name)


def test_a_processed_image_is_in_the_numbers(
    lake: Lake, samples: dict[str, Sample], upload: Upload, await_end: Await
) -> None:
    await_end(upload(samples["hills.jpg"]))
    found = totals(lake, "flow")

    used = found["How near do functions come to their time limit?", "process_image, of 45 s"]
    assert used is not None
    assert 0 < used < 100
    shared = found["How near is the account to its limit of concurrency?", "all functions of the account"]
    assert shared is not None
    assert shared > 0


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_command_draws_a_picture_of_the_lake_that_runs(lake: Lake, name: str, tmp_path: Path) -> None:
    file = tmp_path / "drawn.png"
    subprocess.run([PROGRAM, "dashboard", name, "-o", file], cwd=_described(lake, tmp_path), check=True, timeout=300)

    width, _ = struct.unpack(">II", file.read_bytes()[16:24])
    assert width > 1000
    assert (ROOT / "dashboards" / f"{name}.json").is_file()


def _described(lake: Lake, folder: Path) -> Path:
    """A folder from which commands find this lake."""
    (folder / ".local").mkdir()
    (folder / ".local/lake.json").write_text(json.dumps(lake.describe()), encoding="utf-8")
    return folder
