"""One order from its image to its answer: the engine as a function, a task and a test run it.

`answer` is a pure function of bytes; `carry_out` reads them and stores what was made.
"""

import hashlib
import json
from dataclasses import replace

from imagelake.engine import guard, runner, transfer
from imagelake.engine.columns import HEADER_COLUMNS, SCRIPT_COLUMNS, HeaderColumns, ScriptColumns
from imagelake.engine.contract import MAX_DETAIL, EngineAnswer, EngineOrder, Large, MadeDerivative, Processed, Rejected
from imagelake.engine.limits import Limits
from imagelake.engine.reason_codes import Reason
from imagelake.engine.runner import EncodedDerivative, RunRejection, Script, ScriptResult
from imagelake.errors import Rejection

TOO_LARGE = frozenset({Reason.TOO_MANY_PIXELS, Reason.SIDE_TOO_LONG})
"""Rejections of what a task with more memory may take."""


def carry_out(order: EngineOrder, seconds: float) -> EngineAnswer:
    """Process the image of an order, in at most `seconds`, and store what is made of it.

    Raises:
        Fault: S3 did not answer, or refused; another try may help.
        SettingsError: there is no such script.
    """
    scripts = runner.find_scripts(order.scripts)
    try:
        guard.check_size(order.bytes, order.limits.max_bytes)
    except Rejection as rejection:
        return _rejected(rejection, scripts, None)
    answered, made = answer(transfer.fetch(order.image_url), order, scripts, seconds)
    for derivative in made:
        key = f"{order.prefix}{derivative.name}.{derivative.extension}"
        transfer.store(order.form, key, derivative.content, derivative.content_type)
    return answered


def answer(
    content: bytes, order: EngineOrder, scripts: tuple[Script, ...], seconds: float
) -> tuple[EngineAnswer, tuple[EncodedDerivative, ...]]:
    """What the engine says of the bytes of an image, and what it made of them."""
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        if order.sha256 not in (None, sha256):
            raise Rejection(Reason.CHECKSUM_MISMATCH, "the file does not have the SHA-256 that its sender gave")
        result = runner.run_scripts(content, scripts, order.params, order.limits, min(seconds, order.seconds))
    except Rejection as rejection:
        if rejection.code in TOO_LARGE and _fits_a_task(content, order):
            if order.has_task:
                return Large(status="large"), ()
            detail = f"{rejection.detail}; enable large images (parameter LargeImageTag) to accept it"
            rejection = Rejection(rejection.code, detail)
        return _rejected(rejection, scripts, sha256), ()
    columns = result.columns
    processed = Processed(
        status="processed",
        sha256=sha256,
        bytes=len(content),
        script_version=_versions(scripts),
        header=HeaderColumns.model_validate({name: columns[name] for name in HEADER_COLUMNS if name in columns}),
        columns=ScriptColumns.model_validate_json(
            json.dumps({name: columns[name] for name in SCRIPT_COLUMNS if name in columns})
        ),
        script_output=result.script_output,
        derivatives=[_described(one) for one in result.derivatives],
        **_took(result),
    )
    return processed, result.derivatives


def with_memory(order: EngineOrder, memory_mb: int) -> EngineOrder:
    """The order, with so many megabytes for its scripts."""
    return order.model_copy(update={"limits": replace(order.limits, memory_mb=memory_mb)})


def _rejected(rejection: Rejection, scripts: tuple[Script, ...], sha256: str | None) -> Rejected:
    return Rejected(
        status="rejected",
        sha256=sha256,
        script_version=_versions(scripts),
        code=Reason(rejection.code),
        detail=_one_line(rejection.detail),
        **(_took(rejection) if isinstance(rejection, RunRejection) else {}),
    )


def _took(run: ScriptResult | RunRejection) -> dict[str, float]:
    """Nothing where no process was started: the header was enough."""
    if not run.peak_memory_mb:
        return {}
    return {"seconds": round(run.seconds, 3), "peak_memory_mb": round(run.peak_memory_mb, 1)}


def _one_line(detail: str) -> str:
    return "".join(letter if letter >= " " and letter != "\x7f" else " " for letter in detail)[:MAX_DETAIL] or " "


def _versions(scripts: tuple[Script, ...]) -> str:
    return ",".join(script.version for script in scripts)


def _described(made: EncodedDerivative) -> MadeDerivative:
    return MadeDerivative.model_validate(
        {
            "name": made.name,
            "extension": made.extension,
            "width": made.width,
            "height": made.height,
            "bytes": len(made.content),
            "sha256": hashlib.sha256(made.content).hexdigest(),
        }
    )


def _fits_a_task(content: bytes, order: EngineOrder) -> bool:
    """Whether an image over the limits is within those of the task for large images; in the task it never is."""
    if order.large_limits is None:
        return False
    limits: Limits = replace(order.large_limits, formats=order.limits.formats)
    try:
        guard.inspect(content, limits)
    except Rejection:
        return False
    return True
