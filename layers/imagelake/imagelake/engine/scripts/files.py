"""The files a script is made of."""

import hashlib
from glob import escape
from pathlib import Path
from typing import Final

VERSION_DIGITS: Final = 12


def of_script(path: Path) -> list[Path]:
    """The script at `path`, first, and its data: what lies beside it under its name and another ending."""
    data = (file for file in path.parent.glob(f"{escape(path.stem)}.*") if file != path and file.is_file())
    return [path, *sorted(data)]


def version(path: Path) -> str:
    """The first twelve hexadecimal digits of the SHA-256 of the script at `path`.

    Where it has data, the SHA-256 is that of the script's and its data's, each with the file's name before it.
    """
    script, *data = of_script(path)
    if not data:
        return hashlib.sha256(script.read_bytes()).hexdigest()[:VERSION_DIGITS]
    whole = hashlib.sha256()
    for file in (script, *data):
        whole.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()[:VERSION_DIGITS]
