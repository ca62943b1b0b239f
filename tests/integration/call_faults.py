"""Faults in the calls that the code makes: a program dies, an answer is lost, something else happens meanwhile."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ReadTimeoutError

from imagelake.errors import Fault
from tests.workflow import StateError

KINDS: Final = ("dies before it", "dies after it", "its answer is lost", "it is made twice", "meanwhile")


class Died(BaseException):
    """A program ended without a word."""


@dataclass(frozen=True)
class CallFault:
    """What happens to one call.

    Args:
        kind: one of `KINDS`. A call is made twice by a client of AWS that has waited in vain for its first answer.
        call: which call, from 0.
        meanwhile: what happens before the call, if the kind is `meanwhile`.
    """

    kind: str
    call: int
    meanwhile: Callable[[], object] = lambda: None


class CallFaults:
    """Counts the calls of some clients of AWS, and of functions by the workflow, and lets some of them go wrong."""

    def __init__(self, clients: Sequence[Any]) -> None:
        self._clients = clients
        self._faults: Sequence[CallFault] = ()
        self._calls = 0
        self._is_happening = False
        self._lock = threading.RLock()

    @contextmanager
    def injected(self, faults: Sequence[CallFault]) -> Iterator[None]:
        """Let calls go wrong, and what makes them fail; without faults, nothing may fail. Not within another."""
        if not faults or self._faults:
            yield
            return
        self._faults, self._calls = faults, 0
        hooks = {"before-call": self._before, "after-call": self._after, "needs-retry": self._twice}
        for one in self._clients:
            for event, hook in hooks.items():
                one.meta.events.register_first(event, hook)
        try:
            with suppress(Died, Fault, StateError):
                yield
        finally:
            self._faults = ()
            for one in self._clients:
                for event, hook in hooks.items():
                    one.meta.events.unregister(event, hook)

    def calling(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A function as the workflow calls it."""

        def call(payload: Any) -> Any:
            self._before()
            answer = function(payload)
            if self._is("it is made twice"):
                answer = function(payload)
            self._after()
            return answer

        return call

    def _before(self, **_: Any) -> None:
        if not self._faults or self._is_happening:  # a call of what happens meanwhile
            return
        with self._lock:
            self._calls += 1
            if self._is("dies before it"):
                raise Died
            if fault := self._is("meanwhile"):
                self._is_happening = True
                try:
                    fault.meanwhile()
                finally:
                    self._is_happening = False

    def _after(self, **_: Any) -> None:
        if self._is("dies after it"):
            raise Died
        if self._is("its answer is lost"):
            raise ReadTimeoutError(endpoint_url="https://aws.test")

    def _twice(self, attempts: int, **_: Any) -> int | None:
        return 0 if self._is("it is made twice") and attempts == 1 else None

    def _is(self, kind: str) -> CallFault | None:
        """The fault of this kind of the call that is under way."""
        if self._is_happening:
            return None
        return next((one for one in self._faults if (one.kind, one.call) == (kind, self._calls - 1)), None)


class AnsweringClient:
    """A client of the workflow, for which an answer that is lost is an error of its own."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            try:
                return getattr(self._client, operation)(**arguments)
            except ReadTimeoutError as error:
                raise StateError("SdkClientException", str(error)) from None

        return call
