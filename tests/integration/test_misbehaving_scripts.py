"""Scripts that do their worst. Each gets a clear reason in time, and leaves nothing behind for the next image."""

import json
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from textwrap import dedent, indent
from types import MappingProxyType
from typing import Any

import PIL
import pytest
from PIL import Image

from imagelake.engine.json_value import Json
from imagelake.engine.runner import Limits, Reason, Script, ended_abnormally, find_scripts, run_scripts
from imagelake.engine.sandbox.sandbox import SandboxError
from imagelake.errors import Rejection
from tests.unit.pictures import HEIC, encoded, photo

SECONDS = 10.0
SECONDS_TO_HANG = 1.0
"""For scripts that never end by themselves: the others must not run into it, however busy the machine."""
IMAGE = encoded(photo())
GOOD = "def process(image, params): return {'metadata': {'size': image.size}}"


@dataclass(frozen=True)
class Misbehaviour:
    """A body of `process`, and the reason that is right for it; a tuple where the kernel decides which comes first."""

    body: str
    reasons: tuple[Reason, ...]
    at_import: str = ""

    @property
    def seconds(self) -> float:
        return SECONDS_TO_HANG if Reason.SCRIPT_TIMEOUT in self.reasons else SECONDS

    @property
    def source(self) -> str:
        body = indent(dedent(self.body), "    ")
        head = f"{dedent(self.at_import)}\nimport os, sys, time"
        return f"{head}\ndef process(image, params):\n{body}\n    return {{}}\n"


def because(*reasons: Reason) -> tuple[Reason, ...]:
    return reasons


def forging(document: object, contents: bytes = b"") -> str:
    """A body that puts a result of its own in the place of the engine's."""
    text = document if isinstance(document, str) else json.dumps(document)
    return f"""
        head = {text!r}.encode()
        for file in range(3, 64):
            try: os.pwrite(file, len(head).to_bytes(8, "big") + head + {contents!r}, 64)
            except OSError: pass
        os._exit(0)
    """


def derivative(content: bytes, **description: object) -> dict[str, object]:
    return FORGED | {"derivatives": [DERIVATIVE | {"bytes": len(content)} | description]}


STORED = {"format": "JPEG", "width": 96, "height": 64, "mode": "RGB", "frames": 1, "orientation": 1}
FORGED = {"stored": STORED, "metadata": {}, "derivatives": []}
DERIVATIVE = {"name": "a", "extension": "jpg", "width": 1, "height": 1, "bytes": 0}
FORGERIES = {
    "a_fault": {"fault": "x"},
    "a_reason_of_its_own": {"rejected": ["because", "x"]},
    "a_reason_of_two_lines": {"rejected": ["corrupt", "one\ntwo"]},
    "a_reason_of_none": {"rejected": ["corrupt", ""]},
    "a_reason_without_end": {"rejected": ["corrupt", "x" * 1_000]},
    "a_header": FORGED | {"stored": STORED | {"width": "abc"}},
    "a_header_with_more": FORGED | {"stored": STORED | {"uploader": "x"}},
    "a_path": FORGED | {"derivatives": [DERIVATIVE | {"name": "../x"}]},
    "a_page": FORGED | {"derivatives": [DERIVATIVE | {"extension": "html"}]},
    "a_type": FORGED | {"derivatives": [DERIVATIVE | {"content_type": "text/html"}]},
    "bytes_that_are_not_there": FORGED | {"derivatives": [DERIVATIVE | {"bytes": 1}]},
    "a_name_twice": FORGED | {"derivatives": [DERIVATIVE, DERIVATIVE]},
    "many_images": FORGED | {"derivatives": [DERIVATIVE | {"name": f"a{n}"} for n in range(99)]},
    "a_huge_image": FORGED | {"derivatives": [DERIVATIVE | {"width": 20_000}]},
    "another_script": FORGED | {"metadata": {"describe": {"a": 1}}},
    "nan": FORGED | {"metadata": {"script": {"a": float("nan")}}},
    "much_metadata": FORGED | {"metadata": {"script": {"a": "x" * 80_000}}},
    "much_of_nothing": json.dumps(FORGED).replace(" ", " " * 100_000),
    "depth": "[" * 100_000,
    "another_width": FORGED | {"stored": STORED | {"width": 123456}},
    "another_format": FORGED | {"stored": STORED | {"format": "PNG"}},
    "more_frames": FORGED | {"stored": STORED | {"frames": 2}},
    "a_mode_that_is_none": FORGED | {"stored": STORED | {"mode": "XYZ"}},
    "broken_text": json.dumps(FORGED | {"metadata": {"script": {"a": "\ud800"}}}),
}

