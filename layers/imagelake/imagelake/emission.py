"""Emits metrics of the registry, as log lines that CloudWatch makes metrics of: no function needs a permission for it.

A handler is decorated with `emits`; `add` anywhere below it. What was added is written when the handler ends, also when
it raises.
"""

import functools
from collections.abc import Callable
from datetime import timedelta

from aws_lambda_powertools.metrics import EphemeralMetrics

from imagelake.metrics import COLD_STARTS, NAMESPACE, Metric

type Handler[Event, Context, Answer] = Callable[[Event, Context], Answer]

_added: dict[tuple[str, str] | None, EphemeralMetrics] = {}
"""What is to be written, by dimension and value besides the service."""


def add(metric: Metric, value: float = 1, of: str | None = None) -> None:
    """Add a value of a metric; not from several threads at once.

    Args:
        metric: of the registry.
        value: in the metric's unit.
        of: the value of the metric's own dimension, where it has one.

    Raises:
        ValueError: `of` is none of the metric's values.
    """
    if of not in (metric.values or (None,)):
        raise ValueError(f"{metric.name} has no {metric.by or 'dimension'} {of!r}")
    dimension = (metric.by, of) if metric.by and of else None
    if dimension not in _added:
        _added[dimension] = EphemeralMetrics(namespace=NAMESPACE)
        if dimension:
            _added[dimension].add_dimension(*dimension)
    _added[dimension].add_metric(metric.name, metric.unit, value)


def add_time(metric: Metric, taken: timedelta, of: str | None = None) -> None:
    """Add a time to a metric in milliseconds. Clocks differ, so one may be less than none: it counts as none."""
    add(metric, max(0.0, round(taken.total_seconds() * 1000, 1)), of)


def emits[Event, Context, Answer](handler: Handler[Event, Context, Answer]) -> Handler[Event, Context, Answer]:
    """Have what `handler` adds written when it ends, and the first of its invocations counted as a cold start."""

    @functools.wraps(handler)
    def handle(event: Event, context: Context) -> Answer:
        _count_cold_start()
        try:
            return handler(event, context)
        finally:
            flush()

    return handle


def flush() -> None:
    """Write what was added."""
    while _added:
        _, metrics = _added.popitem()
        if metrics.metric_set:  # one that had a hundred values has been written
            metrics.flush_metrics()


@functools.cache
def _count_cold_start() -> None:
    add(COLD_STARTS)
