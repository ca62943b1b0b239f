"""Scripts that do their worst. Each gets a clear reason in time, and leaves nothing behind for the next image."""

import os
import select
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

import pytest
from PIL import Image

from imagelake.errors import Rejection
from imagelake.sandbox import SandboxError
from imagelake.script_metadata import Json
from imagelake.script_runner import Limits, Reason, Script, find_scripts, run_scripts
from tests.unit.pictures import encoded, photo

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
    "is_not_text": Misbehaviour("", because(Reason.SCRIPT_ERROR), at_import="\0"),
}


type Run = Callable[..., dict[str, Json]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(source: str, seconds: float = SECONDS) -> dict[str, Json]:
        file = tmp_path / "script.py"
        file.write_text(source)
        return run_scripts(IMAGE, [Script.from_file(file)], {}, Limits(), seconds).script_output.get("script", {})

    return run


def warm_processes() -> dict[int, set[int]]:
    """Of this process, and the descendants of each."""
    parents = {int(process.name): parent(process) for process in Path("/proc").glob("[0-9]*")}
    found = {}
    for warm in {child for child, its_parent in parents.items() if its_parent == os.getpid()}:
        if b"sandbox_process" in Path(f"/proc/{warm}/cmdline").read_bytes():
            generation = found[warm] = {warm}
            while generation:
                generation = {child for child, its_parent in parents.items() if its_parent in generation}
                found[warm] = found[warm] | generation
            found[warm] -= {warm}
    return found


def parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def has_cleared_up() -> bool:
    """Whether each warm process has one child left, which waits for the next image, and no folder."""
    folder = Path(tempfile.gettempdir())
    return all(
        len(children) == 1 and not list(folder.glob(f"imagelake-{warm}-*"))
        for warm, children in warm_processes().items()
    )


def clears_up(seconds: float = 2) -> bool:
    """Whether `has_cleared_up` comes true and stays so: a survivor may be taken for the next child."""
    deadline = time.monotonic() + seconds
    while not has_cleared_up() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    return has_cleared_up()


@pytest.mark.parametrize("name", MISBEHAVIOURS)
def test_a_misbehaving_script_gets_its_reason_and_leaves_nothing(run: Run, name: str) -> None:
    assert run(GOOD) == {"size": [96, 64]}
    started = time.monotonic()

    with pytest.raises(Rejection) as rejection:
        run(MISBEHAVIOURS[name].source, MISBEHAVIOURS[name].seconds)

    assert rejection.value.code in MISBEHAVIOURS[name].reasons, str(rejection.value)
    assert time.monotonic() - started < MISBEHAVIOURS[name].seconds + 2
    assert clears_up()
    assert run(GOOD) == {"size": [96, 64]}


def test_a_locked_folder_is_removed(run: Run) -> None:
    run("import os\ndef process(image, params):\n    os.makedirs('a/b')\n    os.chmod('a', 0)\n    return {}")
    assert clears_up()


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
            for process in ("/proc/self", f"/proc/{os.getppid()}"):
                try:
                    with open(f"{process}/mem", "rb"):
                        readable += process != "/proc/self"
                except OSError:
                    pass
            return {"metadata": {"found": found, "readable": readable, "files": len(os.listdir("/proc/self/fd"))}}
    """
    assert run(dedent(source)) == {"found": [], "readable": 0, "files": 6}


def test_a_dead_warm_process_is_replaced(run: Run) -> None:
    assert run(GOOD) == {"size": [96, 64]}
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
    large = encoded(photo(5_000, 4_000), "JPEG", progressive=True)
    with pytest.raises(Rejection) as rejection:
        run_scripts(large, find_scripts(["thumbnails"]), {}, Limits(memory_mb=64), SECONDS)
    assert rejection.value.code == Reason.DECODER_MEMORY


def test_a_decoder_that_takes_too_long_is_to_blame_itself() -> None:
    large = encoded(Image.effect_noise((5_000, 5_000), 50), "PNG", compress_level=0)
    with pytest.raises(Rejection) as rejection:
        run_scripts(large, find_scripts(["thumbnails"]), {}, Limits(max_bytes=10**8), 0.05)
    assert rejection.value.code == Reason.DECODER_TIMEOUT