HTML = b"<html><script>alert(1)</script></html>"
HUGE = encoded(Image.new("1", (20_000, 20)), "PNG")
SMALL = encoded(Image.new("L", (1, 1)), "JPEG")
FORGED_DERIVATIVES: dict[str, tuple[bytes, dict[str, object]]] = {
    "a_page_as_a_picture": (HTML, {}),
    "a_huge_image_as_a_small_one": (HUGE, {"extension": "png"}),
    "a_picture_as_another_type": (SMALL, {"extension": "png"}),
    "a_picture_with_a_page_behind": (SMALL + HTML, {}),
    "a_picture_of_another_size": (SMALL, {"height": 2}),
}

LIBRARIES = Path(PIL.__file__).parents[1]
PROBE = LIBRARIES / "imagelake-probe.pth"

MISBEHAVIOURS = {
    "hangs": Misbehaviour("while True: pass", because(Reason.SCRIPT_TIMEOUT)),
    "sleeps": Misbehaviour("time.sleep(3600)", because(Reason.SCRIPT_TIMEOUT)),
    "hangs_at_import": Misbehaviour("", because(Reason.SCRIPT_TIMEOUT), at_import="while True: pass"),
    "exits_at_import": Misbehaviour("", because(Reason.SCRIPT_ERROR), at_import="raise SystemExit(0)"),
    "ignores_signals": Misbehaviour(
        """
        import signal
        for number in range(1, 65):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        while True:
            try: time.sleep(1)
            except BaseException: pass
        """,
        because(Reason.SCRIPT_TIMEOUT),
    ),
    "forks_endlessly": Misbehaviour("while True: os.fork()", because(Reason.SCRIPT_ERROR)),
    "forks_whatever_comes": Misbehaviour(
        """
        while True:
            try: os.fork()
            except OSError: pass
        """,
        because(Reason.SCRIPT_TIMEOUT),
    ),
    "starts_a_program": Misbehaviour("os.execv('/bin/sh', ['sh'])", because(Reason.SCRIPT_ERROR)),
    "daemonises": Misbehaviour(
        "if os.fork() == 0:\n    os.setsid()\n    os.fork() or time.sleep(3600)", because(Reason.SCRIPT_ERROR)
    ),
    "takes_all_memory": Misbehaviour("block = bytearray(4_000_000_000)", because(Reason.SCRIPT_MEMORY)),
    "takes_memory_bit_by_bit": Misbehaviour(
        "blocks = []\nwhile True: blocks.append(bytearray(50_000_000))", because(Reason.SCRIPT_MEMORY)
    ),
    "takes_memory_as_files": Misbehaviour("os.memfd_create('a')", because(Reason.SCRIPT_ERROR)),
    "takes_memory_to_share": Misbehaviour(
        "import ctypes\nif ctypes.CDLL(None).shmget(0, 4096, 0o1600) < 0: raise PermissionError",
        because(Reason.SCRIPT_ERROR),
    ),
    "starts_threads_without_end": Misbehaviour(
        "import threading\nwhile True: threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()",
        because(Reason.SCRIPT_ERROR, Reason.SCRIPT_MEMORY, Reason.SCRIPT_TIMEOUT),
    ),
    "recurses": Misbehaviour("def deeper(): deeper()\ndeeper()", because(Reason.SCRIPT_ERROR)),
    "overflows_the_stack": Misbehaviour(
        """
        sys.setrecursionlimit(10 ** 9)
        class Endless:
            def __repr__(self): return repr([self])
        repr(Endless())
        """,
        because(Reason.SCRIPT_CRASHED, Reason.SCRIPT_ERROR, Reason.SCRIPT_MEMORY),
    ),
    "raises_an_exception_of_its_own": Misbehaviour(
        "class Own(BaseException): pass\nraise Own", because(Reason.SCRIPT_ERROR)
    ),
    "raises_an_exception_of_its_own_at_import": Misbehaviour(
        "", because(Reason.SCRIPT_ERROR), at_import="class Own(BaseException): pass\nraise Own"
    ),
    "raises_what_raises_when_it_is_looked_at": Misbehaviour(
        """
        class Kind(type): __name__ = property(lambda kind: 1 / 0)
        class Own(BaseException, metaclass=Kind): __traceback__ = property(lambda error: 1 / 0)
        raise Own
        """,
        because(Reason.SCRIPT_ERROR),
    ),
    "raises_a_name_of_two_lines": Misbehaviour(
        r"raise type('one\ntwo', (Exception,), {})", because(Reason.SCRIPT_ERROR)
    ),
    "has_a_pipe_signal_its_parent": Misbehaviour(
        "import fcntl\nfcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getppid())", because(Reason.SCRIPT_ERROR)
    ),
    "has_a_pipe_signal_by_number": Misbehaviour(
        "import fcntl\nfcntl.fcntl(os.pipe()[0], 10, 9)", because(Reason.SCRIPT_ERROR)
    ),
    "has_a_pipe_signal": Misbehaviour(
        "import fcntl\nfcntl.fcntl(os.pipe()[0], fcntl.F_SETFL, os.O_ASYNC)", because(Reason.SCRIPT_ERROR)
    ),
    "slows_its_parent_down": Misbehaviour(
        "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)", because(Reason.SCRIPT_ERROR)
    ),
    "idles_its_parent": Misbehaviour(
        "os.sched_setscheduler(os.getppid(), os.SCHED_IDLE, os.sched_param(0))", because(Reason.SCRIPT_ERROR)
    ),
    "moves_its_parent": Misbehaviour("os.sched_setaffinity(os.getppid(), {0})", because(Reason.SCRIPT_ERROR)),
    "slows_the_disk_of_its_parent_down": Misbehaviour(
        """
        import ctypes
        number = {"x86_64": 251, "aarch64": 30}[os.uname().machine]
        if ctypes.CDLL(None).syscall(number, 1, os.getppid(), 3 << 13) != 0: raise PermissionError
        """,
        because(Reason.SCRIPT_ERROR),
    ),
    "takes_files_away_from_its_parent": Misbehaviour(
        "import resource\nresource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (3, 3))",
        because(Reason.SCRIPT_ERROR),
    ),
    "writes_into_the_libraries": Misbehaviour(f"open({str(PROBE)!r}, 'w')", because(Reason.SCRIPT_ERROR)),
    "puts_a_link_in_the_place_of_its_folder": Misbehaviour(
        "here = os.getcwd()\nos.rename(here, here + '-away')\nos.symlink('/tmp', here)", because(Reason.SCRIPT_ERROR)
    ),
    "leaves_a_file_for_others": Misbehaviour(
        f"open({tempfile.gettempdir() + '/imagelake-probe'!r}, 'w')", because(Reason.SCRIPT_ERROR)
    ),
    "looks_for_files_of_others": Misbehaviour(f"os.listdir({tempfile.gettempdir()!r})", because(Reason.SCRIPT_ERROR)),
    "changes_the_mode_of_its_script": Misbehaviour("os.chmod(__file__, 0o777)", because(Reason.SCRIPT_ERROR)),
    "exits": Misbehaviour("os._exit(3)", because(Reason.SCRIPT_CRASHED)),
    "exits_as_if_all_was_well": Misbehaviour("os._exit(0)", because(Reason.SCRIPT_OUTPUT_INVALID)),
    "raises_system_exit": Misbehaviour("sys.exit('bye')", because(Reason.SCRIPT_ERROR)),
    "crashes": Misbehaviour("import ctypes\nctypes.string_at(0)", because(Reason.SCRIPT_CRASHED)),
    "aborts": Misbehaviour("os.abort()", because(Reason.SCRIPT_CRASHED)),
    "kills_itself": Misbehaviour("os.kill(os.getpid(), 9)", because(Reason.SCRIPT_CRASHED)),
    "stops_itself": Misbehaviour(
        "import signal\nos.kill(os.getpid(), signal.SIGSTOP)", because(Reason.SCRIPT_OUTPUT_INVALID)
    ),
    "kills_its_parent": Misbehaviour("os.kill(os.getppid(), 9)", because(Reason.SCRIPT_ERROR)),
    "stops_everyone": Misbehaviour("import signal\nos.kill(-1, signal.SIGSTOP)", because(Reason.SCRIPT_ERROR)),
    "floods_standard_output": Misbehaviour(
        "while True: sys.stdout.write('x' * 1_000_000); os.write(2, b'x' * 1_000_000)", because(Reason.SCRIPT_TIMEOUT)
    ),
    "writes_a_huge_file": Misbehaviour(
        "file = open('big', 'wb')\nwhile True: file.write(bytes(1_000_000))", because(Reason.SCRIPT_ERROR)
    ),
    "opens_files_without_end": Misbehaviour(
        "files = []\nwhile True: files.append(open('/dev/null'))", because(Reason.SCRIPT_ERROR)
    ),
    "calls_home": Misbehaviour(
        "import socket\nsocket.create_connection(('127.0.0.1', 80))", because(Reason.SCRIPT_ERROR)
    ),
    "writes_over_the_result": Misbehaviour(
        "for file in range(3, 64):\n    try: os.pwrite(file, b'{' * 4096, 0)\n    except OSError: pass\nos._exit(0)",
        because(Reason.SCRIPT_OUTPUT_INVALID),
    ),
    "returns_nothing": Misbehaviour("return None", because(Reason.SCRIPT_OUTPUT_INVALID)),
    "returns_more_than_allowed": Misbehaviour("return {'secrets': 1}", because(Reason.SCRIPT_OUTPUT_INVALID)),
    "returns_nan": Misbehaviour("return {'metadata': {'a': float('nan')}}", because(Reason.SCRIPT_OUTPUT_INVALID)),
    "returns_no_json": Misbehaviour("return {'metadata': {'a': {1, 2}}}", because(Reason.SCRIPT_OUTPUT_INVALID)),
    "returns_itself": Misbehaviour(
        "a = []\na.append(a)\nreturn {'metadata': {'a': a}}", because(Reason.SCRIPT_OUTPUT_INVALID)
    ),
    "returns_a_huge_number": Misbehaviour(
        "return {'metadata': {'a': 10 ** 400}}", because(Reason.SCRIPT_OUTPUT_INVALID)
    ),
    "returns_broken_text": Misbehaviour(r"return {'metadata': {'a': '\ud800'}}", because(Reason.SCRIPT_OUTPUT_INVALID)),
    "returns_too_much": Misbehaviour(
        "return {'metadata': {'a': 'x' * 10_000_000}}", because(Reason.SCRIPT_OUTPUT_TOO_LARGE)
    ),
    "returns_too_many_images": Misbehaviour(
        "return {'derivatives': {f'a{n}': image for n in range(99)}}", because(Reason.SCRIPT_OUTPUT_TOO_LARGE)
    ),
    "returns_a_huge_image": Misbehaviour(
        "from PIL import Image\nreturn {'derivatives': {'a': Image.new('1', (20_000, 20_000))}}",
        because(Reason.SCRIPT_OUTPUT_INVALID),
    ),
    "returns_an_image_without_pixels": Misbehaviour(
        "from PIL import Image\nreturn {'derivatives': {'a': Image.new('L', (0, 5))}}",
        because(Reason.SCRIPT_OUTPUT_INVALID),
    ),
    "returns_a_path": Misbehaviour(
        "return {'derivatives': {'a': '/etc/passwd'}}", because(Reason.SCRIPT_OUTPUT_INVALID)
    ),
    "returns_a_symlink": Misbehaviour(
        "os.symlink('/etc/passwd', 'a.jpg')\nreturn {'derivatives': {'a': open('a.jpg', 'rb')}}",
        because(Reason.SCRIPT_OUTPUT_INVALID),
    ),
    "climbs_out_of_its_folder": Misbehaviour(
        "return {'derivatives': {'../../other': image}}", because(Reason.SCRIPT_OUTPUT_INVALID)
    ),
    "puts_the_wrong_type_in_a_column": Misbehaviour(
        "return {'metadata': {'width': [1]}}", because(Reason.SCRIPT_OUTPUT_INVALID)
    ),
    "is_not_python": Misbehaviour("", because(Reason.SCRIPT_ERROR), at_import="def (:"),
    "is_too_deep_to_compile": Misbehaviour("", because(Reason.SCRIPT_ERROR), at_import=f"x = {'-' * 100_000}1"),
    "is_too_long_to_compile": Misbehaviour("", because(Reason.SCRIPT_ERROR), at_import=f"x = {'1 + ' * 100_000}1"),
    "nests_too_deep": Misbehaviour("", because(Reason.SCRIPT_ERROR), at_import="(" * 100_000),
    "has_no_size": Misbehaviour(
        "", because(Reason.SCRIPT_ERROR), at_import="def __getattr__(name): raise ValueError(name)"
    ),
    "imports_what_ends_the_process": Misbehaviour(
        "", because(Reason.SCRIPT_ERROR), at_import="import unittest.__main__"
    ),
    "is_not_text": Misbehaviour("", because(Reason.SCRIPT_ERROR), at_import="\0"),
}
MISBEHAVIOURS |= {
    f"forges_{name}": Misbehaviour(forging(forgery), because(Reason.SCRIPT_OUTPUT_INVALID))
    for name, forgery in FORGERIES.items()
}
MISBEHAVIOURS |= {
    f"forges_{name}": Misbehaviour(forging(derivative(content, **said), content), because(Reason.SCRIPT_OUTPUT_INVALID))
    for name, (content, said) in FORGED_DERIVATIVES.items()
}


