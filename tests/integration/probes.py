"""What a hostile script tries: each probe reaches for one thing, and says whether it got it.

`docs/sandbox.md` has a row for each, and `test_probes.py` runs all of them both ways.
"""

import json
from dataclasses import dataclass
from textwrap import dedent, indent
from typing import Any, TypedDict

from imagelake.engine.sandbox.filters import MACHINES
from tests.integration.lambda_process import SECRET
from tests.integration.test_misbehaving_scripts import (
    DERIVATIVE,
    FORGED,
    HTML,
    HUGE,
    SMALL,
    STORED,
    derivative,
    forging,
)

_SHMCTL = {"x86_64": 31, "aarch64": 195}

PRELUDE = f"""
import ctypes, fcntl, http.client, json, os, re, resource, signal, socket, sys, time
from glob import glob
from pathlib import Path
numbers = { ({machine: calls | {"shmctl": _SHMCTL[machine]} for machine, (_, calls) in MACHINES.items()})!r}
numbers = numbers[os.uname().machine]
# Not the secret itself, which would then be found in the memory of this process.
secret = re.compile(rb"{SECRET[:9]}[{SECRET[9]}]{SECRET[10:]}")
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    number = numbers[name] if isinstance(name, str) else name
    answer = libc.syscall(number, *(ctypes.c_long(one) if isinstance(one, int) else one for one in arguments))
    if answer < 0:
        raise OSError(ctypes.get_errno(), str(name))
    return answer
def read(file):
    try: return Path(file).read_bytes()
    except OSError: return b""
def keyrings():
    try: return [-4, call("keyctl", 22, -1, -2)]  # of the user, and the one that outlives all its processes
    except OSError: return [-4]
def refused_by_kernel(action):
    try: action()
    except PermissionError: return True
    except OSError: return False
    return False
"""


class Given(TypedDict):
    """What probes are told.

    Args:
        address: host and port of somebody who listens on this machine: of Lambda's Runtime API where there is one.
        file_of_user: a file with the secret, which the user may read.
        folder_of_all: the folder for temporary files.
        package: a file to make among the packages.
        nap: so many seconds that no other test's process sleeps as long.
    """

    address: tuple[str, int]
    file_of_user: str
    folder_of_all: str
    package: str
    nap: str


@dataclass(frozen=True)
class Probe:
    """Bodies of functions that return whether they got what they wanted; an `OSError` is a no.

    Args:
        body: runs on one image.
        then: runs on the next; what it returns counts then.
        forges: the body ends the process itself, with a result of its own that says it got what it wanted.
        with_filters: whether it is reached where the kernel confines by all measures.
        on_lambda: whether it is reached where the kernel refuses what Lambda's refuses.
    """

    body: str
    then: str | None = None
    forges: bool = False
    with_filters: bool = False
    on_lambda: bool = False

    def scripts(self) -> list[str]:
        """The scripts to run one after the other; their parameters are `Given`."""
        if self.forges:
            return [f"import os\ndef process(image, params):\n{indent(dedent(self.body), '    ')}\n"]
        return [
            f"{PRELUDE}\ndef probe():\n{indent(dedent(body), '    ')}\n"
            "def process(image, params):\n"
            "    globals().update(params)\n"
            "    try: reached = probe()\n"
            "    except OSError: reached = False\n"
            "    return {'metadata': {'reached': bool(reached)}}\n"
            for body in (self.body, self.then)
            if body is not None
        ]


def _forge(contents: bytes = b"", **changes: Any) -> Probe:
    document = FORGED | {"metadata": {"script": {"reached": True}}} | changes
    return Probe(forging(json.dumps(document), contents), forges=True)


def _forge_derivative(content: bytes, **said: object) -> Probe:
    return _forge(content, derivatives=derivative(content, **said)["derivatives"])


