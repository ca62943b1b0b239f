"""The warm process: started once without credentials, forked for every image, and judge of how each child ends.

It is a fresh interpreter, not a fork of the function: what the function holds in memory, environment and open files
never was in here. It imports what scripts import, but never runs a script: that is for the child.

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
import shutil
import signal
import socket
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from imagelake import confinement, derivative_encoder
from imagelake.limits import Limits
from imagelake.script_job import Job, LoadedScript, Output

_MESSAGE_BYTES = 1 << 20


def main() -> None:
    """Serve jobs until the function goes away."""
    os.closerange(3, 1024)
    confinement.become_subreaper()
    confinement.hide_from_relatives()
    _rehearse()
    gc.disable()  # a collection writes to every object, and so would copy the pages a child shares with this process
    with socket.socket(fileno=0) as control:
        while True:
            message, files, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 2)
            if not message:
                return
            answer = _serve(json.loads(message), *files)
            control.send(json.dumps(answer).encode())


def _rehearse() -> None:
    """Do once what every child does, on pictures of our own: children find libraries loaded and tables built."""
    file = os.memfd_create("rehearsal")
    picture = Image.new("RGB", (64, 64), "white")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    for image in (picture, picture.convert("RGB")):
        _, content = derivative_encoder.encode(image)
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


def _serve(job: dict[str, Any], image_file: int, output_file: int) -> dict[str, Any]:
    """Run one job in a child and clean up after it."""
    scripts = [_load(name, path, version) for name, path, version in job["scripts"]]
    limits = Limits(**job["limits"])
    directory = tempfile.mkdtemp(prefix=f"imagelake-{os.getpid()}-")
    started = time.monotonic()
    child = os.fork()
    if not child:
        _become_child(job, scripts, limits, directory, image_file, output_file)
    os.close(image_file)
    os.close(output_file)
    timed_out = not _wait(child, job["seconds"])
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    _kill_orphans()
    shutil.rmtree(directory, onexc=_remove_locked)
    return {
        "timed_out": timed_out,
        "exit": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - started,
        "peak_memory_mb": usage.ru_maxrss / 1024,
    }


@cache
def _load(name: str, path: str, version: str) -> LoadedScript:  # noqa: ARG001  # a new version is a new cache entry
    """Compile a script, and import what it imports so that children find it warm."""
    source = Path(path).read_bytes()
    try:
        code = compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        # the child raises it again, where it is the script's fault and not ours
        return LoadedScript(name, path, compile("compile(open(__file__).read(), __file__, 'exec')", path, "exec"))
    for module in _imports(source):
        with suppress(Exception):
            importlib.import_module(module)
    return LoadedScript(name, path, code)


def _imports(source: bytes) -> list[str]:
    names = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] != "scripts"]


def _become_child(
    job: dict[str, Any], scripts: list[LoadedScript], limits: Limits, directory: str, image_file: int, output_file: int
) -> None:
    """Confine this process and do the job; never returns."""
    try:
        os.setsid()
        gc.freeze()
        gc.set_threshold(2_000)  # Python's own, not the package's: a script's garbage counts against its memory
        gc.enable()
        _keep_only(image_file, output_file)
        os.chdir(directory)
        os.environ["TMPDIR"] = os.environ["HOME"] = tempfile.tempdir = directory
        _set_limits(limits, job["seconds"])
        confinement.drop_privileges()
        confinement.forbid_processes_and_network()
        size = os.fstat(image_file).st_size
        content = os.pread(image_file, size, 0) if size else b""
        Job(content, scripts, job["params"], limits, Output(output_file)).run()
        os._exit(0)
    finally:
        os._exit(70)


def _keep_only(*files: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    low = 3
    for file in sorted(files):
        os.closerange(low, file)
        low = file + 1
    os.closerange(low, 1024)


def _set_limits(limits: Limits, seconds: float) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    cpu = int(seconds) + 2
    for limit, value in (
        (resource.RLIMIT_AS, used + limits.memory_mb * 1_000_000),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, limits.max_output_bytes + 1_000_000),
        (resource.RLIMIT_NOFILE, limits.max_open_files),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))


def _wait(child: int, seconds: float) -> bool:
    """Whether `child` ended within `seconds`."""
    handle = os.pidfd_open(child)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    ended = bool(poll.poll(max(0.0, seconds) * 1000))
    os.close(handle)
    return ended


def _remove_locked(_: object, path: str, error: BaseException) -> None:
    """A script may have taken our permission to look into a folder."""
    with suppress(OSError):
        if isinstance(error, PermissionError):
            Path(path).chmod(0o700)
            shutil.rmtree(path, ignore_errors=True)


def _kill_orphans() -> None:
    """End what the child left behind: as subreaper, this process inherits it, whatever session it hides in."""
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