type Run = Callable[..., dict[str, Json]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(source: str, seconds: float = SECONDS, params: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Json]:
        file = tmp_path / "script.py"
        file.write_text(source)
        return run_scripts(IMAGE, [Script.from_file(file)], {"script": params}, Limits(), seconds).script_output.get(
            "script", {}
        )

    return run


def warm_processes(of: int | None = None) -> dict[int, set[int]]:
    """Of this process, or another, and the descendants of each."""
    parents = {int(process.name): parent(process) for process in Path("/proc").glob("[0-9]*")}
    found = {}
    for warm in {child for child, its_parent in parents.items() if its_parent == (of or os.getpid())}:
        if b"warm_process" in Path(f"/proc/{warm}/cmdline").read_bytes():
            generation = found[warm] = {warm}
            while generation:
                generation = {child for child, its_parent in parents.items() if its_parent in generation}
                found[warm] = found[warm] | generation
            found[warm] -= {warm}
    return found


def parent(process: Path) -> int:
    """The number of its parent; 0 if it has ended, though nobody may have asked how."""
    try:
        state, number = (process / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return 0
    return 0 if state == "Z" else int(number)


def rooms(warm: int) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"imagelake-{warm}-*"))


def files_in(rooms: Iterable[Path]) -> list[Path]:
    return [file for room in rooms for file in room.iterdir()]


