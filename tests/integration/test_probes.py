"""Every probe of the sandbox, both ways: with filters, and where the kernel refuses them as Lambda's does.

What is reached, and what is not, is what `docs/sandbox.md` says.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagelake.engine import runner
from imagelake.engine.json_value import Json
from imagelake.engine.runner import Measure
from imagelake.errors import Rejection
from tests.application import ROOT
from tests.integration.lambda_process import SECRET, LambdaProcess, RuntimeApi
from tests.integration.probes import GROUPS, PROBES, Given
from tests.integration.test_misbehaving_scripts import PROBE, Run, clears_up, run
from tests.unit.pictures import encoded, photo

__all__ = ["run"]  # a fixture

IMAGE = encoded(photo())
PAGE = ROOT / "docs/sandbox.md"


def reached(output: Json) -> bool:
    """Whether a script says it got what it wanted."""
    return isinstance(output, dict) and output.get("reached") is True


def _given(address: tuple[str, int], file_of_user: Path, folder_of_all: str, package: Path = PROBE) -> Given:
    return {
        "address": address,
        "file_of_user": str(file_of_user),
        "folder_of_all": folder_of_all,
        "package": str(package),
        "nap": f"5.{uuid.uuid4().int}",
    }


@pytest.fixture
def listening() -> Iterator[tuple[str, int]]:
    """A server on this machine, for whoever may connect: a Runtime API that has two events."""
    server = RuntimeApi()
    for request_id in ("own", "another"):
        server.events.put((request_id, {}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield ("127.0.0.1", server.server_port)
    server.shutdown()
    server.server_close()


@pytest.fixture
def other_program() -> Iterator[None]:
    """Somebody's program beside the engine, with credentials in its environment and on its command line."""
    program = [sys.executable, "-c", "input()", SECRET]
    with subprocess.Popen(program, stdin=subprocess.PIPE, env=os.environ | {"SECRET": SECRET}) as running:
        yield
        running.kill()


@pytest.mark.parametrize("name", PROBES)
def test_with_filters(
    name: str,
    run: Run,  # a fixture
    tmp_path: Path,
    listening: tuple[str, int],
    other_program: None,  # noqa: ARG001  # it is there to be found
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not all(runner.measures().values()):
        pytest.skip("this kernel does not confine by all measures")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    (tmp_path / "of-user").write_text(SECRET)
    with tempfile.TemporaryDirectory(prefix="of-others-") as folder:
        (Path(folder) / "of-another").touch()
        given = _given(listening, tmp_path / "of-user", folder)
        output: Json = {}
        for script in PROBES[name].scripts():
            try:
                output = run(script, params=given)
            except Rejection:
                output = {}
        assert clears_up()
    assert reached(output) == PROBES[name].with_filters


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("name", PROBES)
def test_as_on_lambda(name: str, function: LambdaProcess) -> None:
    of_user = function.folder / "of-user"
    of_user.write_text(SECRET)
    given = _given(function.api_address, of_user, "/tmp")  # noqa: S108  # its own
    output: Json = {}
    for script in PROBES[name].scripts():
        answer = function.invoke(script, IMAGE, params=given)
        output = answer.get("output", {})
    assert reached(output) == PROBES[name].on_lambda


UNCONFINED = """
import importlib.util, json, os, sys
given = json.loads(sys.argv[1])
def run(file):
    spec = importlib.util.spec_from_file_location("script", file)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.process(None, given)["metadata"]["reached"]
if (child := os.fork()) == 0:
    *_, last = map(run, sys.argv[2:])
    os._exit(int(last))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user is confined already")
@pytest.mark.parametrize("name", [name for name, probe in PROBES.items() if not probe.forges])
def test_without_a_sandbox_every_probe_gets_what_it_wants(
    name: str,
    tmp_path: Path,
    listening: tuple[str, int],
    other_program: None,  # noqa: ARG001  # it is there to be found
) -> None:
    """So a probe that fails in one has been kept from it."""
    (tmp_path / "of-user").write_text(SECRET)
    (tmp_path / "of-another").touch()
    given = _given(listening, tmp_path / "of-user", str(tmp_path), tmp_path / "package.pth")
    files = []
    for number, script in enumerate(PROBES[name].scripts()):
        files.append(tmp_path / f"script_{number}.py")
        files[-1].write_text(script)
    environment = os.environ | {"SECRET": SECRET}

    ended = subprocess.run(
        [sys.executable, "-c", UNCONFINED, json.dumps(given), *map(str, files)],
        cwd=tmp_path,
        env=environment,
        check=False,
    )

    assert ended.returncode == 1


def test_the_page_has_a_row_for_every_probe_and_says_what_is_reached() -> None:
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    rows = {
        section.partition("\n")[0]: [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in section.splitlines()
            if line.startswith("| ") and not line.startswith("| A script |")
        ]
        for section in sections
    }
    said = {title: [row[0] for row in found] for title, found in rows.items() if found}
    assert said == {title: [*group] for title, group in GROUPS.items()}
    for name, with_filters, on_lambda, remains in (row for found in rows.values() for row in found):
        for cell, is_reached in ((with_filters, PROBES[name].with_filters), (on_lambda, PROBES[name].on_lambda)):
            assert cell == "**yes**" if is_reached else cell.startswith("no: "), name
        assert bool(remains) == PROBES[name].on_lambda, name
        measures = {word for cell in (with_filters, on_lambda) for word in re.findall(r"`([a-z_]+)`", cell)}
        assert measures <= {*map(str, Measure), "ptrace"}, name
