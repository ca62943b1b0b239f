"""Files that a process may reach, by Landlock: a list of folders to read, and one to write in.

Landlock also closes other processes' `/proc/<pid>/environ` and `mem`, whoever they belong to, and where the kernel is
new enough refuses signals to them and TCP. Linux has it from 5.13 on; AWS Lambda refuses it.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from imagelake.engine.sandbox.kernel import libc

_CREATE, _ADD, _RESTRICT = 444, 445, 446
"""System calls, the same on every machine."""
_ASK_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_READ = _READ_FILE | _READ_DIR
_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights on files a version knows; later ones know as many as the last."""
_TCP, _TCP_SINCE = 0b11, 4
_SIGNALS_AND_ABSTRACT_SOCKETS, _SCOPES_SINCE = 0b11, 6

_DEVICES = {"/dev/null": _READ_FILE | _WRITE_FILE, "/dev/zero": _READ_FILE, "/dev/urandom": _READ_FILE}
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/opt", "/nix/store", "/gnu/store", "/var/lang", "/proc/self")
_SYSTEM_FILES = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system/cpu")


def restrict(folder: str, readable: Iterable[str]) -> bool:
    """Let this process read the system's programs and `readable` only, and make and change files in `folder` only.

    A path that is not there is left out. Takes `no_new_privs`; returns whether the kernel has done it.
    """
    version = libc.syscall(_CREATE, None, ctypes.c_size_t(0), _ASK_VERSION)
    if version < 1:
        return False
    handled = (1 << _RIGHTS[min(version, max(_RIGHTS))]) - 1
    tcp = _TCP if version >= _TCP_SINCE else 0
    scopes = _SIGNALS_AND_ABSTRACT_SOCKETS if version >= _SCOPES_SINCE else 0
    attributes = struct.pack("=QQQ", handled, tcp, scopes)
    ruleset = libc.syscall(_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    try:
        for path in {*_SYSTEM, *_SYSTEM_FILES, *readable}:
            _allow(ruleset, path, _READ)
        for path, rights in _DEVICES.items():
            _allow(ruleset, path, rights)
        return _allow(ruleset, folder, handled & ~_EXECUTE) and libc.syscall(_RESTRICT, ruleset, 0) == 0
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> bool:
    with suppress(OSError):
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            allowed = rights if stat.S_ISDIR(os.fstat(place).st_mode) else rights & _OF_FILES
            rule = struct.pack("=Qi", allowed, place)
            return bool(libc.syscall(_ADD, ruleset, _PATH_BENEATH, rule, 0) == 0)
        finally:
            os.close(place)
    return False
