"""What the audit finds of each violation that is planted, as a table.

    python -m benchmarks.audit_findings

Runs the test that plants them, each in a lake of its own in process with the settings of the template.
"""

import sys
from dataclasses import dataclass, field
from typing import Final

import pytest

TEST: Final = "tests/integration/test_audit.py::test_the_audit_finds"


@dataclass
class Plants:
    """A plugin of pytest that keeps, by violation, what was found and whether that is all of it and nothing else."""

    found: dict[str, tuple[str, bool]] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest after each part of a test."""
        if report.when == "call":
            name = report.nodeid.partition("[")[2].rstrip("]")
            self.found[name] = str(dict(report.user_properties).get("found", "")), report.passed


def main() -> int:
    """Print the table; 1 when the audit missed anything, or found what is not there."""
    plants = Plants()
    code = pytest.main(["--quiet", "--no-header", "--no-summary", TEST], plugins=[plants])
    print("\n\n| Planted | Found | All of it, and nothing else |\n|---|---|---|")
    for name, (found, passed) in sorted(plants.found.items()):
        print(f"| {name.replace('_', ' ')} | {found} | {'yes' if passed else 'NO'} |")
    print(f"\n{sum(passed for _, passed in plants.found.values())} of {len(plants.found)} planted violations found")
    return int(code != pytest.ExitCode.OK)


if __name__ == "__main__":
    sys.exit(main())
