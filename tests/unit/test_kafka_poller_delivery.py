"""What happens to a batch, with a function that fails as it is told."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from kafka_poller.delivery import (
    Condition,
    Delivery,
    FunctionFailedError,
    FunctionUnavailableError,
    RetryPolicy,
    StoppedError,
)
from kafka_poller.message import PAYLOAD_LIMIT, Message

type Behaviour = Callable[[list[int]], Any]


def batch(*offsets: int, **fields: Any) -> list[Message]:
    return [Message("images", 0, offset, **fields) for offset in offsets]


def failures(*offsets: Any, partition: str = "images-0") -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": {"partition": partition, "offset": o}} for o in offsets]}


@dataclass
class Run:
    """A delivery and everything it did."""

    behaviour: Behaviour
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    invoked: list[list[int]] = field(default_factory=list)
    kept: list[tuple[list[int], str, int]] = field(default_factory=list)
    keep_fails: int = 0

    def invoke(self, messages: list[Message]) -> Any:
        self.invoked.append([message.offset for message in messages])
        return self.behaviour(self.invoked[-1])

    def keep(self, messages: list[Message], condition: Condition, invocations: int) -> None:
        if self.keep_fails:
            self.keep_fails -= 1
            raise ConnectionError
        self.kept.append(([message.offset for message in messages], condition, invocations))

    def deliver(self, messages: list[Message]) -> Delivery:
        delivery = Delivery(self.policy, self.invoke, self.keep)
        delivery.deliver(messages)
        return delivery


def policy(**fields: Any) -> RetryPolicy:
    defaults: dict[str, Any] = {"maximum_retry_attempts": 2, "backoff": 0.0}
    return RetryPolicy(**(defaults | fields))


def crash_on(*bad: int) -> Behaviour:
    def behave(offsets: list[int]) -> None:
        if set(bad) & set(offsets):
            raise FunctionFailedError("Runtime.ExitError")

    return behave


@pytest.mark.parametrize("answer", [None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}, ""])
def test_an_empty_answer_is_success(answer: Any) -> None:
    run = Run(lambda _: answer, policy())
    delivery = run.deliver(batch(1, 2, 3))
    assert run.invoked == [[1, 2, 3]]
    assert (delivery.tally.delivered, delivery.tally.given_up) == (3, 0)


def test_only_the_named_messages_are_delivered_again() -> None:
    seen: list[list[int]] = []

    def behave(offsets: list[int]) -> Any:
        seen.append(offsets)
        return failures(4, 2) if len(seen) == 1 else {}

    run = Run(behave, policy())
    run.deliver(batch(1, 2, 3, 4))
    assert run.invoked == [[1, 2, 3, 4], [2, 4]]
    assert run.kept == []


def test_a_message_that_always_fails_is_given_up_after_the_retries() -> None:
    run = Run(lambda offsets: failures(2) if 2 in offsets else {}, policy())
    delivery = run.deliver(batch(1, 2, 3))
    assert run.invoked == [[1, 2, 3], [2], [2]]
    assert run.kept == [([2], "RetryAttemptsExhausted", 3)]
    assert delivery.tally.by_condition == {"RetryAttemptsExhausted": 1}


def test_no_retries_gives_up_at_once() -> None:
    run = Run(lambda _: failures(1), policy(maximum_retry_attempts=0))
    run.deliver(batch(1, 2))
    assert run.invoked == [[1, 2]]
    assert run.kept == [([1], "RetryAttemptsExhausted", 1)]


def test_a_crash_splits_the_batch_until_the_message_is_alone() -> None:
    run = Run(crash_on(5), policy())
    run.deliver(batch(*range(8)))
    assert run.kept == [([5], "RetryAttemptsExhausted", 3)]
    assert sorted(offset for offsets in run.invoked if 5 not in offsets for offset in offsets) == [0, 1, 2, 3, 4, 6, 7]


def test_splitting_counts_as_no_attempt_and_keeps_the_order() -> None:
    run = Run(crash_on(3), policy(maximum_retry_attempts=0))
    run.deliver(batch(0, 1, 2, 3))
    assert run.invoked == [[0, 1, 2, 3], [0, 1], [2, 3], [2], [3]]
    assert run.kept == [([3], "RetryAttemptsExhausted", 1)]


def test_without_bisect_a_crash_gives_up_the_whole_batch() -> None:
    run = Run(crash_on(3), policy(bisect_batch_on_function_error=False))
    run.deliver(batch(1, 2, 3))
    assert run.invoked == [[1, 2, 3]] * 3
    assert run.kept == [([1, 2, 3], "RetryAttemptsExhausted", 3)]


@pytest.mark.parametrize(
    "answer",
    [
        failures(99),
        failures(1, partition="images-1"),
        failures("1"),
        failures(None),
        {"batchItemFailures": [{"itemIdentifier": ""}]},
        {"batchItemFailures": [{}]},
        {"batchItemFailures": "1"},
        ["1"],
    ],
)
def test_an_answer_that_names_something_else_fails_the_whole_batch(answer: Any) -> None:
    run = Run(lambda _: answer, policy(bisect_batch_on_function_error=False))
    run.deliver(batch(1, 2))
    assert run.invoked == [[1, 2]] * 3
    assert run.kept == [([1, 2], "RetryAttemptsExhausted", 3)]


def test_without_report_batch_item_failures_answers_are_not_read() -> None:
    run = Run(lambda _: failures(1), policy(report_batch_item_failures=False))
    run.deliver(batch(1, 2))
    assert run.invoked == [[1, 2]]
    assert run.kept == []


def test_a_throttle_counts_as_no_attempt() -> None:
    left = [6]

    def behave(_: list[int]) -> None:
        if left[0]:
            left[0] -= 1
            raise FunctionUnavailableError("TooManyRequestsException")

    run = Run(behave, policy(maximum_retry_attempts=0))
    run.deliver(batch(1, 2))
    assert run.kept == []
    assert len(run.invoked) == 7


def test_messages_that_are_too_old_are_given_up_before_the_first_attempt() -> None:
    now = int(time.time() * 1000)
    old, young, undated = batch(1, timestamp=now - 61_000), batch(2, timestamp=now - 59_000), batch(3)
    run = Run(lambda _: {}, policy(maximum_record_age=60))
    run.deliver(old + young + undated)
    assert run.invoked == [[2, 3]]
    assert run.kept == [([1], "RecordAgeExceeded", 0)]


def test_a_message_over_the_payload_limit_is_given_up_and_its_neighbours_are_not() -> None:
    run = Run(lambda _: {}, policy())
    run.deliver(batch(1) + batch(2, value=b"x" * (PAYLOAD_LIMIT * 3 // 4)) + batch(3))
    assert run.invoked == [[1, 3]]
    assert run.kept == [([2], "MaximumPayloadSizeExceeded", 0)]


def test_giving_up_is_tried_until_it_succeeds() -> None:
    run = Run(lambda _: failures(1), policy(maximum_retry_attempts=0), keep_fails=5)
    run.deliver(batch(1))
    assert run.kept == [([1], "RetryAttemptsExhausted", 1)]


def test_stopping_abandons_the_batch() -> None:
    stopping = threading.Event()
    stopping.set()
    run = Run(lambda _: failures(1))
    with pytest.raises(StoppedError):
        Delivery(RetryPolicy(), run.invoke, run.keep, stopping).deliver(batch(1))
    assert run.kept == []


def test_pauses_double_up_to_their_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    class Clock(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0)
            return False

    monkeypatch.setattr("random.uniform", lambda _, high: high)
    run = Run(lambda _: failures(1))
    limits = RetryPolicy(maximum_retry_attempts=6, backoff=0.1, maximum_backoff=1.0)
    Delivery(limits, run.invoke, run.keep, Clock()).deliver(batch(1))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