def has_cleared_up() -> bool:
    """Whether each warm process has one child left, which waits for the next image, and one empty room."""
    return all(
        len(children) == 1 and len(rooms(warm)) == 1 and not files_in(rooms(warm))
        for warm, children in warm_processes().items()
    )


def comes_true(condition: Callable[[], object], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(condition())


def clears_up() -> bool:
    """Whether `has_cleared_up` comes true and stays so.

    A child that is ending, or a survivor, may be taken for the one that waits, which is not there yet: then there are
    others, or none, a moment later, and it is too early to tell.
    """

    def stays() -> bool:
        children = warm_processes()
        time.sleep(0.05)
        return has_cleared_up() and warm_processes() == children

    return comes_true(stays)


@pytest.mark.parametrize("name", MISBEHAVIOURS)
def test_a_misbehaving_script_gets_its_reason_and_leaves_nothing(run: Run, name: str) -> None:
    assert run(GOOD) == {"size": [96, 64]}
    started = time.monotonic()

    with pytest.raises(Rejection) as rejection:
        run(MISBEHAVIOURS[name].source, MISBEHAVIOURS[name].seconds)

    assert rejection.value.code in MISBEHAVIOURS[name].reasons, str(rejection.value)
    assert rejection.value.detail.isprintable()
    assert time.monotonic() - started < MISBEHAVIOURS[name].seconds + 2
    assert clears_up()
    assert run(GOOD) == {"size": [96, 64]}
    assert not PROBE.exists()


def test_what_the_engine_could_have_written_is_taken(run: Run) -> None:
    """So the forgeries above are refused for what they say."""
    document = derivative(SMALL) | {"metadata": {"script": {"forged": True}}}
    source = f"import os\ndef process(image, params):\n{indent(dedent(forging(document, SMALL)), '    ')}"
    assert run(source) == {"forged": True}


@pytest.mark.parametrize(
    "body", ["os._exit(3)", "os.abort()", "os.kill(os.getpid(), 9)", "time.sleep(60)", forging(FORGERIES["nan"])]
)
def test_after_an_abnormal_end_the_next_image_gets_a_new_process(run: Run, body: str) -> None:
    assert run(GOOD) == {"size": [96, 64]}
    before = set(warm_processes())
    with pytest.raises(Rejection):
        run(Misbehaviour(body, ()).source, SECONDS_TO_HANG)
    assert ended_abnormally()

    assert run(GOOD) == {"size": [96, 64]}

    assert not ended_abnormally()
    assert comes_true(lambda: have_ended(before))
    assert len(warm_processes()) == 1


def test_a_script_that_fails_costs_nobody_a_process(run: Run) -> None:
    assert run(GOOD) == {"size": [96, 64]}
    before = warm_processes().keys()
    for body in ("raise ValueError", "return None", "bytearray(4_000_000_000)", "raise BaseException"):
        with pytest.raises(Rejection):
            run(Misbehaviour(body, ()).source)
        assert not ended_abnormally()
    assert warm_processes().keys() == before


def test_many_folders_are_removed_without_the_next_image_waiting(run: Run) -> None:
    run("import os\ndef process(image, params):\n    for _ in range(2500): os.mkdir('a'); os.chdir('a')\n    return {}")
    full = [room for warm in warm_processes() for room in rooms(warm)]
    started = time.monotonic()
    assert run(GOOD) == {"size": [96, 64]}
    still_clears_up = any(room.exists() for room in full)
    assert still_clears_up or time.monotonic() - started < 3
    assert comes_true(lambda: not any(room.exists() for room in full))


def test_the_environment_of_an_ancestor_is_out_of_reach(tmp_path: Path) -> None:
    """Whoever started the command, such as a shell with credentials, has not hidden itself."""
    source = """
        from pathlib import Path
        def process(image, params):
            found, needle = [], b"".join((b"for ancestors", b" only"))
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    if needle in (process / "environ").read_bytes(): found.append(str(process))
                except OSError: pass
            return {"metadata": {"found": found}}
    """
    (tmp_path / "looking.py").write_text(dedent(source))
    (tmp_path / "image.jpg").write_bytes(IMAGE)
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(COMMAND)} script run looking.py image.jpg --json; true"
    environment = os.environ | {"SECRET": "for ancestors only"}

    said = subprocess.check_output(["sh", "-c", command], cwd=tmp_path, env=environment, text=True)

    assert json.loads(said)["metadata"]["found"] == []


