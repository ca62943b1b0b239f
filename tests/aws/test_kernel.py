"""Lambda's kernel: what a child process can be kept from there. `make aws` prints it."""

import base64
import json

import pytest

from tests.aws.live import Probe
from tests.aws.scripts import WITH_THREADS
from tests.unit.pictures import encoded, photo


@pytest.mark.usefixtures("deployed")
def test_what_confines_a_script(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    kernel, measures = probe("kernel"), probe("measures")
    with capsys.disabled():
        print("\n", json.dumps({"kernel": kernel, "measures": measures}, indent=2))

    assert kernel["user"] != 0
    assert not kernel["code_writable"]
    # docs/scripts.md says that Lambda refuses these. If it does not any more, the page is wrong and scripts better off.
    assert not measures["filter"]
    assert kernel["no_new_privileges"] != 0
    assert measures["limits"]


def test_scripts_have_threads(probe: Probe) -> None:
    """Eight that wait for each other."""
    image = base64.b64encode(encoded(photo())).decode()

    said = probe("run_script", folder=WITH_THREADS, image=image, params={})

    assert said == {"places": list(range(8))}
