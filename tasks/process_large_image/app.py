"""Carry out one order for a large image; a task of the workflow, with the URL of the order as its argument.

The task has no role. It stores its answer with a form that is part of the order, and the workflow goes on from there.
"""

import json
import sys
from dataclasses import dataclass

from aws_lambda_powertools import Logger

from imagelake.engine import environment, transfer, work
from imagelake.engine.contract import EngineOrder, Form
from imagelake.engine.limits import MEGABYTE
from imagelake.errors import ImageLakeError, SettingsError, unforeseen
from imagelake.settings import load

logger = Logger()

MEMORY_BESIDE_SCRIPTS_MB = 800
"""Of the task's memory, kept back from the scripts for the program itself and what it holds of the image."""


@dataclass(frozen=True)
class Task:
    """What the task definition says of the task: its memory in MiB."""

    task_memory_mb: int

    @property
    def script_memory_mb(self) -> int:
        """What the program leaves to its scripts, in MB."""
        return self.task_memory_mb * 1_048_576 // MEGABYTE - MEMORY_BESIDE_SCRIPTS_MB


def main(order_url: str) -> int:
    """Process the image of an order and store the answer; the exit code is 0 but for faults."""
    prefix = None
    try:
        with unforeseen():
            order = EngineOrder.model_validate_json(transfer.fetch(order_url))
            prefix = order.prefix
            answer = work.carry_out(work.with_memory(order, load(Task).script_memory_mb), order.seconds)
            content = json.dumps(answer.model_dump(mode="json")).encode()
            transfer.store(_result(order), f"{order.prefix}result.json", content, "application/json")
        environment.report_measures()
    except ImageLakeError as error:
        logger.error("image without an answer", extra={"prefix": prefix, "reason": f"fault: {error}"})
        return 1
    logger.info("image %s", answer.status, extra={"prefix": prefix})
    return 0


def _result(order: EngineOrder) -> Form:
    if order.result is None:
        raise SettingsError("the order has no form for its result")
    return order.result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
