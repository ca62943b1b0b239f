"""The warm process: started once without credentials, forked for every image, and judge of how each child ends.

The child of the next image is forked as soon as the last one is cleared away: a *spare*, which waits, confined already
and with memory at hand, until there is a job for it.

It is a fresh interpreter, not a fork of the function: what the function holds in memory, environment and open files
never was in here. It imports what is installed and scripts import, but never runs a script: that is for the child.

Control messages come over descriptor 0: a line of JSON, with two files beside it, the image and the place for the
result. The answer is a line of JSON that says how the child ended.
"""

import ast
import gc
import importlib
import json
import mmap
import os
import resource
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from imagelake.engine.limits import Limits
from imagelake.engine.sandbox import confinement
from imagelake.engine.scripts import encoder
from imagelake.engine.scripts.job import Job, LoadedScript, describe
from imagelake.engine.scripts.result import Output

_MESSAGE_BYTES = 1 << 20
_WARM_MEGABYTES = 36
"""What a photograph takes on its way through the default scripts; more than that is faulted in while it runs."""


def main() -> None:
    """Serve jobs until the function goes away."""
    os.closerange(3, 1024)
    confinement.end_with(int(sys.argv[1]), signal.SIGTERM)
    confinement.become_subreaper()
    confinement.hide_from_relatives()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # `_await` asks for it
    _rehearse()
    gc.disable()  # a collection writes to every object, and so would copy the pages a child shares with this process
    with socket.socket(fileno=0) as control:
        spare = _Spare()
        while True:
            message, files, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 2)
            if not message:
                spare.end()
                return
            job = json.loads(message)
            if _load_scripts(job):
                spare.end()
                spare = _Spare()  # one that has them
            with _work_folder() as job["directory"]:
                child = _hand_over(spare, job, files)
                answer = _await(child, job["seconds"])
                with suppress(OSError):  # who asked may be gone
                    control.send(json.dumps(answer).encode())
                _clear(child)
            spare = _Spare()


def _rehearse() -> None:
    """Do once what every child does, on pictures of our own: children find libraries loaded and tables built."""
    file = os.memfd_create("rehearsal")
    picture = Image.new("RGB", (64, 64), "white")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    for image in (picture, picture.convert("RGB")):
        _, content = encoder.encode(image)
        scripts = [LoadedScript("rehearsal", "", compile(_REHEARSAL, "", "exec"))]
        Job(content, scripts, {}, Limits(), Output(file)).run()
    os.close(file)


_REHEARSAL = """
LARGEST_SIDE = 32
def process(image, params):
    image.getexif().get_ifd(34665)
    image.quantize(2)
    return {"metadata": {}, "derivatives": {"picture": image.convert("RGB")}}
"""


class _Spare:
    """A child that waits for its job, the only one it will do."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            parent = os.getpid()
            self.process = os.fork()
            if not self.process:
                _become_child(theirs, parent)

    def take(self, job: dict[str, Any], files: Sequence[int]) -> None:
        """Give it its job.

        Raises:
            OSError: it has died while it waited.
        """
        with self._control:
            socket.send_fds(self._control, [json.dumps(job).encode()], files)

    def end(self) -> None:
        """Do without it."""
        self._control.close()
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)


@contextmanager
def _work_folder() -> Iterator[str]:
    """A folder for a job, which this process removes before it obeys a `SIGTERM`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    directory = tempfile.mkdtemp(prefix=f"imagelake-{os.getpid()}-")
    try:
        yield directory
    finally:
        _remove(directory)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _remove(directory: str) -> None:
    """Remove a folder; what a script has locked is unlocked, and what is too deep for a path is moved up."""
    folders = [Path(directory)]
    while folders:
        folder = folders.pop()
        with suppress(OSError):
            folder.chmod(0o700)
            for path in list(folder.iterdir()):
                if path.is_dir(follow_symlinks=False):
                    folders.append(_move_up(path))
                else:
                    path.unlink()
            folder.rmdir()


def _move_up(folder: Path) -> Path:
    folder.chmod(0o700)
    return folder.rename(tempfile.mkdtemp(prefix=f"imagelake-{os.getpid()}-"))


def _hand_over(spare: _Spare, job: dict[str, Any], files: list[int]) -> int:
    """Have a child start on `job`; its process id."""
    try:
        spare.take(job, files)
    except OSError:
        spare.end()
        spare = _Spare()
        spare.take(job, files)
    for file in files:
        os.close(file)
    return spare.process


