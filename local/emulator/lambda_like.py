"""Run a program as Lambda runs a function: what its kernel refuses there is refused here. Linux only.

    python local/emulator/lambda_like.py [--user UID] [--tmp FOLDER] [--see PATH]… [--hide FOLDER]… [--strict]
                                         -- PROGRAM ARGUMENT…

What holds for the program and all it starts, under the names that `LAMBDA_LIKE` in its environment lists:

- `filter`: `prctl`, `seccomp` and `ptrace` answer EPERM.
- `user`: it runs as an ordinary user, `--user` or one that no other program has, with at most 1,024 processes.
- `files`: all is read-only but `/tmp`, which is its own and empty at first; `/dev/shm` cannot be used; no set-uid; the
  home of the user who starts it is out of sight, and what `--hide` names.

Up to 1,024 files are open at once. What would go out of sight and is needed is named with `--see`; the program's own
folder is seen anyway. Root gets all of it. An ordinary user stays who it is, and gets
`files` where user namespaces are allowed. With `--strict` the program starts only if all holds; else the exit code is
77, and standard error says what does not hold and why.

Sources: ClickHouse#53117 and cypress-lambda-example#2 on the system calls,
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html on the numbers.
"""

import argparse
import ctypes
import errno
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

NOT_ALIKE: Final = 77
"""Exit code where `--strict` asks for more than this machine or user can give."""
TMP_BYTES: Final = 512 * 1024 * 1024
"""Of `/tmp`, unless `--tmp` names a folder."""
_TMP: Final = Path("/tmp")  # noqa: S108
_PROCESSES: Final = 1024
_FILES: Final = 1024

_AUDIT_ARCHITECTURE: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_REFUSED: Final = {"x86_64": (157, 317, 101), "aarch64": (167, 277, 117)}  # prctl, seccomp, ptrace
_FIRST_X32_CALL: Final = 0x40000000

_NEW_MOUNTS, _NEW_USERS = 0x00020000, 0x10000000
_NO_SET_UID, _NO_DEVICES, _BIND, _RECURSIVE, _PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _ATTRIBUTE_READ_ONLY, _ATTRIBUTE_NO_SET_UID = 442, -100, 0x8000, 0x1, 0x2
_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _SECCOMP_FILTER = 38, 22, 2

_libc = ctypes.CDLL(None, use_errno=True)


def command(
    program: Sequence[str], *, user: int | None = None, tmp: Path | None = None, see: Iterable[Path] = (),
    hide: Iterable[Path] = (), strict: bool = False,
) -> list[str]:  # fmt: skip
    """The command that runs another one as Lambda would; the options are those of the command line.

    Where there is no Linux, it is the program itself.
    """
    if sys.platform != "linux":
        return [*program]
    options = [f"--see={folder}" for folder in see]
    options += [f"--hide={folder}" for folder in hide]
    options += [f"--user={user}"] if user is not None else []
    options += [f"--tmp={tmp}"] if tmp else []
    options += ["--strict"] if strict else []
    return [sys.executable, "-I", "-S", __file__, *options, "--", *program]  # a bare interpreter starts in 20 ms


def main() -> None:
    """Become like Lambda, then become the program."""
    parser = argparse.ArgumentParser(description="Run a program as Lambda runs a function.")
    parser.add_argument("--user", type=int, help="Number of the user to become, where started as root.")
    parser.add_argument("--tmp", type=Path, help="Folder to have as /tmp; an empty one in memory if not given.")
    parser.add_argument("--see", type=Path, action="append", default=[], help="Folder or file that stays in sight.")
    parser.add_argument("--hide", type=Path, action="append", default=[], help="Folder to keep out of sight.")
    parser.add_argument("--strict", action="store_true", help=f"Exit with {NOT_ALIKE} where not all of it holds.")
    parser.add_argument("program", nargs="+", metavar="-- PROGRAM ARGUMENT", help="What to run.")
    given = parser.parse_args()
    os.umask(0o022)
    holds, missing = _become_alike(given)
    if missing and given.strict:
        sys.exit(_complain(missing))
    os.environ["LAMBDA_LIKE"] = ",".join(holds)
    try:
        os.execvp(given.program[0], given.program)  # noqa: S606  # the caller's own program
    except OSError as error:
        sys.exit(f"lambda_like: {given.program[0]}: {error.strerror}")


def _complain(missing: dict[str, str]) -> int:
    for what, why in missing.items():
        sys.stderr.write(f"lambda_like: not {what}: {why}\n")
    return NOT_ALIKE


def _become_alike(given: argparse.Namespace) -> tuple[list[str], dict[str, str]]:
    """What holds from now on, and what does not, with the reason."""
    was_root = os.geteuid() == 0
    missing: dict[str, str] = {}
    see = [path.absolute() for path in given.see] + list(_prefixes(given.program[0]))
    here = Path.cwd()
    try:
        _own_files(given.tmp, see, given.hide, as_root=was_root)
        os.chdir(here if here.is_dir() else "/")
    except OSError as error:
        missing["files"] = str(error)
        if not all(map(_reachable, see)):
            missing["user"] = "an ordinary user cannot reach the program"
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
    try:
        _refuse_system_calls()
    except OSError as error:
        missing["filter"] = str(error)
    if not was_root:
        missing["user"] = "only root can become another user"
    elif "user" not in missing:
        number = given.user if given.user is not None else 30_000 + os.getpid() % 29_000  # Debian gives these to nobody
        resource.setrlimit(resource.RLIMIT_NPROC, (_PROCESSES, _PROCESSES))
        os.setgroups([])
        os.setgid(number)
        os.setuid(number)
    return [what for what in ("filter", "user", "files") if what not in missing], missing


