"""Metric math of the emulator gives what AWS's documentation says."""

import pytest

from local.emulator.metric_math import QUOTA, Series, evaluate

NAMED: dict[str, Series] = {"m1": {0: 10, 60: 20, 120: 30}, "m2": {0: 5, 120: 0}, "nothing": {}}
PERIODS = [0, 60, 120]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("m1", {0: 10, 60: 20, 120: 30}),
        ("m1 / 10", {0: 1, 60: 2, 120: 3}),
        ("100 - m1 * 2", {0: 80, 60: 60, 120: 40}),
        ("-m1 + 1", {0: -9, 60: -19, 120: -29}),
        ("m1 - m2", {0: 5, 120: 30}),
        ("m1 / m2", {0: 2}),
        ("m1 + nothing", {}),
        ("FILL(m2, 7)", {0: 5, 60: 7, 120: 0}),
        ("m1 + FILL(nothing, 0)", {0: 10, 60: 20, 120: 30}),
        ("IF(m1 >= 20, m1, 0)", {0: 0, 60: 20, 120: 30}),
        ("IF(m1 >= 20, m2, 1)", {0: 1, 120: 0}),
        ("SUM([m1, m2, nothing])", {0: 15, 60: 20, 120: 30}),
        ("MAX([m1, m2])", {0: 10, 60: 20, 120: 30}),
        ("MIN([m1, m2])", {0: 5, 60: 20, 120: 0}),
        ("AVG([m1, m2])", {0: 7.5, 60: 20, 120: 15}),
        ("SUM([m1, m2]) * (1769 / 1024) / 1000", {0: 15 * 1.769 / 1024, 60: 20 * 1.769 / 1024, 120: 30 * 1.769 / 1024}),
        ("TIME_SERIES(24 * 7 + 2)", {0: 170, 60: 170, 120: 170}),
        ("24 * 7", {0: 168, 60: 168, 120: 168}),
        ("100 * m1 / SERVICE_QUOTA(m1)", {0: 1000 / QUOTA, 60: 2000 / QUOTA, 120: 3000 / QUOTA}),
    ],
)
def test_an_expression_is_evaluated_in_each_period(expression: str, expected: Series) -> None:
    assert evaluate(expression, NAMED, PERIODS) == pytest.approx(expected)


@pytest.mark.parametrize(
    "expression",
    [
        "RATE(m1)",
        "m1 ** 2",
        "IF(m1 > 1, 1, 0)",
        "IF(1, m1, m2)",
        "SUM(m1)",
        "FILL(1, 2)",
        "TIME_SERIES(m1)",
        "m1 +",
        "'m1'",
    ],
)
def test_what_is_not_known_is_refused(expression: str) -> None:
    with pytest.raises(NotImplementedError):
        evaluate(expression, NAMED, PERIODS)


def test_an_id_that_is_not_there_is_refused() -> None:
    with pytest.raises(KeyError, match="m3"):
        evaluate("m1 + m3", NAMED, PERIODS)


def test_a_search_is_put_together() -> None:
    def find(wanted: str, stat: str, period: int) -> list[Series]:
        assert (wanted, stat, period) == ('{N,a} MetricName="M"', "Sum", 60)
        return [{0: 1, 60: 2}, {60: 3}]

    expression = "2 * SUM(SEARCH('{N,a} MetricName=\"M\"', 'Sum', 60))"
    assert evaluate(expression, {}, PERIODS, find) == {0: 2, 60: 10}
    with pytest.raises(NotImplementedError):
        evaluate(expression, {}, PERIODS)