CREDENTIALS = {
    "finds credentials in its environment": Probe(
        "return any(secret.search(one.encode()) for one in os.environ.values())"
    ),
    "finds credentials in the environment of any process": Probe(
        "return any(secret.search(read(file)) for file in glob('/proc/[0-9]*/environ'))"
    ),
    "finds credentials in a command line": Probe(
        "return any(secret.search(read(file)) for file in glob('/proc/[0-9]*/cmdline'))"
    ),
    "finds credentials in its memory": Probe(
        """
        with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
            for line in maps.readlines():
                start, end = (int(one, 16) for one in line.split()[0].split("-"))
                if line.split()[1].startswith("rw"):
                    try:
                        memory.seek(start)
                        if secret.search(memory.read(end - start)): return True
                    except (OSError, OverflowError): pass
        """
    ),
    "reads a file of its user outside its folder": Probe(
        "return secret.search(Path(file_of_user).read_bytes())", on_lambda=True
    ),
    "uses the rights of root": Probe("os.chroot('/')\nreturn True"),
}
ENVIRONMENT_AND_MEMORY = {
    "reads the environment of the process above it": Probe("return Path(f'/proc/{os.getppid()}/environ').read_bytes()"),
    "reads the environment of all processes above it": Probe(
        """
        process, found = os.getppid(), []
        while process > 1:
            found.append(read(f"/proc/{process}/environ"))
            fields = read(f"/proc/{process}/stat").rpartition(b")")[2].split()
            process = int(fields[1]) if fields else 0
        return any(found)
        """
    ),
    "reads the memory of the process above it": Probe("return open(f'/proc/{os.getppid()}/mem', 'rb').fileno()"),
    "writes the memory of the process above it": Probe("return open(f'/proc/{os.getppid()}/mem', 'r+b').fileno()"),
    "learns where the memory of the process above it lies": Probe(
        "return Path(f'/proc/{os.getppid()}/maps').read_bytes()"
    ),
    "copies from the memory of the process above it": Probe(
        """
        class Part(ctypes.Structure): _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
        target = ctypes.create_string_buffer(8)
        ours, theirs = Part(ctypes.addressof(target), 8), Part(id(sys.modules), 8)  # of before the fork
        return call("process_vm_readv", os.getppid(), ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0) == 8
        """
    ),
    "traces the process above it": Probe("return call('ptrace', 0x4206, os.getppid(), 0, 0) == 0"),
    "opens files of the process above it": Probe(
        """
        folder = f"/proc/{os.getppid()}/fd"
        return [os.open(f"{folder}/{name}", os.O_RDONLY) for name in os.listdir(folder)]
        """
    ),
    "takes an open file of the process above it": Probe(
        """
        handle = call(434, os.getppid(), 0)  # pidfd_open
        return call(438, handle, 0, 0) >= 0  # pidfd_getfd
        """
    ),
    "makes a file in memory": Probe("return os.memfd_create('a')", on_lambda=True),
    "makes memory to share": Probe("return call('shmget', 0, 4096, 0o1600) >= 0", on_lambda=True),
}
SIGNALS = {
    "may signal the process above it": Probe("os.kill(os.getppid(), 0)\nreturn True", on_lambda=True),
    "may signal every process": Probe("os.kill(-1, 0)\nreturn True", on_lambda=True),
    "has a pipe signal the process above it": Probe(
        "fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getppid())\nreturn True", on_lambda=True
    ),
    "may change the priority of the process above it": Probe(
        """
        above = os.getppid()
        os.setpriority(os.PRIO_PROCESS, above, os.getpriority(os.PRIO_PROCESS, above))
        return True
        """,
        on_lambda=True,
    ),
    "may move the process above it to other processors": Probe(
        "os.sched_setaffinity(os.getppid(), os.sched_getaffinity(os.getppid()))\nreturn True", on_lambda=True
    ),
    "may limit the process above it": Probe(
        """
        files = resource.RLIMIT_NOFILE
        resource.prlimit(os.getppid(), files, resource.prlimit(os.getppid(), files))
        return True
        """,
        on_lambda=True,
    ),
    "starts a program": Probe("return os.fork() or os.execv('/bin/true', ['true'])", on_lambda=True),
}
SOCKETS = {
    "opens a connection": Probe("return socket.create_connection(address, timeout=2).fileno()", on_lambda=True),
    "sends a datagram": Probe(
        "return socket.socket(type=socket.SOCK_DGRAM).sendto(b'a', ('127.0.0.1', 9))", on_lambda=True
    ),
    "waits for connections": Probe("return socket.create_server(('127.0.0.1', 0)).fileno()", on_lambda=True),
    "opens a socket of the machine's own": Probe("return socket.socketpair()[0].fileno()", on_lambda=True),
    "may ask an address of AWS's metadata": Probe(
        """
        places = [("169.254.169.254", 80), ("169.254.170.2", 80)]
        return not all(refused_by_kernel(lambda: socket.create_connection(one, timeout=0.2)) for one in places)
        """,
        on_lambda=True,
    ),
}
OTHER_IMAGES = {
    "finds files of others in the folder for all": Probe(
        "return [name for name in os.listdir(folder_of_all) if name == 'of-another']"
    ),
    "takes the event of another image": Probe(
        """
        api = http.client.HTTPConnection(*address, timeout=20)
        def ask(method, path, answer=None):
            api.request(method, f"/2018-06-01/runtime/invocation/{path}", answer and json.dumps(answer))
            answered = api.getresponse()
            return answered.read() and answered.headers["Lambda-Runtime-Aws-Request-Id"]
        own = ask("GET", "next")
        ask("POST", f"{own}/response", {"output": {"reached": False}})
        another = ask("GET", "next")
        Path("taken").touch()
        ask("POST", f"{another}/response", {"output": {"reached": another != own}})
        """,
        then="return Path('taken').exists()",  # where it is taken on Lambda, this never runs
        on_lambda=True,
    ),
    "leaves a file in its folder": Probe("Path('left').touch()", then="return Path('left').exists()"),
    "leaves a file in the folder for all": Probe(
        "Path(f'{folder_of_all}/left').touch()", then="return Path(f'{folder_of_all}/left').exists()"
    ),
    "leaves a changed module": Probe(
        "from PIL import Image\nImage.LEFT = True", then="from PIL import Image\nreturn hasattr(Image, 'LEFT')"
    ),
    "leaves a changed environment": Probe("os.environ['LEFT'] = '1'", then="return 'LEFT' in os.environ"),
    "leaves a process": Probe(
        """
        if os.fork() == 0:
            os.setsid()
            os.fork() or os.execv("/bin/sleep", ["sleep", nap])
            os._exit(0)
        time.sleep(0.3)
        """,
        then="return any(nap.encode() in read(file) for file in glob('/proc/[0-9]*/cmdline'))",
    ),
    "leaves memory to share": Probe(
        "call('shmget', 0x1a4e, 4096, 0o1600)",
        then="call('shmctl', call('shmget', 0x1a4e, 4096, 0), 0, 0)\nreturn True",
    ),
    "leaves a key in the kernel": Probe(
        "for keyring in keyrings(): call('add_key', b'user', b'left', b'1', 1, keyring)",
        then="""
        found = []
        for keyring in keyrings():
            try: found.append((call("keyctl", 10, keyring, b"user", b"left", 0), keyring))
            except OSError: pass
        return [call("keyctl", 9, *one) for one in found]
        """,
    ),
    "changes a package": Probe("return open(package, 'w').fileno()"),
    "changes its own source": Probe("return open(__file__, 'a').fileno()"),
}
FORGED_RESULTS = {
    "forges another width": _forge(stored=STORED | {"width": 123_456}),
    "forges another format": _forge(stored=STORED | {"format": "PNG"}),
    "forges a mode that is none": _forge(stored=STORED | {"mode": "XYZ"}),
    "forges the columns of another script": _forge(metadata={"describe": {"reached": True}}),
    "forges a path as the name of a derivative": _forge(derivatives=[DERIVATIVE | {"name": "../x"}]),
    "forges a page as a picture": _forge_derivative(HTML),
    "forges a page behind a picture": _forge_derivative(SMALL + HTML),
    "forges a huge picture as a small one": _forge_derivative(HUGE, extension="png"),
    "forges what the engine could have said": Probe(_forge().body, forges=True, with_filters=True, on_lambda=True),
}

GROUPS = {
    "Credentials": CREDENTIALS,
    "Environment and memory": ENVIRONMENT_AND_MEMORY,
    "Signals and processes": SIGNALS,
    "Sockets": SOCKETS,
    "Other images, and the next one": OTHER_IMAGES,
    "Forged results": FORGED_RESULTS,
}
PROBES = {name: probe for group in GROUPS.values() for name, probe in group.items()}
