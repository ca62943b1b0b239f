"""The function's own process, beside which scripts of others run: hidden from them, and replaced after one misbehaved.

Lambda's kernel refuses most of what confines a script (`engine.sandbox`). What is left to do, and done here:

- `begin` starts the process again from an executable that its user may not read. The kernel then keeps others of the
  same user, which scripts are, out of its memory and its environment. It also ends what an earlier process has left,
  and empties `/tmp`, which Lambda keeps when it starts a function's process again.
- `gives_up` does the same after an invocation in which a script crashed, was stopped, left something behind or made up
  its result. The answer is sent first, so no invocation fails for it: the next one waits for a start of the function.

Where a script has changed how this process runs, which a start under the same number would keep, it ends: the next
invocation then starts another.

These are for Lambda only, which is known by its Runtime API. On other machines the next image gets a new warm process,
and the large-image task has no next image; it reports its measures (`report_measures`) as the function does.
"""

import functools
import http.client
import json
import os
import sys
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol

from imagelake.engine import own_metrics
from imagelake.engine.sandbox import confinement, processes, rooms, traces, unreadable

_RUNTIME_API: Final = "AWS_LAMBDA_RUNTIME_API"
_STARTED_AGAIN: Final = "IMAGELAKE_STARTED_AGAIN"
_GIVEN_UP: Final = "IMAGELAKE_GIVEN_UP"
_API_SECONDS: Final = 10.0
_CONDITION: Final = traces.condition()

_is_lost = False
"""Whether this process has to end, and could not do so when its answer was ready."""


class Context(Protocol):
    """Of an invocation, as much as is needed here."""

    @property
    def aws_request_id(self) -> str:
        """The number of the invocation."""
        ...


type Handler[C: Context] = Callable[[dict[str, Any], C], dict[str, Any]]


def begin() -> None:
    """Start this process again as one that is hidden, if it is not; to be called before anything else is imported."""
    if _RUNTIME_API not in os.environ:
        return
    if not confinement.hide_from_relatives() and _STARTED_AGAIN not in os.environ:
        _start_again()
    processes.end_leftovers()
    rooms.empty_tmp()
    traces.remove_kept_bytes()


def gives_up[C: Context](handler: Handler[C]) -> Handler[C]:
    """Have the process that runs `handler` replaced where a script has misbehaved, as the module says.

    Also reports its measures.
    """

    @functools.wraps(handler)
    def handle(event: dict[str, Any], context: C) -> dict[str, Any]:
        if _is_lost:
            os._exit(1)  # the workflow tries again
        _count_cold_start()
        try:
            answer = handler(event, context)
        except Exception as error:
            if _is_soiled():
                _leave(context.aws_request_id, "error", {"errorType": type(error).__name__, "errorMessage": str(error)})
            raise
        report_measures()
        if _is_soiled():
            _leave(context.aws_request_id, "response", answer)
        return answer

    return handle


def _is_soiled() -> bool:
    from imagelake.engine import runner

    return runner.ended_abnormally() or traces.condition() != _CONDITION


@functools.cache
def _count_cold_start() -> None:
    """Count the start of a function's process. One after a script misbehaved is none, and counted by itself."""
    if _GIVEN_UP not in os.environ:
        own_metrics.write(own_metrics.COLD_STARTS, 1, "the first invocation of this process")


@functools.cache
def report_measures() -> None:
    """Say once, in a log line that is a metric too, which measures do not confine the scripts of this process."""
    from imagelake.engine import runner

    missing = [str(measure) for measure, holds in runner.measures().items() if not holds]
    if missing:
        _warn(
            own_metrics.MEASURES_MISSING, len(missing), "the kernel does not confine scripts by all measures", missing
        )


def _leave(request_id: str, kind: str, answer: dict[str, Any]) -> None:
    """Send the answer of this invocation, then start this process again; return if there is nobody to send it to."""
    global _is_lost
    from imagelake.engine import runner

    _warn(own_metrics.ENVIRONMENTS_GIVEN_UP, 1, "a script did not end normally: the next image gets a new process")
    if _RUNTIME_API not in os.environ:
        return
    runner.shut_down()
    sys.stdout.flush()
    sys.stderr.flush()
    _is_lost = not _send(request_id, kind, answer)
    if processes.are_left():
        processes.end_all()
        os._exit(1)
    if not _is_lost:
        if traces.condition() != _CONDITION:
            os._exit(1)
        os.environ[_GIVEN_UP] = "1"
        _start_again()


def _send(request_id: str, kind: str, answer: dict[str, Any]) -> bool:
    """Tell Lambda how an invocation ended, as its runtime would have; whether Lambda has taken it."""
    headers = {"Content-Type": "application/json"}
    if kind == "error":
        headers["Lambda-Runtime-Function-Error-Type"] = answer["errorType"]
    api = http.client.HTTPConnection(os.environ[_RUNTIME_API], timeout=_API_SECONDS)
    try:
        api.request("POST", f"/2018-06-01/runtime/invocation/{request_id}/{kind}", json.dumps(answer), headers)
        return api.getresponse().status == HTTPStatus.ACCEPTED
    except (OSError, http.client.HTTPException):
        return False
    finally:
        api.close()


def _start_again() -> None:
    """Become a new process under the same number, hidden; return only if the kernel refuses that."""
    environment = os.environ | {_STARTED_AGAIN: "1", "LD_LIBRARY_PATH": unreadable.library_path()}
    try:
        os.execve(f"/proc/self/fd/{unreadable.interpreter()}", sys.orig_argv, environment)  # noqa: S606
    except OSError as error:
        _warn(own_metrics.MEASURES_MISSING, 1, f"this process cannot be started again: {error.strerror}", ["hidden"])


def _warn(metric: str, value: int, message: str, measures: Sequence[str] = ()) -> None:
    own_metrics.write(metric, value, message, {"level": "WARNING", "measures": list(measures)})
