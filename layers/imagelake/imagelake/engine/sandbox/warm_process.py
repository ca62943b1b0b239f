"""The warm process: started once without credentials, forked for every image, and judge of how each child ends.

The child of the next image is forked as soon as the last one is cleared away: a *spare*, which waits, confined already
and with memory at hand, until there is a job for it.

It is a fresh interpreter, not a fork of the function: what the function holds in memory, environment and open files
never was in here. It imports what is installed and scripts import, but never runs a script: that is for the child.

Messages go over descriptor 0, each a line of JSON. The first says which measures hold and where the room is. A job
comes with two files beside it, the image and the place for the result; its answer says how the child ended. Then comes
what the child has left behind. After a child that did not end as it should, or left something, this process clears up
and ends: the next image gets a new one.
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
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from imagelake.engine.guard import Header, inspect
from imagelake.engine.limits import Limits
from imagelake.engine.sandbox import confinement, processes, rooms, traces
from imagelake.engine.sandbox.measures import Measure
from imagelake.engine.scripts import encoder
from imagelake.engine.scripts.files import of_script
from imagelake.engine.scripts.job import Job, LoadedScript, describe
from imagelake.engine.scripts.result import Output

_MESSAGE_BYTES = 1 << 20
_WARM_MEGABYTES = 36
"""What a photograph takes on its way through the default scripts; more than that is faulted in while it runs."""


def main() -> None:
    """Serve jobs until the function goes away, or a job ends as it should not."""
    os.closerange(3, 1024)
    parent, others_files = int(sys.argv[1]), json.loads(sys.argv[2])
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})  # `_await` asks for them
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # while no job runs, and clears up on the way
    held = {
        Measure.PARENT_DEATH_SIGNAL: confinement.end_with(parent, signal.SIGTERM),
        Measure.SUBREAPER: confinement.become_subreaper(),
        Measure.HIDDEN: confinement.hide_from_relatives(),
    }
    processes.mark_keeper()
    _rehearse()
    gc.disable()  # a collection writes to every object, and so would copy the pages a child shares with this process
    with socket.socket(fileno=0) as control:
        room = rooms.Room()
        try:
            _serve(control, _Keeper(room, held, others_files))
        finally:
            room.leave()


class _Keeper:
    """What this process knows of its children: their room, and the measures that hold for all of them."""

    def __init__(self, room: rooms.Room, held: dict[Measure, bool], others_files: list[str] | None) -> None:
        self.room = room
        self._others_files = others_files
        self._empty_tmp()
        self._condition = traces.condition()
        self.spare = _Spare(room.path)
        self._of_child = self.spare.held()
        self.held = {measure: held.get(measure, True) and self._of_child.get(measure, True) for measure in Measure}

    def replace_spare(self) -> None:
        """Fork another spare, such as one that has the scripts that were loaded since."""
        self.spare.end()
        self.renew_spare()

    def renew_spare(self) -> None:
        """Fork the child of the next image.

        Raises:
            OSError: it has died, or is less confined than the first.
        """
        self.spare = _Spare(self.room.path)
        if self.spare.held() != self._of_child:
            raise PermissionError

    def hand_over(self, job: dict[str, Any], files: list[int]) -> int:
        """Have the spare start on `job`, or another if it has died while it waited; its process id."""
        try:
            self.spare.take(job, files)
        except OSError:
            self.replace_spare()
            self.spare.take(job, files)
        for file in files:
            os.close(file)
        return self.spare.process

    def _empty_tmp(self, when_costly: Callable[[], None] = lambda: None) -> bool:
        """Remove what scripts have left outside of the room, where all that comes up there is theirs."""
        if self._others_files is None:
            return True
        traces.remove_kept_bytes()
        return rooms.empty_tmp(when_costly, {*self._others_files, Path(self.room.path).name})

    def clear(self, child: int, control: socket.socket) -> list[str]:
        """Remove what `child` left, and tell `control` of it, at once if that takes long."""
        left: list[str] = []

        def costly() -> None:
            left.append("files")
            _send(control, {"left": left})

        with suppress(ChildProcessError):
            os.waitpid(child, 0)
        started = 0 if self.held[Measure.FILTER] else processes.end_leftovers()
        if started + processes.end_children():
            left.append("processes")
        is_clean = self.room.empty(costly) & self._empty_tmp(costly)
        if traces.condition() != self._condition:
            left.append("condition")
        return left if is_clean or "files" in left else [*left, "files"]


def _serve(control: socket.socket, keeper: _Keeper) -> None:
    _send(control, {"held": keeper.held, "room": keeper.room.path})
    while True:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        message, files = _receive(control)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        if not message:
            keeper.spare.end()
            return
        job = json.loads(message)
        if _load_scripts(job):
            keeper.replace_spare()
        child = keeper.hand_over(job, files)
        answer = _await(child, job["seconds"])
        _send(control, answer)
        left = keeper.clear(child, control)
        _send(control, {"left": left})
        if left or answer["timed_out"] or answer["exit"]:
            return
        keeper.renew_spare()


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """The next job and its files; empty when whoever sends jobs has ended, also with an answer unread."""
    try:
        message, files, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 2)
    except ConnectionResetError:
        return b"", []
    return message, files


def _send(control: socket.socket, message: dict[str, Any]) -> None:
    with suppress(OSError):  # who asked may be gone
        control.send(json.dumps(message).encode())


def _rehearse() -> None:
    """Do once what every child does, on pictures of our own: children find libraries loaded and tables built."""
    file = os.memfd_create("rehearsal")
    picture = Image.new("RGB", (64, 64), "white")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    for image in (picture, picture.convert("RGB")):
        _, content = encoder.encode(image)
        scripts = [LoadedScript("rehearsal", "", compile(_REHEARSAL, "", "exec"))]
        Job(content, inspect(content, Limits()), scripts, {}, Limits(), Output(file)).run()
    os.close(file)


_REHEARSAL = """
LARGEST_SIDE = 32
def process(image, params):
    image.getexif().get_ifd(34665)
    image.quantize(2)
    return {"metadata": {}, "derivatives": {"picture": image.convert("RGB")}}
