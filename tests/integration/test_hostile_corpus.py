import pytest

from imagelake.engine.runner import Limits, RunRejection, ScriptResult, find_scripts, run_scripts
from tests.integration.hostile_corpus import GROUPS, PROCESSED, HostileFile, corpus

MAX_SECONDS = 10
MAX_MEMORY_MB = 512


def problem(file: HostileFile) -> str | None:
    """What went wrong with `file`, or None."""
    ending: ScriptResult | RunRejection
    try:
        ending = run_scripts(file.content, find_scripts(["describe", "thumbnails"]), {}, Limits(), MAX_SECONDS)
    except RunRejection as rejection:
        ending = rejection
    outcome = ending.code if isinstance(ending, RunRejection) else PROCESSED
    if outcome not in file.outcomes:
        return f"{file.name}: {ending if isinstance(ending, RunRejection) else outcome}"
    if ending.peak_memory_mb > MAX_MEMORY_MB:
        return f"{file.name}: {ending.peak_memory_mb:.0f} MB"
    return None


@pytest.mark.parametrize("group", GROUPS)
def test_every_hostile_file_has_the_right_outcome_within_time_and_memory(group: str) -> None:
    files = list(corpus(group))
    assert [trouble for file in files if (trouble := problem(file))] == []


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    names = [file.name for group in GROUPS for file in corpus(group)]
    assert len(names) == len(set(names)) >= 120
