"""Images to redrive, and the function of a stack that does it: the place that calls it and reads its answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import batched
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from imagelake.keys import ArrivalHour
from imagelake_cli.stack_function import call

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

ANSWER_SECONDS: Final = 310
"""How long to wait for one answer: the function may run for 300."""
AT_ONCE: Final = 25
"""Images of one call: a few seconds, so that progress shows."""


class RedriveError(Exception):
    """The function failed; the message says how, and what to do."""


class Found(BaseModel):
    """An image that can be redriven; `imagelake.process.redrive` describes the fields."""

    model_config = ConfigDict(frozen=True)

    image_id: str
    status: str
    code: str


class Redriven(BaseModel):
    """What became of an image; `imagelake.process.redrive` describes the fields."""

    model_config = ConfigDict(frozen=True)

    image_id: str
    result: Literal["redriven", "redrivable", "final", "processed", "waiting", "changed", "unknown", "gone"]
    status: str | None = None
    code: str | None = None


class _Candidates(BaseModel):
    images: list[Found]
    final: int
    after: str | None


_REDRIVEN: Final = TypeAdapter(list[Redriven])


@dataclass(frozen=True)
class ImageRedriving:
    """The function, by its name."""

    client: "LambdaClient"
    function: str

    def find(self, hour: datetime, code: str | None) -> Iterator[tuple[list[Found], int]]:
        """The images of an hour that can be redriven, some at a time, and how many others another try cannot change.

        Args:
            hour: its first moment, UTC.
            code: of the reason; by default any.

        Raises:
            RedriveError: the function failed.
            ClientError, BotoCoreError: AWS refused, or could not be asked.
        """
        after: str | None = ""
        while after is not None:
            request = {"hour": ArrivalHour.of(hour).path, "code": code, "after": after}
            answer = _Candidates.model_validate(self._call(request))
            yield answer.images, answer.final
            after = answer.after

    def redrive(self, image_ids: Sequence[str], *, dry_run: bool) -> Iterator[list[Redriven]]:
        """Start images again, some at a time.

        Raises:
            RedriveError: the function failed; what was started until then goes on.
            ClientError, BotoCoreError: AWS refused, or could not be asked.
        """
        for some in batched(image_ids, AT_ONCE, strict=False):
            answer = self._call({"image_ids": list(some), "dry_run": dry_run})
            yield _REDRIVEN.validate_python(answer["images"])

    def start_arrivals(self, keys: Sequence[str], *, dry_run: bool) -> Iterator[list[Redriven]]:
        """Start the images of raw objects, some at a time: those without an outcome, the others as `redrive` does.

        Raises:
            RedriveError, ClientError, BotoCoreError: as `redrive`.
        """
        for some in batched(keys, AT_ONCE, strict=False):
            answer = self._call({"keys": list(some), "dry_run": dry_run})
            yield _REDRIVEN.validate_python(answer["images"])

    def _call(self, request: dict[str, Any]) -> Any:
        def failure(reason: str) -> RedriveError:
            again = "Run the command again: what was redriven and processed is not found again."
            return RedriveError(f"{reason}. {again}")

        return call(self.client, self.function, request, failure)
