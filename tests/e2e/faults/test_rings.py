"""An alarm on what lasts for a quarter of an hour rings on a deployed lake whose clock goes ahead.

Those that ring at once are in `tests/e2e/test_alarms.py`.
"""

from datetime import timedelta
from typing import Final

import pytest

from local import deployment
from local.lake import Lake
from tests.e2e.conftest import eventually
from tests.e2e.faults.injection import Clock

PERIOD: Final = timedelta(minutes=5)
PERIODS: Final = 3
"""That the alarm wants."""


def throttled_alarm(lake: Lake) -> str:
    name = deployment.physical_id(lake.emulator, lake.stack.name, "ThrottledAlarm")
    [found] = lake.client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return str(found["StateValue"])


@pytest.mark.timeout(0)
def test_a_function_that_is_throttled_for_a_quarter_of_an_hour_rings(clock: Clock) -> None:
    lake, functions = clock.lake, clock.lake.client("lambda")
    name = deployment.physical_id(lake.emulator, lake.stack.name, "OpenImageFunction")
    clock.go_on(timedelta(hours=1))  # after whatever was refused before
    eventually(lambda: throttled_alarm(lake), lambda state: state == "OK")
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    try:
        for number in range(PERIODS):
            assert throttled_alarm(lake) == "OK", f"after {number} periods"
            clock.go_on(PERIOD)
            with pytest.raises(functions.exceptions.TooManyRequestsException):
                functions.invoke(FunctionName=name, Payload=b"{}")
        eventually(lambda: throttled_alarm(lake), lambda state: state == "ALARM")
    finally:
        functions.delete_function_concurrency(FunctionName=name)
