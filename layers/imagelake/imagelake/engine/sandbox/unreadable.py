"""Hiding a process where the kernel refuses `prctl`: by an executable that its user may execute, but not read.

The kernel treats what runs such a file as it treats what has called `PR_SET_DUMPABLE` with 0: others of the same user
cannot read or write its memory, nor read its environment. So do the children it forks. Root may read every file, so
this is for ordinary users, as in AWS Lambda.
"""

import os
import shutil
import sys
from pathlib import Path


def interpreter() -> int:
    """A descriptor of a copy of Python's executable, in memory, that can only be executed, as `/proc/self/fd/<n>`.

    Raises:
        OSError: there is no memory for it.
    """
    copy = os.memfd_create("python")
    try:
        with open(copy, "wb", closefd=False) as file, Path(sys.executable).resolve().open("rb") as original:
            shutil.copyfileobj(original, file)
        os.fchmod(copy, 0o111)
        return os.open(f"/proc/self/fd/{copy}", os.O_PATH | os.O_CLOEXEC)
    finally:
        os.close(copy)  # what somebody may write to is not executed


def library_path() -> str:
    """`LD_LIBRARY_PATH` for the copy, which does not lie where its library is looked for."""
    libraries = str(Path(sys.base_prefix, "lib"))
    return os.pathsep.join(filter(None, (libraries, os.environ.get("LD_LIBRARY_PATH"))))