def test_a_deep_folder_is_removed(run: Run) -> None:
    run("import os\ndef process(image, params):\n    for _ in range(1500): os.mkdir('a'); os.chdir('a')\n    return {}")
    assert clears_up()


@pytest.mark.parametrize("body", ["os._exit(0)", "os.kill(os.getpid(), 19)"])
def test_a_script_that_ends_the_process_is_told_so(run: Run, body: str) -> None:
    with pytest.raises(Rejection) as rejection:
        run(f"import os\ndef process(image, params): {body}")
    assert str(rejection.value) == "script_output_invalid: script: the process ended without a result"


def test_a_script_can_have_threads(run: Run) -> None:
    source = """
        from concurrent.futures.thread import ThreadPoolExecutor
        def process(image, params):
            with ThreadPoolExecutor(8) as pool:
                return {"metadata": {"squares": list(pool.map(lambda n: n * n, range(8)))}}
    """
    assert run(dedent(source)) == {"squares": [0, 1, 4, 9, 16, 25, 36, 49]}


def test_heic_is_decoded(tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(GOOD)
    limits = replace(Limits(), formats=(*Limits().formats, "HEIF"))
    result = run_scripts(HEIC, [Script.from_file(file)], {}, limits, SECONDS)
    assert (result.columns["format"], result.script_output) == ("HEIF", {"script": {"size": [64, 48]}})


def test_a_script_has_limits(run: Run) -> None:
    source = """
        import resource
        def process(image, params):
            names = ("NOFILE", "CPU", "FSIZE", "CORE")
            return {"metadata": {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in names}}
    """
    limits = {"NOFILE": 64, "CPU": SECONDS + 2, "FSIZE": 33_000_000, "CORE": 0}
    assert run(dedent(source)) == {name: [value, value] for name, value in limits.items()}


def test_processes_are_closed_to_others_of_the_same_user(run: Run) -> None:
    """What the kernel does not let others look into, it gives to root."""
    assert run(GOOD) == {"size": [96, 64]}
    assert clears_up()
    ((warm, children),) = warm_processes().items()
    assert {Path(f"/proc/{process}/environ").stat().st_uid for process in (os.getpid(), warm, *children)} == {0}


def test_secrets_of_the_function_are_out_of_reach(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "".join(map(chr, range(0x61, 0x7B))) * 2
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    source = """
        import os, re
        from pathlib import Path

        def process(image, params):
            needle = bytes(range(0x61, 0x7b)) * 2
            found = [name for name, value in os.environ.items() if needle in value.encode()]
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    if needle in (process / "environ").read_bytes():
                        found.append(str(process))
                except OSError:
                    pass
            readable = 0
            for file in ("mem", "environ"):
                try:
                    with open(f"/proc/{os.getppid()}/{file}", "rb"):
                        readable += 1
                except OSError:
                    pass
            return {"metadata": {"found": found, "readable": readable, "files": len(os.listdir("/proc/self/fd"))}}
    """
    assert run(dedent(source)) == {"found": [], "readable": 0, "files": 6}


def test_a_dead_warm_process_is_replaced(run: Run) -> None:
    assert run(GOOD) == {"size": [96, 64]}
    assert not ended_abnormally()
    for process in warm_processes():
        os.kill(process, 9)
    with pytest.raises(SandboxError):
        run(GOOD)
    assert run(GOOD) == {"size": [96, 64]}


def test_a_child_that_dies_while_it_waits_is_replaced(run: Run) -> None:
    assert run(GOOD) == {"size": [96, 64]}
    assert clears_up()
    for waiting in set().union(*warm_processes().values()):
        handle = os.pidfd_open(waiting)
        os.kill(waiting, 9)
        select.select([handle], [], [], SECONDS)
        os.close(handle)
    assert run(GOOD) == {"size": [96, 64]}


def test_each_image_has_a_process_of_its_own(run: Run) -> None:
    source = """
        import os
        from PIL import Image

        def process(image, params):
            seen, Image.SEEN = getattr(Image, "SEEN", False), True
            return {"metadata": {"process": os.getpid(), "seen": seen, "folder": os.listdir(os.getcwd())}}
    """
    first, second = run(dedent(source)), run(dedent(source))
    assert first.pop("process") != second.pop("process")
    assert first == second == {"seen": False, "folder": []}


def test_a_progressive_jpeg_that_does_not_fit_is_refused_for_its_memory() -> None:
    """In a thread, so with a warm process that has no memory left over from compiling the scripts above."""
    large = encoded(photo(5_000, 4_000), "JPEG", progressive=True)
    with ThreadPoolExecutor(1) as fresh, pytest.raises(Rejection) as rejection:
        fresh.submit(run_scripts, large, find_scripts(["thumbnails"]), {}, Limits(memory_mb=64), SECONDS).result()
    assert rejection.value.code == Reason.DECODER_MEMORY


def test_a_decoder_that_takes_too_long_is_to_blame_itself() -> None:
    large = encoded(Image.effect_noise((5_000, 5_000), 50), "PNG", compress_level=0)
    with pytest.raises(Rejection) as rejection:
        run_scripts(large, find_scripts(["thumbnails"]), {}, Limits(max_bytes=10**8), 0.05)
    assert rejection.value.code == Reason.DECODER_TIMEOUT


def test_a_script_that_hangs_over_a_broken_image_is_to_blame_itself(tmp_path: Path) -> None:
    source = """
        def process(image, params):
            try: image.load()
            except Exception:
                while True: pass
    """
    file = tmp_path / "script.py"
    file.write_text(dedent(source))
    broken = bytearray(encoded(photo(), "TIFF", compression="tiff_adobe_deflate"))
    pixels = Image.open(BytesIO(broken)).tag_v2[273][0]  # type: ignore[attr-defined]  # of a TIFF
    broken[pixels : pixels + 64] = bytes(64)
    with pytest.raises(Rejection) as rejection:
        run_scripts(bytes(broken), [Script.from_file(file)], {}, Limits(), SECONDS_TO_HANG)
    assert rejection.value.code == Reason.SCRIPT_TIMEOUT


HANGING = "import time\ndef process(image, params):\n    open('started', 'w').close()\n    time.sleep(600)"
COMMAND = """
import signal
# A shell starts what runs in its background with SIGINT ignored, and nohup has SIGHUP ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from imagelake_cli.main import app
app()
"""


def have_ended(processes: Iterable[int]) -> bool:
    return not any(parent(Path(f"/proc/{process}")) for process in processes)


@pytest.mark.parametrize(
    ("to", "number"),
    [
        ("group", signal.SIGINT),
        ("group", signal.SIGTERM),
        ("group", signal.SIGHUP),
        ("command", signal.SIGTERM),
        ("command", signal.SIGKILL),
        ("warm process", signal.SIGKILL),
    ],
)
def test_nothing_outlives_a_command_that_is_ended(tmp_path: Path, to: str, number: int) -> None:
    (tmp_path / "hanging.py").write_text(HANGING)
    (tmp_path / "image.jpg").write_bytes(IMAGE)
    arguments = ["script", "run", "hanging.py", "image.jpg", "--seconds", "600"]
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert comes_true(lambda: any(files_in(rooms(warm)) for warm in warm_processes(command.pid)), SECONDS)
        ((warm, children),) = warm_processes(command.pid).items()
        assert children
        if to == "group":
            os.killpg(command.pid, number)
        else:
            os.kill(warm if to == "warm process" else command.pid, number)

        assert comes_true(lambda: have_ended({warm, *children}))
        command.wait(SECONDS)
        assert have_ended(warm_processes(command.pid))
        assert not rooms(warm)
    finally:
        command.kill()
        command.wait()


DAC_READ_SEARCH = 1 << 2


def as_an_ordinary_user(*tests: str) -> str:
    """What pytest says when it runs tests as in Lambda: root may do what others may not."""
    [capabilities] = re.findall(r"CapPrm:\t(\w+)", Path("/proc/self/status").read_text())
    kept = "-all,+dac_read_search" if int(capabilities, 16) & DAC_READ_SEARCH else "-all"  # Python may be root's
    user = ["--reuid=65534", "--regid=65534", "--clear-groups", f"--inh-caps={kept}", f"--ambient-caps={kept}"]
    command = ["setpriv", *user, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    return result.stdout


@pytest.mark.skipif(os.getuid() != 0, reason="these tests have run as an ordinary user already")
def test_all_of_this_holds_for_an_ordinary_user() -> None:
    """Some limits are not for root. What is checked by the parent and what ends processes know no users, and is left
    out.
    """
    said = as_an_ordinary_user("-k", "not forges and not outlives", __file__)
    assert re.search(r"\d\d passed, 1 skipped, ", said)
