"""Lambda's kernel: what a child process can be kept from there. `make aws` prints it."""

import json

import pytest

from tests.aws.live import Probe


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
    assert probe("threads") == 8
