"""What the engine is told and what it answers: all that goes in and out where strangers' bytes are touched.

An order names no bucket and holds no credentials: two signed requests, good for one version of one image and for the
folder of what is made of it, for some minutes. An answer is what the engine measured. Whoever reads it believes
nothing but what it can check (`imagelake.process.closing`): a script may have written it.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, StringConstraints

from imagelake.engine.columns import HeaderColumns, ScriptColumns
from imagelake.engine.limits import Limits
from imagelake.engine.reason_codes import Reason
from imagelake.engine.scripts.result import DERIVATIVE_NAME

MAX_ANSWER_BYTES = 262_144
"""Of an answer as JSON: what a step of a workflow takes."""
MAX_DETAIL = 600
"""Characters of the sentence of a reason."""

MAX_SECONDS = 3600
MAX_MEMORY_MB = 131_072
"""More than any function or task has: what an engine says it took is counted, not believed beyond that."""

type Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Form(BaseModel):
    """A presigned POST: the fields go first, the file last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    fields: dict[str, str]


class EngineOrder(BaseModel):
    """What to do with one image.

    Args:
        image_url: a presigned GET of the image.
        form: takes derivatives under `prefix`.
        prefix: of their keys, with a slash at its end.
        result: takes the answer as JSON; only where nobody waits for it.
        bytes: of the image, as S3 says.
        sha256: which its sender gave, if any.
        limits: of the image and the scripts.
        large_limits: of a task that takes what is over `limits`; None in that task.
        has_task: whether the stack has such a task.
        scripts: by name, in the order in which they run.
        params: by script name.
        seconds: for the scripts, at most.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    image_url: str
    form: Form
    prefix: str
    result: Form | None = None
    bytes: NonNegativeInt
    sha256: Sha256 | None = None
    limits: Limits
    large_limits: Limits | None = None
    has_task: bool = False
    scripts: tuple[str, ...]
    params: dict[str, dict[str, Any]]
    seconds: float


class _Answered(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class _Took(_Answered):
    """What the child process took that decoded the image and ran the scripts, as its parent measured it.

    `seconds` is wall time, `peak_memory_mb` its largest resident set in MiB. Engines of earlier versions do not say.
    """

    seconds: Annotated[float, Field(ge=0, le=MAX_SECONDS)] | None = None
    peak_memory_mb: Annotated[float, Field(ge=0, le=MAX_MEMORY_MB)] | None = None


class MadeDerivative(_Answered):
    """An image that was made and stored, as `<prefix><name>.<extension>`. `width` and `height` are pixels."""

    name: Annotated[str, StringConstraints(pattern=f"^{DERIVATIVE_NAME}$")]
    extension: Literal["jpg", "png", "webp"]
    width: PositiveInt
    height: PositiveInt
    bytes: PositiveInt
    sha256: Sha256


class Processed(_Took):
    """The image was processed. `sha256` and `bytes` are of the file that was read; `script_output` is by script."""

    status: Literal["processed"]
    sha256: Sha256
    bytes: PositiveInt
    script_version: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}(,[0-9a-f]{12})*$")]
    header: HeaderColumns
    columns: ScriptColumns
    script_output: dict[str, dict[str, Any]]
    derivatives: Annotated[list[MadeDerivative], Field(max_length=64)]


class Rejected(_Took):
    """The image or a script is at fault. A file that is over the limit of bytes has not been read."""

    status: Literal["rejected"]
    sha256: Sha256 | None = None
    script_version: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}(,[0-9a-f]{12})*$")]
    code: Reason
    detail: Annotated[str, StringConstraints(pattern=rf"^[^\x00-\x1f\x7f]{{1,{MAX_DETAIL}}}$")]


class Large(_Answered):
    """The image is over the limits, and within those of the task for large images."""

    status: Literal["large"]


type EngineAnswer = Processed | Rejected | Large
