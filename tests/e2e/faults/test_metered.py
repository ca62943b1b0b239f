"""After a clean run and one under faults, all of the registry was emitted, and nothing else.

By name, unit and dimensions; the dashboards and alarms of the lake are on the same.
"""

import pytest

from local.lake import Lake
from tests.e2e.faults import metered

UNSEEN = {
    "EngineAnswersInvalid",  # no honest engine gives one: `tests/integration/test_alarms.py` has a forged one
    "ScriptFailures",  # `tests/e2e/test_releases.py` has a script that fails
    "ScriptFailuresOfAllVersions",
    "EnvironmentsGivenUp",  # `tests/integration/test_lambda_process.py` has one that is replaced
    "LaterVersions",  # `tests/e2e/test_corridor.py` has a form that is used twice
}
"""What neither run emits; a test elsewhere does."""


@pytest.mark.timeout(0)
def test_all_metrics_of_the_registry_were_emitted_and_no_other(lake: Lake) -> None:
    metered.check(lake, unseen=UNSEEN)