def _await(child: int, seconds: float) -> dict[str, Any]:
    """How `child` ended within `seconds`, or until `SIGTERM`.

    One that is done stops itself, and is killed for it: giving back its memory takes the kernel a few milliseconds,
    which the result need not wait for.
    """
    started = time.monotonic()
    while True:
        changed, status, usage = os.wait4(child, os.WNOHANG | os.WUNTRACED)
        left = max(0.0, started + seconds - time.monotonic())
        if changed:
            break
        told = signal.sigtimedwait({signal.SIGCHLD, signal.SIGTERM}, left)
        if not told or told.si_signo == signal.SIGTERM:
            break
    done = changed and os.WIFSTOPPED(status)
    if done or not changed:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os.kill(child, signal.SIGKILL)
    if not changed:
        _, status, usage = os.wait4(child, 0)
    return {
        "timed_out": not changed,
        "exit": 0 if done else os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - started,
        "peak_memory_mb": usage.ru_maxrss / 1024,
    }


def _load_scripts(job: dict[str, Any]) -> bool:
    """Have the scripts of `job` ready for the children to come; whether any of them is new."""
    known = _load.cache_info().misses
    for script in job["scripts"]:
        _load(*script)
    return _load.cache_info().misses > known


@cache
def _load(name: str, path: str, version: str) -> LoadedScript:  # noqa: ARG001  # a new version is a new cache entry
    """Compile a script, and import what it imports so that children find it warm."""
    source = Path(path).read_bytes()
    sys.path[:] = [folder for folder in sys.path if folder != str(Path(path).parent)]
    try:
        code = compile(source, path, "exec", dont_inherit=True)
        modules = _imports(source)
    except Exception as error:  # noqa: BLE001  # the compiler raises many types, and it is the script's fault
        return LoadedScript(name, path, None, describe(error, path))
    for module in modules:
        with suppress(BaseException):  # some packages exit
            importlib.import_module(module)
    return LoadedScript(name, path, code)


def _imports(source: bytes) -> list[str]:
    """The modules that can be imported ahead of time: not scripts, nor what is meant to be run."""
    names = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if not _RUN_WHEN_IMPORTED.intersection(name.split("."))]


_RUN_WHEN_IMPORTED = frozenset({"__main__", "antigravity", "idlelib", "scripts", "test", "this", "turtledemo"})


def _become_child(control: socket.socket, parent: int) -> None:
    """Confine this process, wait for a job and do it; never returns."""
    try:
        confinement.end_with(parent, signal.SIGKILL)
        os.setsid()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        gc.freeze()
        gc.set_threshold(2_000)  # Python's own, not the package's: a script's garbage counts against its memory
        gc.enable()
        _keep_only(control.fileno())
        confinement.drop_privileges()
        confinement.forbid_processes_and_network()
        used = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
        _take_memory(control)
        message, files, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 2)
        control.close()
        if message:
            _do(json.loads(message), files, used)
            os.kill(os.getpid(), signal.SIGSTOP)
    finally:
        os._exit(70)


def _take_memory(control: socket.socket) -> None:
    """Have the pages of a typical job at hand, or as many as there is time for before it comes over `control`."""
    taken: list[bytes] = []
    while len(taken) < _WARM_MEGABYTES and not select.select([control], [], [], 0)[0]:
        taken.append(b"\1" * (1 << 20))


def _do(job: dict[str, Any], files: list[int], used: int) -> None:
    """Do `job` within its limits, in a process whose address space had `used` bytes to begin with."""
    image_file, output_file = files
    output = Output(output_file)
    limits = Limits(**job["limits"])
    os.chdir(job["directory"])
    os.environ["TMPDIR"] = os.environ["HOME"] = tempfile.tempdir = job["directory"]
    _set_limits(limits, job["seconds"], used)
    scripts = [_load(*script) for script in job["scripts"]]
    size = os.fstat(image_file).st_size
    content = os.pread(image_file, size, 0) if size else b""
    Job(content, scripts, job["params"], limits, output, job["explains"]).run()


def _keep_only(*files: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    low = 3
    for file in sorted(files):
        os.closerange(low, file)
        low = file + 1
    os.closerange(low, 1024)


def _set_limits(limits: Limits, seconds: float, used: int) -> None:
    cpu = int(seconds) + 2
    for limit, value in (
        (resource.RLIMIT_AS, used + limits.memory_mb * 1_000_000),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, limits.max_output_bytes + 1_000_000),
        (resource.RLIMIT_NOFILE, limits.max_open_files),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))


def _clear(child: int) -> None:
    """End what `child` left behind: as subreaper, this process inherits it, whatever session it hides in."""
    with suppress(ChildProcessError):
        os.waitpid(child, 0)
    with suppress(ChildProcessError):
        while True:
            ended, _ = os.waitpid(-1, os.WNOHANG)
            if not ended:
                for orphan in _children():
                    os.kill(orphan, signal.SIGKILL)
                os.waitpid(-1, 0)


def _children() -> list[int]:
    """Not every kernel has `/proc/<pid>/task/<pid>/children`, so look for our number in the others' `stat`."""
    return [int(process.name) for process in Path("/proc").glob("[0-9]*") if _parent(process) == os.getpid()]


def _parent(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


if __name__ == "__main__":
    main()
