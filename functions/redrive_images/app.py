"""Find images that another try may change, and start them again; called by `imagelake redrive`."""

from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain
from typing import Annotated, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, ConfigDict, Field, model_validator

from imagelake import emission, metrics
from imagelake.errors import unforeseen
from imagelake.keys import ArrivalHour, RawKey
from imagelake.process.redrive import AT_ONCE, Redrive
from imagelake.settings import load

logger = Logger()


class Request(BaseModel):
    """`hour`, as in keys, asks which images can be redriven; `image_ids` redrives these; or `keys`, of raw objects."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hour: str | None = None
    code: str | None = None
    after: str = ""
    image_ids: Annotated[list[str], Field(min_length=1, max_length=AT_ONCE)] | None = None
    keys: Annotated[list[str], Field(min_length=1, max_length=AT_ONCE)] | None = None
    dry_run: bool = False

    @model_validator(mode="after")
    def _asks_one_thing(self) -> "Request":
        if [self.hour, self.image_ids, self.keys].count(None) != 2:
            raise ValueError("give one of hour, image_ids and keys")
        for named in (self.image_ids, self.keys):
            if named and len(set(named)) < len(named):
                raise ValueError("one is named twice")
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
    keys = [RawKey.parse(key) for key in request.keys or ()]
    with unforeseen():
        done = chain(
            redrive.run(request.image_ids or (), now, dry_run=request.dry_run),
            redrive.run_arrivals(keys, now, dry_run=request.dry_run),
        )
        images = [asdict(one) for one in done]
    emission.add(metrics.IMAGES_REDRIVEN, sum(one["result"] == "redriven" for one in images))
    logger.info("redriven", extra={"images": images, "dry_run": request.dry_run})
    return {"images": images}
