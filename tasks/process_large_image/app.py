"""Process one large image with the provided scripts; a task of the workflow, with the image as its argument."""

import sys

from aws_lambda_powertools import Logger

from imagelake.errors import ImageLakeError, unforeseen
from imagelake.process.large_image import LargeImageArrived, LargeImageProcessing
from imagelake.settings import load

logger = Logger()


def main(argument: str) -> int:
    """Process the image that `argument`, a `LargeImageArrived` as JSON, names; the exit code is 0 but for faults."""
    image = LargeImageArrived.model_validate_json(argument)
    try:
        with unforeseen():
            outcome = load(LargeImageProcessing).run(image)
    except ImageLakeError as error:
        logger.error("image without an outcome", extra={"key": image.key, "reason": f"fault: {error}"})
        return 1
    logger.info("image %s", outcome.status, extra={"key": image.key, "reason": outcome.reason})
    return int(outcome.status == "failed")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
