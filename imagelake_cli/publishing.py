"""Events of hours, and the function of a stack that puts them again: the place that calls it and reads its answer."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict

from imagelake.keys import ArrivalHour
from imagelake_cli.stack_function import call

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

ANSWER_SECONDS: Final = 310
"""How long to wait for one answer: the function may run for 300."""


class PublishError(Exception):
    """The function failed; the message says how, and what to do."""


class Published(BaseModel):
    """What the function says of one hour; `imagelake.process.publication` describes the fields."""

    model_config = ConfigDict(frozen=True)

    hour: str
    published: int
    after: str | None


@dataclass(frozen=True)
class Publishing:
    """The function, by its name."""

    client: "LambdaClient"
    function: str

    def publish(self, hour: datetime, progress: Callable[[Published], None]) -> Published:
        """Put the events of one hour again, in as many calls as it takes.

        Args:
            hour: its first moment, UTC.
            progress: is told of every answer.

        Raises:
            PublishError: the function failed; what it put until then is put.
            ClientError, BotoCoreError: AWS refused, or could not be asked.
        """
        name, published, after = ArrivalHour.of(hour).path, 0, ""
        while True:
            answer = self._call({"hour": name, "after": after})
            published += answer.published
            told = answer.model_copy(update={"published": published})
            progress(told)
            if answer.after is None:
                return told
            after = answer.after

    def _call(self, request: dict[str, Any]) -> Published:
        def failure(reason: str) -> PublishError:
            again = "Run the command again: an event that comes twice has the same id."
            return PublishError(f"{request['hour']}: {reason}. {again}")

        return Published.model_validate(call(self.client, self.function, request, failure))
