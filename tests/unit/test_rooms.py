import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from imagelake.engine.sandbox import rooms
from imagelake.engine.sandbox.rooms import Room


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    room = Room()
    yield room
    if Path(room.path).exists():
        room.leave()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir(mode=0o750)
    (tmp_path / "outside/kept").write_text("kept")
    return tmp_path / "outside"


def make_deep(folder: str, depth: int) -> None:
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(folder)
        for _ in range(depth):
            Path("a").mkdir()
            os.chdir("a")
        Path("file").touch()
    finally:
        os.fchdir(here)
        os.close(here)


def test_a_room_is_emptied_and_stays(room: Room) -> None:
    Path(room.path, "a/b").mkdir(parents=True)
    Path(room.path, "a/file").touch()
    assert room.empty()
    assert list(Path(room.path).iterdir()) == []


def test_links_are_removed_and_not_followed(room: Room, outside: Path) -> None:
    Path(room.path, "folder").symlink_to(outside)
    Path(room.path, "sub").mkdir()
    Path(room.path, "sub/folder").symlink_to(outside)
    assert room.empty()
    assert (outside / "kept").exists()
    assert outside.stat().st_mode & 0o777 == 0o750


def test_what_takes_the_place_of_a_room_is_not_emptied(room: Room, outside: Path) -> None:
    away = Path(f"{room.path}-away")
    Path(room.path).rename(away)
    (away / "secret").touch()
    Path(room.path).symlink_to(outside)

    assert not room.empty()
    assert not (away / "secret").exists()
    room.leave()

    assert (outside / "kept").exists()
    assert not away.exists()
    assert not Path(room.path).is_symlink()


def test_the_room_of_a_process_that_died_is_removed_but_not_what_a_link_leads_to(room: Room, outside: Path) -> None:
    Path(room.path, "file").touch()
    rooms.remove(room.path)
    assert not Path(room.path).exists()
    Path(room.path).symlink_to(outside)
    rooms.remove(room.path)
    assert (outside / "kept").exists()


def test_depth_takes_no_stack_and_is_said_to_be_costly_early(room: Room) -> None:
    make_deep(room.path, 2_500)  # a path of 5,000 characters, which no system call takes
    costly: list[int] = []
    assert room.empty(lambda: costly.append(len(list(Path(room.path).iterdir()))))
    assert list(Path(room.path).iterdir()) == []
    assert costly == [1]


def test_little_is_not_costly(room: Room) -> None:
    for number in range(rooms.USUAL_ENTRIES - 1):
        Path(room.path, str(number)).touch()
    assert room.empty(lambda: pytest.fail("costly"))


def test_what_is_kept_is_kept(room: Room) -> None:
    other = Path(room.path).with_name("other")
    other.write_text("left by a script")
    assert rooms.empty_tmp(keep=[Path(room.path).name])
    assert [file.name for file in other.parent.iterdir()] == [Path(room.path).name]


def test_an_ordinary_user_empties_what_a_script_has_locked(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    program = f"""
        import os, sys, tempfile
        from pathlib import Path
        sys.path.insert(0, {str(Path(rooms.__file__).parents[3])!r})
        from imagelake.engine.sandbox.rooms import Room
        os.geteuid() or os.setuid(65534)
        tempfile.tempdir = {str(tmp_path)!r}
        room = Room()
        for mode in (0, 0o500, 0o300):
            folder = Path(room.path, str(mode), "b/c")
            folder.mkdir(parents=True)
            Path(room.path, str(mode), "b/file").touch()
            for locked in (folder, folder.parent, folder.parent.parent):
                locked.chmod(mode)
        Path(room.path).chmod(0)
        print(room.empty(), os.listdir(room.path))
    """
    for parent in tmp_path.parents:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)  # pytest's own, for whom it was started by
    assert subprocess.check_output([sys.executable, "-c", dedent(program)], text=True) == "True []\n"
