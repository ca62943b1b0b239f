"""Pictures of many cameras, and many damaged ones: the test data in the sources of Debian's packages for EXIF."""

import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

PACKAGES = ("libimage-exiftool-perl", "exiv2", "golang-github-rwcarlsen-goexif")
CACHE = Path(__file__).parents[2] / ".local/photographs"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic"})


def fetch() -> list[Path]:
    """The pictures, downloaded once; none where this is no Debian or the network does not answer.

    Several processes of a test run may ask at once: each downloads into a folder of its own, and the first to finish
    puts its folder in place.
    """
    if not CACHE.exists():
        CACHE.parent.mkdir(exist_ok=True)
        with TemporaryDirectory(prefix="photographs-", dir=CACHE.parent) as folder:
            part = Path(folder) / "files"
            part.mkdir()
            try:
                _download(part)
            except (IndexError, OSError, subprocess.SubprocessError):  # the first: no repository is configured
                return []
            for archive in part.glob("*.orig.tar.*"):
                with tarfile.open(archive) as files:
                    files.extractall(part, filter="data")
                archive.unlink()
            try:
                part.rename(CACHE)
            except OSError:
                if not CACHE.exists():  # else another process was first
                    raise
    return sorted(file for file in CACHE.rglob("*") if file.is_file() and file.suffix.lower() in _SUFFIXES)


def _download(folder: Path) -> None:
    """With a list of sources of its own: the machine's has binary packages only, as a rule."""
    place = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages"],
        check=True, capture_output=True, text=True, timeout=60,
    ).stdout.splitlines()[0]  # fmt: skip
    (folder / "lists/partial").mkdir(parents=True, exist_ok=True)
    (folder / "sources.list").write_text(f"deb-src [signed-by={_KEYRING}] {place}\n")
    options = [
        f"-oDir::Etc::sourcelist={folder}/sources.list",
        "-oDir::Etc::sourceparts=/dev/null",
        f"-oDir::State::lists={folder}/lists",
    ]
    for command in (["update"], ["source", "--download-only", *PACKAGES]):
        subprocess.run(["apt-get", "-qq", *options, *command], cwd=folder, check=True, capture_output=True, timeout=100)
