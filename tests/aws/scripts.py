"""The scripts of all probes of the sandbox, each in a folder of the function in the engine's place."""

from tests.integration.probes import PROBES


def folders(probe: str) -> list[str]:
    """Of the scripts of a probe, in the order they run."""
    return [f"probe-{[*PROBES].index(probe)}-{number}" for number in range(len(PROBES[probe].scripts()))]


SCRIPTS = {
    folder: script for probe in PROBES for folder, script in zip(folders(probe), PROBES[probe].scripts(), strict=True)
}
