"""Limits as the stacks have them: thresholds of alarms, and time and memory of functions."""

from functools import cache
from typing import Any, Final

from samcli.yamlhelper import yaml_parse

from local.emulator import ROOT
from tools.cloudwatch.panels import Mark

_FILES: Final = ("template.yaml", *sorted(str(file.relative_to(ROOT)) for file in ROOT.glob("stacks/*.yaml")))


@cache
def _resources() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name in _FILES:
        template = yaml_parse((ROOT / name).read_text(encoding="utf-8"))
        common = template.get("Globals", {}).get("Function", {})
        defaults = {name: one["Default"] for name, one in template.get("Parameters", {}).items() if "Default" in one}
        for logical_id, resource in template["Resources"].items():
            of_function = resource["Type"] == "AWS::Serverless::Function"
            properties = (common if of_function else {}) | resource.get("Properties", {})
            if isinstance(limit := properties.get("Threshold"), dict):
                properties |= {"Threshold": defaults[limit["Ref"]]}
            found[logical_id] = properties
    return found


def seconds(function: str) -> int:
    """How long a function may take, by its logical id."""
    return int(_resources()[function]["Timeout"])


def memory_gb(function: str) -> str:
    """Memory of a function as math writes it: a number, or a parameter in it."""
    match _resources()[function]["MemorySize"]:
        case {"Ref": parameter}:
            return f"(${{{parameter}}} / 1024)"
        case megabytes:
            return f"{megabytes / 1024:g}"


def threshold(alarm: str, *, thousand: bool = False) -> Mark:
    """Where an alarm rings, by its logical id; with `thousand`, of milliseconds as seconds."""
    value = float(_resources()[alarm]["Threshold"])
    return Mark(value / 1000 if thousand else value, f"{alarm} rings")
