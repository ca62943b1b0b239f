"""`imagelake retention`, `logs` and `doctor`, as they are installed, on the lake that runs here."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from imagelake import metrics
from local import deployment
from local.lake import Lake
from local.samples import Sample
from tests.e2e.conftest import Await, Command, Upload, eventually, invoke


def test_what_was_logged_about_an_image_is_found_in_every_log_group(
    command: Command, samples: dict[str, Sample], upload: Upload, await_end: Await
) -> None:
    image_id, other = upload(samples["icon.bmp"]), upload(samples["hills.jpg"])
    await_end(image_id)
    await_end(other)

    lines = [json.loads(line) for line in command("logs", image_id, "--json").stdout.splitlines()]

    assert {"OpenImage", "ProcessImage", "CloseImage"} <= {line["source"] for line in lines}
    assert lines == sorted(lines, key=lambda line: str(line["time"]))
    assert any(":execution" in str(line["line"].get("execution")) for line in lines if isinstance(line["line"], dict))
    of_functions = [line for line in lines if line["source"].endswith("Image")]
    assert not any(other in json.dumps(line["line"]) for line in of_functions)
    assert "image processed" in command("logs", image_id).stdout


def test_the_report_of_an_audit_and_what_is_due_next_are_shown(
    lake: Lake, command: Command, samples: dict[str, Sample], upload: Upload, await_end: Await
) -> None:
    image_id = upload(samples["icon.bmp"])
    hour = await_end(image_id)["received_at"][:13]
    counted = invoke(lake, "AuditRetentionFunction", {})

    report = command("retention", "report", "--json")
    due = command("retention", "due", "--hours", "200", "--json")

    told = json.loads(report.stdout)
    assert (told["overdue"], told["early"], told["other"]) == tuple(
        counted[name] for name in ("overdue", "early", "other")
    )
    assert report.returncode == (3 if counted["findings"] else 0)
    places = {one["place"]: one for one in map(json.loads, due.stdout.splitlines()) if one["hour"] == hour}
    assert {"raw", "derived", "items"} <= places.keys()
    assert {one["state"] for one in places.values()} == {"next"}


@contextmanager
def stopped(lake: Lake, function: str) -> Iterator[None]:
    """Meanwhile nothing brings events to a function."""
    name = deployment.physical_id(lake.emulator, lake.stack.name, function)
    functions = lake.client("lambda")
    [mapping] = functions.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    try:
        yield
    finally:
        functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)


def test_the_doctor_finds_a_stream_that_is_switched_off_and_an_alarm_that_rings(lake: Lake, command: Command) -> None:
    def look() -> dict[str, list[tuple[str, str]]]:
        findings: dict[str, list[tuple[str, str]]] = {}
        for one in map(json.loads, command("doctor", "--lake", "--json").stdout.splitlines()):
            findings.setdefault(one["check"], []).append((one["state"], one["said"]))
        return findings

    well = look()
    assert {state for check in ("stack", "outputs", "credentials", "event sources", "schedules", "api throttle") for
            state, _ in well[check]} == {"ok"}  # fmt: skip
    assert not [said for findings in well.values() for state, said in findings if state == "unknown"]
    lake.client("cloudwatch").put_metric_data(
        Namespace=metrics.NAMESPACE,
        MetricData=[
            {
                "MetricName": "EngineAnswersInvalid",
                "Dimensions": [{"Name": "service", "Value": lake.stack.name}],
                "Value": 1,
                "Unit": "Count",
            }
        ],
    )
    with stopped(lake, "WriteCatalogFunction"):
        ill = eventually(look, lambda seen: seen["event sources"][0][0] == "broken")

    assert "WriteCatalogFunction" in ill["event sources"][0][1]
    assert {state for state, _ in ill["alarms"]} == {"broken"}
    assert any("EngineAnswersInvalidAlarm rings" in said for _, said in ill["alarms"])