def _prefixes(program: str) -> Iterator[Path]:
    """Where a program and what belongs to it lie: above its `bin`, and above that of each link on the way to it."""
    if "/" not in program:
        return
    file = Path(program).absolute()
    yield file.parent.parent
    while file.is_symlink():
        file = file.parent / file.readlink()
        yield file.parent.parent
    yield file.resolve().parent.parent


def _reachable(folder: Path) -> bool:
    return all(above.stat().st_mode & 0o001 for above in (folder, *folder.parents))


def _own_files(tmp: Path | None, see: Sequence[Path], hide: Sequence[Path], *, as_root: bool) -> None:
    """A view of the files of one's own: all read-only, `/tmp` private, nothing in `/dev/shm`.

    Folders that an ordinary user may not enter are replaced by what is to be seen of them.
    """
    _new_namespace(as_root=as_root)
    _mount(None, "/", _RECURSIVE | _PRIVATE)
    covered = {_TMP, *(folder.resolve() for folder in (Path.home(), *hide) if folder.is_dir())} - {Path("/")}
    covered |= {closed for path in see if as_root for closed in _closed_above(path)}
    opened = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in sorted({*see})}
    if tmp:
        tmp.chmod(0o1777)
    source = os.open(tmp, os.O_PATH | os.O_CLOEXEC) if tmp else None
    for path in sorted(covered | {*opened}):  # a folder comes before what lies in it
        if path == _TMP and source is not None:
            _mount(f"/proc/self/fd/{source}", str(path), _BIND)
        elif path in covered and path.is_dir():
            options = f"mode=1777,size={TMP_BYTES}" if path == _TMP else "mode=0755"
            _mount("tmpfs", str(path), _NO_SET_UID | _NO_DEVICES, options)
        if path in opened and covered & {path, *path.parents}:
            _put(path, opened[path])
    if Path("/dev/shm").is_dir():  # noqa: S108
        _mount("tmpfs", "/dev/shm", _NO_SET_UID | _NO_DEVICES, "mode=0,size=4k")  # noqa: S108
    _set_attributes("/", _AT_RECURSIVE, set_=_ATTRIBUTE_READ_ONLY | _ATTRIBUTE_NO_SET_UID)
    _set_attributes(str(_TMP), 0, clear=_ATTRIBUTE_READ_ONLY)


def _put(path: Path, descriptor: int) -> None:
    """Bring a folder or file back to where it was before that was covered."""
    if Path(f"/proc/self/fd/{descriptor}").is_dir():
        path.mkdir(parents=True, exist_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    _mount(f"/proc/self/fd/{descriptor}", str(path), _BIND | _RECURSIVE)


def _closed_above(folder: Path) -> list[Path]:
    """The uppermost folder on the way that others may not enter, if there is one."""
    return [above for above in reversed(folder.parents) if not above.stat().st_mode & 0o001][:1]


def _new_namespace(*, as_root: bool) -> None:
    user, group = os.getuid(), os.getgid()
    _check(_libc.unshare(_NEW_MOUNTS | (0 if as_root else _NEW_USERS)), "unshare")
    if not as_root:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _mount(source: str | None, target: str, flags: int, options: str | None = None) -> None:
    kind = b"tmpfs" if source == "tmpfs" else None
    arguments = (source and source.encode(), target.encode(), kind, ctypes.c_ulong(flags), options and options.encode())
    _check(_libc.mount(*arguments), f"mount {target}")


def _set_attributes(target: str, flags: int, *, set_: int = 0, clear: int = 0) -> None:
    attributes = struct.pack("=4Q", set_, clear, 0, 0)
    _check(
        _libc.syscall(
            ctypes.c_long(_MOUNT_SETATTR), _AT_FDCWD, target.encode(), flags, attributes,
            ctypes.c_size_t(len(attributes)),
        ),
        f"mount_setattr {target}",
    )  # fmt: skip


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _refuse_system_calls() -> None:
    """EPERM for what Lambda refuses, and for every call that another architecture's table numbers."""
    machine = platform.machine()
    if machine not in _REFUSED:
        raise OSError(errno.ENOSYS, f"no filter for {machine}")
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | errno.EPERM
    numbers = _REFUSED[machine]
    lines = [(load, 0, 0, 4), (equal, 0, len(numbers) + 3, _AUDIT_ARCHITECTURE[machine]), (load, 0, 0, 0)]
    lines += [(at_least, len(numbers) + 1, 0, _FIRST_X32_CALL)]
    lines += [(equal, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    lines += [(answer, 0, 0, allow), (answer, 0, 0, refuse)]
    code = b"".join(struct.pack("=HBBI", *line) for line in lines)
    program = _Program(len(lines), code)
    if os.geteuid() != 0:  # without, only who may administer the system may filter
        _check(_libc.prctl(_SET_NO_NEW_PRIVILEGES, *map(ctypes.c_ulong, (1, 0, 0, 0))), "prctl")
    _check(_libc.prctl(_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_FILTER), ctypes.byref(program), 0, 0), "seccomp")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
