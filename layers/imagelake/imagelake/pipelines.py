"""The limits of an image and the scripts that run on it, as `pipelines.yaml` says.

`make pipelines` checks that file and writes `pipelines.json` beside this module, so a function needs no YAML parser.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from imagelake.engine.limits import Limits

FILE: Final = Path(__file__).with_name("pipelines.json")


@dataclass(frozen=True)
class Pipeline:
    """Scripts by name, in the order in which they run, and their parameters by script name."""

    scripts: tuple[str, ...]
    params: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Pipelines:
    """What `pipelines.yaml` says.

    Args:
        limits: of every image.
        large_limits: of an image in the task for large images, which computes `memory_mb` itself.
        default: the pipeline of every image.
    """

    limits: Limits
    large_limits: Limits
    default: Pipeline


@cache
def load() -> Pipelines:
    """Read `FILE`, once per process."""
    document = json.loads(FILE.read_bytes())
    default = document["pipelines"]["default"]
    return Pipelines(
        limits=Limits(**document["limits"]),
        large_limits=Limits(**document["large_limits"]),
        default=Pipeline(tuple(default["scripts"]), default["params"]),
    )
