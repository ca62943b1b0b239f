import json
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from imagelake.engine.runner import run_scripts
from imagelake.engine.sandbox.sandbox import SandboxError
from imagelake_cli import script as command
from imagelake_cli.main import app
from tests.conftest import GivePipelines
from tests.unit.pictures import encoded, photo

cli = CliRunner()
FIELDS = ["image", "outcome", "reason", "seconds", "peak_memory_mb", "metadata", "derivatives"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(encoded(photo()))
    (folder / "more" / "a.jpg").write_bytes(encoded(photo(50, 80), "PNG"))
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden").write_text("left alone")
    return folder


def lines(output: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.splitlines()]


def test_run_reports_one_json_object_per_image_and_line(pictures: Path, tmp_path: Path) -> None:
    result = cli.invoke(
        app, ["script", "run", "describe,thumbnails", str(pictures), "--json", "--output", str(tmp_path / "made")]
    )

    assert result.exit_code == 0, result.output
    reports = lines(result.stdout)
    assert [list(report) for report in reports] == [FIELDS] * 3
    assert {report["image"]: report["outcome"] for report in reports} == {
        str(pictures / "a.jpg"): "processed",
        str(pictures / "more" / "a.jpg"): "processed",
        str(pictures / "notes.txt"): "rejected",
    }
    first, _, text = reports
    assert first["reason"] is None
    assert isinstance(first["metadata"], dict)
    assert first["metadata"]["format"] == "JPEG"
    assert isinstance(first["derivatives"], list)
    assert [made["name"] for made in first["derivatives"]] == ["thumb_1024", "thumb_256"]
    assert text["reason"] == "not_an_image: the bytes are not those of an image"
    assert isinstance(text["peak_memory_mb"], float)
    assert (tmp_path / "made" / "more" / "a.jpg.thumb_256.jpg").exists()


def test_run_takes_as_many_pixels_as_it_is_told(tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    Image.new("1", (11_000, 10_000)).save(large)  # more than the limit of all frames together
    options = ["--json", "--max-pixels", "110000000", "--memory-mb", "1500"]

    result = cli.invoke(app, ["script", "run", "describe", str(large), *options])

    assert [report["outcome"] for report in lines(result.stdout)] == ["processed"]


def test_run_and_check_have_the_limits_and_parameters_of_the_pipeline_but_for_what_they_are_given(
    pictures: Path, give_pipelines: GivePipelines
) -> None:
    give_pipelines(limits={"max_pixels": 1000}, default={"params": {"redact": {"max_side": 32}}})

    def run(*options: str) -> dict[str, Any]:
        result = cli.invoke(app, ["script", "run", "redact", str(pictures / "a.jpg"), "--json", *options])
        report: dict[str, Any] = json.loads(result.stdout)
        return report

    checked, *_ = lines(cli.invoke(app, ["script", "check", "redact", "--json"]).stdout)
    larger = run("--max-pixels", "10000000")
    [derivative] = larger["derivatives"]

    assert run()["reason"].endswith("the limit is 1000")
    assert str(checked["reason"]).endswith("the limit is 1000")
    assert larger["outcome"] == "processed"
    assert max(derivative["width"], derivative["height"]) == 32


def test_run_shows_a_table_and_the_metadata_of_a_single_image(pictures: Path) -> None:
    result = cli.invoke(app, ["script", "run", "describe", str(pictures / "a.jpg")])
    assert result.exit_code == 0, result.output
    assert "processed" in result.stdout
    assert '"format": "JPEG"' in result.stdout


def test_a_new_script_passes_its_own_test_and_the_check(tmp_path: Path) -> None:
    written = cli.invoke(app, ["script", "new", "warmth", "--folder", str(tmp_path)])
    assert written.exit_code == 0, written.output
    checked = cli.invoke(app, ["script", "check", str(tmp_path / "warmth.py"), "--json"])
    assert checked.exit_code == 0, checked.output
    assert {report["outcome"] for report in lines(checked.stdout)} == {"processed"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "test_warmth.py")]
    assert subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode == 0


def test_what_lies_around_a_script_is_not_imported(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for file in (here / "random.py", there / "helper.py"):
        file.parent.mkdir()
        file.write_text(f"open({str(tmp_path / 'imported')!r}, 'w')")
    (there / "curious.py").write_text("import helper\ndef process(image, params): return {}")
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(there)  # as pytest does for the test beside a script

    result = cli.invoke(app, ["script", "run", str(there / "curious.py"), str(pictures / "a.jpg"), "--json"])

    (report,) = lines(result.stdout)
    assert report["reason"] == (
        "script_error: curious: ModuleNotFoundError in line 1: "
        "a script is one file, and cannot import what lies beside it"
    )
    assert not (tmp_path / "imported").exists()


def test_a_package_that_prints_when_imported_does_not_spoil_the_output(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "noisy.py").write_text("print('noise', flush=True)")
    monkeypatch.syspath_prepend(packages)
    (tmp_path / "quiet.py").write_text("import noisy\ndef process(image, params): return {}")

    result = cli.invoke(app, ["script", "run", str(tmp_path / "quiet.py"), str(pictures / "a.jpg"), "--json"])

    assert [report["outcome"] for report in lines(result.stdout)] == ["processed"]
    assert capfd.readouterr().out == ""


def test_a_package_that_exits_when_imported_is_the_fault_of_the_script(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "leaving.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(packages)
    (tmp_path / "left.py").write_text("import leaving\ndef process(image, params): return {}")

    result = cli.invoke(app, ["script", "run", str(tmp_path / "left.py"), str(pictures / "a.jpg"), "--json"])

    assert [report["reason"] for report in lines(result.stdout)] == ["script_error: left: SystemExit in line 1"]


def test_a_package_that_hangs_when_imported_is_the_fault_of_the_script(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "endless.py").write_text("while True: pass")
    monkeypatch.syspath_prepend(packages)
    (tmp_path / "held.py").write_text("import endless\ndef process(image, params): return {}")
    image = str(pictures / "a.jpg")

    result = cli.invoke(app, ["script", "run", str(tmp_path / "held.py"), image, "--seconds", "0.5", "--json"])

    assert [report["reason"] for report in lines(result.stdout)] == ["script_timeout: script: stopped after 0.5 s"]


def test_run_ends_when_the_last_folder_is_removed(pictures: Path, tmp_path: Path) -> None:
    source = """
        import os
        def process(image, params):
            for number in range(3000): open(str(number), "w").close()
            return {"metadata": {"folder": os.getcwd()}}
    """
    (tmp_path / "litter.py").write_text(dedent(source))

    result = cli.invoke(app, ["script", "run", str(tmp_path / "litter.py"), str(pictures / "a.jpg"), "--json"])

    (report,) = lines(result.stdout)
    assert isinstance(report["metadata"], dict)
    assert not Path(report["metadata"]["folder"]).exists()


def test_check_fails_for_a_script_that_fails(tmp_path: Path) -> None:
    script = tmp_path / "narrow.py"
    script.write_text("def process(image, params):\n    red, green, blue = image.split()\n    return {}\n")
    result = cli.invoke(app, ["script", "check", str(script), "--json"])
    assert result.exit_code == 1
    rejected = [report for report in lines(result.stdout) if report["outcome"] == "rejected"]
    assert rejected
    assert all(report["reason"] == "script_error: narrow: ValueError in line 2" for report in rejected)


@pytest.mark.parametrize(
    "arguments",
    [
        ["new", "../escape"],
        ["new", "Upper"],
        ["new", "class"],
        ["new", "json"],
        ["check", "no_such_script"],
        ["check", "no_such_file.py"],
        ["check", "describe", "--params", "[1]"],
        ["check", "describe", "--params", "{"],
        ["check", "describe", "--params", '{"redact": {}}'],
        ["check", "describe,describe"],
        ["check", "describe", "--seconds", "0"],
        ["run", "describe", __file__, "--max-pixels", "-5"],
        ["run", "describe", "/no/such/image"],
    ],
)
def test_a_wrong_argument_is_explained(arguments: list[str]) -> None:
    result = cli.invoke(app, ["script", *arguments])
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert "Error" in result.output


def test_params_reach_the_script(pictures: Path) -> None:
    params = json.dumps({"redact": {"max_side": 20}})
    result = cli.invoke(app, ["script", "run", "redact", str(pictures / "a.jpg"), "--json", "--params", params])
    (report,) = lines(result.stdout)
    assert isinstance(report["derivatives"], list)
    assert report["derivatives"][0]["width"] == 20


def test_names_and_reasons_are_shown_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    script = tmp_path / "named.py"
    script.write_text("def process(image, params):\n    return {'derivatives': {'[Upper]': image}}\n")
    names = ["photo[red].jpg", "x[/b].jpg"]
    (tmp_path / "x[").mkdir()
    for name in names:
        (tmp_path / name).write_bytes(encoded(photo()))

    result = cli.invoke(app, ["script", "run", str(script), *(str(tmp_path / name) for name in names)])

    assert result.exit_code == 0, result.output
    for shown in (*names, "[a-z0-9][a-z0-9_]{0,63}"):
        assert shown in result.stdout


def test_a_narrow_terminal_cuts_no_name_and_no_reason(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")  # which makes Rich believe in a terminal
    picture = pictures / f"{'p' * 60}.jpg"
    picture.write_text("not an image")

    result = cli.invoke(app, ["script", "run", "describe", str(picture)])

    assert "…" not in result.stdout
    assert max(len(line) for line in re.sub(r"\x1b\[[0-9;]*m", "", result.stdout).splitlines()) <= 80


def test_a_table_in_a_pipe_has_one_line_an_image(pictures: Path) -> None:
    picture = pictures / f"{'p' * 60}.jpg"
    picture.write_text("not an image")

    result = cli.invoke(app, ["script", "run", "describe", str(picture)])

    assert [line.split()[0] for line in result.stdout.splitlines()] == ["image", str(picture)]


def test_paths_may_be_relative_and_absolute(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pictures)
    images = ["more/a.jpg", str(pictures / "a.jpg")]

    result = cli.invoke(app, ["script", "run", "thumbnails", *images, "--json", "--output", str(tmp_path / "made")])

    assert [report["image"] for report in lines(result.stdout)] == images
    assert (tmp_path / "made" / "more" / "a.jpg.thumb_256.jpg").exists()
    assert (tmp_path / "made" / "a.jpg.thumb_256.jpg").exists()


def test_no_value_of_two_scripts_is_lost(pictures: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        returned = {"metadata": {"tone": number, f"own_{number}": number}}
        (tmp_path / f"a{number}.py").write_text(f"def process(image, params):\n    return {returned}\n")
    scripts = f"{tmp_path}/a1.py, {tmp_path}/a2.py"

    result = cli.invoke(app, ["script", "run", scripts, str(pictures / "a.jpg"), "--json"])

    [report] = lines(result.stdout)
    assert isinstance(report["metadata"], dict)
    found = {name: value for name, value in report["metadata"].items() if "tone" in name or "own" in name}
    assert found == {"tone": 1, "own_1": 1, "a2.tone": 2, "own_2": 2}


@pytest.mark.parametrize("place", ["a.jpg", "a.jpg/below", "/proc/nope"])
def test_an_output_that_cannot_be_made_is_one_line(place: str, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pictures)
    for arguments in (["run", "describe", "a.jpg", "--output", place], ["new", "warmth", "--folder", place]):
        result = cli.invoke(app, ["script", *arguments])

        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"Error: {place}: ")
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def process(image, params):\n    print('seen', image.size)\n    return {}", "seen (64, 48)"),
        ("def process(image, params):\n    return {}['absent']", "    return {}['absent']"),
        ("def process(image, params):\n    return {}['absent']", "KeyError: 'absent'"),
        ("def process(image): return {}", "TypeError: process() takes 1 positional argument but 2 were given"),
        ("import absent\ndef process(image, params): return {}", "ModuleNotFoundError: No module named 'absent'"),
    ],
)
def test_the_author_sees_once_what_a_script_prints_and_raises(tmp_path: Path, source: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(source)
    images = [tmp_path / "a.png", tmp_path / "b.png"]
    for image in images:
        Image.new("RGB", (64, 48)).save(image)

    result = cli.invoke(app, ["script", "run", str(tmp_path / "mine.py"), *map(str, images), "--jobs", "1", "--json"])

    assert [line.removeprefix("  ") for line in result.stderr.splitlines()].count(said) == 1
    assert len(result.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("error", "exit_code", "said"),
    [
        (SandboxError("the warm process ended during a job"), 1, "Error: the warm process ended during a job\n"),
        (PermissionError(13, "Permission denied", "b.jpg"), 1, "Error: b.jpg: Permission denied\n"),
        (KeyboardInterrupt(), 130, "Stopped.\n"),
    ],
)
def test_what_ends_a_run_early_is_one_line_and_what_is_done_is_shown(
    error: BaseException, exit_code: int, said: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [None, error]

    def second_fails(*arguments: Any, **options: Any) -> Any:
        if fails := calls.pop(0):
            raise fails
        return run_scripts(*arguments, **options)

    monkeypatch.setattr(command, "run_scripts", second_fails)
    images = [str(pictures / "a.jpg"), str(pictures / "more" / "a.jpg")]

    result = cli.invoke(app, ["script", "run", "describe", *images, "--jobs", "1"])

    assert (result.exit_code, result.stderr) == (exit_code, said)
    assert "processed" in result.stdout


def test_a_script_that_is_not_there_is_named_with_those_that_are(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "warmth.py").touch()
    monkeypatch.setenv("COLUMNS", "300")
    said = "there is no script {}: there are describe, near_duplicate, quality, redact, thumbnails"

    unknown = cli.invoke(app, ["script", "run", "nosuch", str(pictures)])
    beside = cli.invoke(app, ["script", "run", "warmth", str(pictures)])
    misspelt = cli.invoke(app, ["script", "check", "wramth.py"])

    assert (unknown.exit_code, beside.exit_code, misspelt.exit_code) == (2, 2, 2)
    assert "there is no file wramth.py" in misspelt.stderr
    assert said.format("nosuch") in unknown.stderr
    assert f"{said.format('warmth')}, and here the file warmth.py" in beside.stderr
    assert "PROCESSING_SCRIPTS" not in unknown.stderr


def test_blanks_around_names_of_scripts_are_nothing(pictures: Path) -> None:
    result = cli.invoke(app, ["script", "run", "describe, thumbnails", str(pictures / "a.jpg"), "--json"])

    assert [report["outcome"] for report in lines(result.stdout)] == ["processed"]


def test_a_folder_without_images_is_said(tmp_path: Path) -> None:
    result = cli.invoke(app, ["script", "run", "describe", str(tmp_path)], env={"COLUMNS": "300"})

    assert result.exit_code == 2
    assert f"no images in {tmp_path}" in result.stderr


def test_heic_without_its_package_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)

    result = CliRunner().invoke(app, ["script", "run", "describe", str(tmp_path), "--heif"], terminal_width=400)

    assert result.exit_code == 2
    assert "uv tool install '.[heif]'" in " ".join(result.stderr.replace("│", " ").split())
