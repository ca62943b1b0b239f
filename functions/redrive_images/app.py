"""Find images that another try may change, and start them again; called by `imagelake redrive`."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, ConfigDict, Field, model_validator

from imagelake import emission, metrics
from imagelake.errors import unforeseen
from imagelake.keys import ArrivalHour
from imagelake.process.redrive import AT_ONCE, Redrive
from imagelake.settings import load

logger = Logger()


class Request(BaseModel):
    """Either `hour`, as in keys, asks which images can be redriven, or `image_ids` redrives these."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hour: str | None = None
    code: str | None = None
    after: str = ""
    image_ids: Annotated[list[str], Field(min_length=1, max_length=AT_ONCE)] | None = None
    dry_run: bool = False

    @model_validator(mode="after")
    def _asks_one_thing(self) -> "Request":
        if (self.hour is None) == (self.image_ids is None):
            raise ValueError("give one of hour and image_ids")
        if self.image_ids and len(set(self.image_ids)) < len(self.image_ids):
            raise ValueError("image_ids has one twice")
        return self


@emission.emits
@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Return `redrive.Candidates`, or `images` with a `redrive.Redriven` for each; raise when another try may help."""
    request = Request.model_validate(event)
    redrive, now = load(Redrive), datetime.now(UTC)
    if request.hour is not None:
        hour = ArrivalHour.parse(request.hour)
        with unforeseen():
            return asdict(redrive.find(hour, now, request.code, request.after))
    with unforeseen():
        images = [asdict(one) for one in redrive.run(request.image_ids or (), now, dry_run=request.dry_run)]
    emission.add(metrics.IMAGES_REDRIVEN, sum(one["result"] == "redriven" for one in images))
    logger.info("redriven", extra={"images": images, "dry_run": request.dry_run})
    return {"images": images}
