"""Hours of the catalog, and the function of a stack that rebuilds one: the place that calls it and reads its answer."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from imagelake.keys import ArrivalHour
from imagelake_cli.stack_function import call

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

ANSWER_SECONDS: Final = 910
"""How long to wait for one answer: the function may run for 900."""


class RebuildError(Exception):
    """The function failed; the message says how, and what to do."""


class Rebuilt(BaseModel):
    """What the function says of one hour; `imagelake.catalog.rebuild` describes the fields."""

    model_config = ConfigDict(frozen=True)

    hour: str
    state: Literal["complete", "incomplete", "rebuilt", "open", "due"]
    items: int
    rows: int
    missing: int
    restored: int
    finished: bool


@dataclass(frozen=True)
class CatalogRebuilding:
    """The function, by its name."""

    client: "LambdaClient"
    function: str

    def rebuild(self, hour: datetime, *, dry_run: bool, progress: Callable[[Rebuilt], None]) -> Rebuilt:
        """Rebuild one hour, in as many calls as it takes.

        Args:
            hour: its first moment, UTC.
            dry_run: whether to say only what is missing.
            progress: is told of every answer.

        Raises:
            RebuildError: the function failed, or got nowhere; what it restored until then is kept.
            ClientError, BotoCoreError: AWS refused, or could not be asked.
        """
        restored, idle = 0, 0
        while idle < 3:
            answer = self._call({"hour": ArrivalHour.of(hour).path, "dry_run": dry_run})
            restored += answer.restored
            idle = 0 if answer.restored else idle + 1
            told = answer.model_copy(update={"restored": restored})
            progress(told)
            if answer.finished:
                return told
        raise RebuildError(f"{hour:%Y-%m-%dT%H}: the files of the hour keep changing. Try again in a few minutes.")

    def _call(self, request: dict[str, Any]) -> Rebuilt:
        def failure(reason: str) -> RebuildError:
            return RebuildError(f"{request['hour']}: {reason}. Run the command again: it goes on where it stopped.")

        return Rebuilt.model_validate(call(self.client, self.function, request, failure))
