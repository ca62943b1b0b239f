"""Two pictures sent at once through one form, 200 times: `python -m benchmarks.first_version_race`.

Runs the test of it, whose seeds decide after each request and each state of the workflow who goes on and who waits:
real workflow, real functions, stores in process. Prints how often row and derivatives were of the picture that was
stored first, of the other, or of both.
"""

import sys
from dataclasses import dataclass, field
from typing import Final

import pytest

TEST: Final = "tests/integration/test_first_version.py::test_two_pictures_at_once_are_never_mixed_and_never_the_second"
ROWS: Final = {
    "first": "row and derivatives are of the picture that was stored first",
    "mixed": "row and derivatives are of both",
    "second": "row and derivatives are of the other picture",
    "named after the first": "the row names the version that was stored first, and has both derivatives",
    "nothing of the second stored": "nothing of the other picture is stored",
    "processed by both executions": "both executions had the image processed",
    "red": "red was first",
    "blue": "blue was first",
}


@dataclass
class Races:
    """A plugin of pytest that keeps what the test has counted."""

    counted: dict[str, object] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest after each part of a test."""
        if report.when == "call":
            self.counted = dict(report.user_properties)


def main() -> int:
    """Print the table; 1 when a picture was mixed or the second, or the test has not counted."""
    races = Races()
    code = pytest.main(["--quiet", "--no-header", TEST], plugins=[races])
    print("\n| Of 200 races | |\n|---|---:|")
    for name, meaning in ROWS.items():
        print(f"| {meaning} | {races.counted.get(name, 0)} |")
    return int(code != pytest.ExitCode.OK)


if __name__ == "__main__":
    sys.exit(main())