"""


class _Spare:
    """A child that waits for its job, the only one it will do. It can write in the folder `room` only."""

    def __init__(self, room: str) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            parent = os.getpid()
            self.process = os.fork()
            if not self.process:
                _become_child(theirs, parent, room)

    def held(self) -> dict[Measure, bool]:
        """The measures that confine it, once it is confined.

        Raises:
            OSError: it has died.
        """
        said = self._control.recv(_MESSAGE_BYTES)
        if not said:
            raise ConnectionError
        return {Measure(name): held for name, held in json.loads(said).items()}

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
        os.kill(child, signal.SIGKILL)  # what it has started is found by `clear`, which tells of it
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


_loaded: set[str] = set()
"""Paths of scripts."""


@cache
def _load(name: str, path: str, version: str) -> LoadedScript:  # noqa: ARG001  # a new version is a new cache entry
    """Compile a script, and import what it imports so that children find it warm."""
    _loaded.add(path)
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


def _become_child(control: socket.socket, parent: int, room: str) -> None:
    """Confine this process, wait for a job and do it; never returns."""
    try:
        parent_death = confinement.end_with(parent, signal.SIGKILL)
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        gc.freeze()
        gc.set_threshold(2_000)  # Python's own, not the package's: a script's garbage counts against its memory
        gc.enable()
        _keep_only(control.fileno())
        os.chdir(room)
        held = confinement.confine(room, _readable(), parent_death)
        control.send(json.dumps(held).encode())
        used = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
        _take_memory(control)
        message, files, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 2)
        control.close()
        if message:
            _do(json.loads(message), files, used, room)
            os.kill(os.getpid(), signal.SIGSTOP)
    finally:
        os._exit(70)


def _readable() -> list[str]:
    """What a script may read: Python, what is installed, and its own files."""
    of_scripts = [str(file) for path in _loaded for file in of_script(Path(path))]
    return [sys.prefix, sys.base_prefix, *filter(None, sys.path), *of_scripts]


def _take_memory(control: socket.socket) -> None:
    """Have the pages of a typical job at hand, or as many as there is time for before it comes over `control`."""
    taken: list[bytes] = []
    while len(taken) < _WARM_MEGABYTES and not select.select([control], [], [], 0)[0]:
        taken.append(b"\1" * (1 << 20))


def _do(job: dict[str, Any], files: list[int], used: int, room: str) -> None:
    """Do `job` within its limits, in a process whose address space had `used` bytes to begin with."""
    image_file, output_file = files
    output = Output(output_file)
    limits = Limits(**job["limits"])
    os.environ["TMPDIR"] = os.environ["HOME"] = tempfile.tempdir = room
    _set_limits(limits, job["seconds"], used)
    scripts = [_load(*script) for script in job["scripts"]]
    size = os.fstat(image_file).st_size
    content = os.pread(image_file, size, 0) if size else b""
    Job(content, Header(**job["header"]), scripts, job["params"], limits, output, job["explains"]).run()


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


if __name__ == "__main__":
    main()
