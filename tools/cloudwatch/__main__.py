"""Writes `dashboards/` from the registry of metrics: `python -m tools.cloudwatch [--check]`.

With `--check` it compares instead of writing.
"""

import re
import sys
from pathlib import Path
from typing import Final

from local.emulator import ROOT
from tools.cloudwatch import body, flow, promise, structure

FOLDER: Final = ROOT / "dashboards"
DASHBOARDS: Final = (flow.DASHBOARD, promise.DASHBOARD)
_HEADER: Final = """\
# Written by make dashboards from the registry of metrics and tools/cloudwatch/.
AWSTemplateFormatVersion: "2010-09-09"
Description: The dashboards of operators, Flow and Promise.

Parameters:
"""


def files() -> dict[Path, str]:
    """What is to be written, by its place.

    Raises:
        ValueError: CloudWatch would not take a dashboard.
    """
    bodies = {one.name: body.written(one) for one in DASHBOARDS}
    for text in bodies.values():
        structure.check(text)
    jsons = {FOLDER / f"{name}.json": text for name, text in bodies.items()}
    return jsons | {FOLDER / "template.yaml": _template(bodies)}


def _template(bodies: dict[str, str]) -> str:
    """The nested stack. A dashboard's name has the region in it, because dashboards have none of their own."""
    used = dict.fromkeys(name for text in bodies.values() for name in re.findall(r"\$\{(\w+)\}", text))
    names = ["LakeName", *(name for name in used if name != "LakeName")]
    lines = [f"  {name}: {{ Type: {body.PARAMETER_TYPES.get(name, 'String')} }}" for name in names]
    lines += [
        "",
        "# The first three dashboards of an account are free where each has no more than 50 metrics.",
        "Resources:",
    ]
    for name, text in bodies.items():
        lines += [
            f"  {name.title()}Dashboard:",
            "    Type: AWS::CloudWatch::Dashboard",
            "    Properties:",
            f"      DashboardName: !Sub ${{LakeName}}-${{AWS::Region}}-{name}",
            "      DashboardBody: !Sub |",
            *(f"        {line}" for line in text.splitlines()),
            "",
        ]
    url = "https://${AWS::Region}.console.aws.amazon.com/cloudwatch/home?region=${AWS::Region}#dashboards:name="
    lines.append("Outputs:")
    for name in bodies:
        lines += [f"  {name.title()}DashboardUrl:", f"    Value: !Sub {url}${{{name.title()}Dashboard}}"]
    return _HEADER + "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Write the files, or say which is not as it would be written."""
    stale = []
    for file, text in files().items():
        if "--check" not in arguments:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != text:
            stale.append(file.relative_to(ROOT))
    for name in stale:
        print(f"{name}: not as written by make dashboards")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
