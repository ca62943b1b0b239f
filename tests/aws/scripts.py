"""The scripts that run in the engine's place, each in a folder there: all probes, and one with threads."""

from tests.integration.probes import PROBES

WITH_THREADS = "with-threads"
_WITH_THREADS = """
from concurrent.futures.thread import ThreadPoolExecutor
from threading import Barrier
def process(image, params):
    barrier = Barrier(8, timeout=10)
    with ThreadPoolExecutor(8) as pool:
        return {"metadata": {"places": sorted(pool.map(lambda _: barrier.wait(), range(8)))}}
"""


def folders(probe: str) -> list[str]:
    """Of the scripts of a probe, in the order they run."""
    return [f"probe-{[*PROBES].index(probe)}-{number}" for number in range(len(PROBES[probe].scripts()))]


SCRIPTS = {
    folder: script for probe in PROBES for folder, script in zip(folders(probe), PROBES[probe].scripts(), strict=True)
} | {WITH_THREADS: _WITH_THREADS}
