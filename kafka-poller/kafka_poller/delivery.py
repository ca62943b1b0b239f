"""What Lambda's event source mapping does with a batch until every message of it is done.

Kafka commits positions, not messages, so a batch is worked on until each message was either taken by the function or
given up; then, and only then, its position may be committed. The rules are those of provisioned mode:
https://docs.aws.amazon.com/lambda/latest/dg/kafka-retry-configurations.html
"""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from kafka_poller.message import PAYLOAD_LIMIT, Message

type Condition = Literal["RetryAttemptsExhausted", "RecordAgeExceeded", "MaximumPayloadSizeExceeded"]


class FunctionFailedError(Exception):
    """The function raised, timed out, crashed or answered what cannot be read; counts as an attempt."""


class FunctionUnavailableError(Exception):
    """The function was not run: throttled, or Lambda did not answer; is tried again and counts as nothing."""


class StoppedError(Exception):
    """Told to stop before the batch was done: nothing of it may be committed."""


@dataclass(frozen=True)
class RetryPolicy:
    """Properties of the event source mapping, under the same names.

    Args:
        maximum_retry_attempts: after the first attempt.
        maximum_record_age: seconds since the message's timestamp after which it is given up; None for never.
        bisect_batch_on_function_error: whether a failing batch is split in two, which counts as no attempt.
        report_batch_item_failures: whether the function's answer names the messages that failed.
        backoff: seconds before the first retry; doubles up to `maximum_backoff`, with jitter.
        maximum_backoff: seconds.
    """

    maximum_retry_attempts: int = 5
    maximum_record_age: float | None = None
    bisect_batch_on_function_error: bool = True
    report_batch_item_failures: bool = True
    backoff: float = 0.1
    maximum_backoff: float = 10.0


@dataclass
class Tally:
    """What became of the messages delivered so far; the counts that Lambda publishes as metrics."""

    polled: int = 0
    delivered: int = 0
    retried: int = 0
    given_up: int = 0
    invocations: int = 0
    errors: int = 0
    by_condition: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Delivery:
    """Delivers batches.

    Args:
        policy: when to try again and when to give up.
        invoke: runs the function with messages and returns its answer.
        give_up: keeps messages that will not be delivered; it is called until it succeeds.
        stopping: set to abandon the batch at hand.
        tally: counts along.
    """

    policy: RetryPolicy
    invoke: Callable[[list[Message]], Any]
    give_up: Callable[[list[Message], Condition, int], None]
    stopping: threading.Event = field(default_factory=threading.Event)
    tally: Tally = field(default_factory=Tally)

    def deliver(self, batch: list[Message]) -> None:
        """Bring every message of the batch to its end.

        Raises:
            StoppedError: `stopping` was set first.
        """
        self.tally.polled += len(batch)
        pending = [(batch, 0)]
        while pending:
            messages, attempts = pending.pop()
            messages = self._drop(messages, attempts)
            if messages:
                pending += reversed(list(self._attempt(messages, attempts)))

    def _attempt(self, messages: list[Message], attempts: int) -> Iterator[tuple[list[Message], int]]:
        """Run the function once; yields what is left to do."""
        if attempts:
            self.tally.retried += len(messages)
            self._pause(attempts)
        self.tally.invocations += 1
        try:
            failed = self._failures(messages, self._invoke(messages))
        except FunctionFailedError:
            self.tally.errors += 1
            if self.policy.bisect_batch_on_function_error and len(messages) > 1:
                middle = len(messages) // 2
                yield messages[:middle], attempts
                yield messages[middle:], attempts
                return
            failed = messages
        self.tally.delivered += len(messages) - len(failed)
        if failed and attempts >= self.policy.maximum_retry_attempts:
            self._give_up(failed, "RetryAttemptsExhausted", attempts + 1)
        elif failed:
            yield failed, attempts + 1

    def _invoke(self, messages: list[Message]) -> Any:
        waits = 0
        while True:
            try:
                return self.invoke(messages)
            except FunctionUnavailableError:
                waits += 1
                self._pause(waits)

    def _failures(self, messages: list[Message], answer: Any) -> list[Message]:
        """Messages that the answer names.

        An answer that names something else is no answer: AWS then delivers the whole batch again.
        """
        if not self.policy.report_batch_item_failures or not answer:
            return []
        if not isinstance(answer, dict) or not isinstance(answer.get("batchItemFailures") or [], list):
            raise FunctionFailedError(f"not a partial batch response: {json.dumps(answer)[:200]}")
        known = {(message.topic_partition, message.offset) for message in messages}
        failed = set()
        for item in answer.get("batchItemFailures") or []:
            match item:
                case {"itemIdentifier": {"partition": str(partition), "offset": int(offset)}} if (
                    position := (partition, offset)
                ) in known:
                    failed.add(position)
                case _:
                    raise FunctionFailedError(f"names a message that was not in the batch: {json.dumps(item)[:200]}")
        return [message for message in messages if (message.topic_partition, message.offset) in failed]

    def _drop(self, messages: list[Message], attempts: int) -> list[Message]:
        """Give up what is too old or too large to be sent; returns the others."""
        deadline = time.time() - (self.policy.maximum_record_age or float("inf"))
        kept: list[Message] = []
        dropped: dict[Condition, list[Message]] = {}
        for message in messages:
            if 0 <= message.timestamp < deadline * 1000:
                dropped.setdefault("RecordAgeExceeded", []).append(message)
            elif message.payload_bytes > PAYLOAD_LIMIT:
                dropped.setdefault("MaximumPayloadSizeExceeded", []).append(message)
            else:
                kept.append(message)
        for condition, given_up in dropped.items():
            self._give_up(given_up, condition, attempts)
        return kept

    def _give_up(self, messages: list[Message], condition: Condition, invocations: int) -> None:
        waits = 0
        while True:
            try:
                self.give_up(messages, condition, invocations)
                break
            except Exception:  # noqa: BLE001  # whatever it is, committing now would lose the messages
                waits += 1
                self._pause(waits)
        self.tally.given_up += len(messages)
        self.tally.by_condition[condition] = self.tally.by_condition.get(condition, 0) + len(messages)

    def _pause(self, attempts: int) -> None:
        longest = min(self.policy.maximum_backoff, self.policy.backoff * 2 ** min(attempts - 1, 30))
        if self.stopping.wait(longest * random.uniform(0.5, 1)):  # noqa: S311  # jitter is no secret
            raise StoppedError
