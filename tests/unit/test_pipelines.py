"""pipelines.yaml: what is wrong with it is said with its place, and what is right reaches all that obey it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from samcli.lib.utils.hash import dir_checksum

from imagelake import pipelines
from imagelake.engine.limits import Limits
from local.emulator import ROOT
from tools import pipelines as tool
from tools.pipelines import InvalidPipelinesError, written

SCRIPTS = ("describe", "redact", "thumbnails")
NOTHING = object()
LAYER = pipelines.FILE.parents[1]


@pytest.fixture
def document() -> dict[str, Any]:
    """The file of the repository."""
    read: dict[str, Any] = json.loads(json.dumps(yaml.safe_load(tool.SOURCE.read_text(encoding="utf-8"))))
    return read


def findings(text: str, folder: Path) -> list[str]:
    file = folder / "pipelines.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidPipelinesError) as invalid:
        written(file, SCRIPTS)
    return str(invalid.value).splitlines()


def changed(document: dict[str, Any], place: str, value: object) -> str:
    """`document` with another value at a place such as `limits.max_side`, as YAML."""
    *path, last = place.split(".")
    part = document
    for name in path:
        part = part[name]
    if value is NOTHING:
        del part[last]
    else:
        part[last] = value
    return yaml.safe_dump(document)


def test_the_names_of_the_scripts_fit_into_the_metadata_of_an_object(document: dict[str, Any], tmp_path: Path) -> None:
    long = changed(document, "pipelines.default.scripts", ["describe" * 130])

    said, _ = findings(long, tmp_path)

    assert said == "pipelines.yaml: pipelines.default.scripts: the names have 1044 characters as JSON; allowed are 1000"


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("limit", {}, "limit: the key is not known; allowed are limits, large_limits, pipelines"),
        (
            "limits.max_pixel",
            1,
            (
                "limits.max_pixel: the key is not known; allowed are max_bytes, max_pixels, max_side, max_frames, "
                "max_total_pixels, max_scans, memory_mb"
            ),
        ),
        (
            "large_limits.memory_mb",
            512,
            "large_limits.memory_mb: the key is not known; allowed are max_pixels, max_side, max_total_pixels",
        ),
        ("pipelines.night", {}, "pipelines.night: the key is not known; allowed are default"),
        ("pipelines.default.script", [], "pipelines.default.script: the key is not known; allowed are scripts, params"),
        ("limits.max_scans", NOTHING, "limits.max_scans: is missing; required is a whole number of at least 1"),
        ("pipelines.default", NOTHING, "pipelines.default: is missing; required is a mapping with scripts and params"),
        (
            "pipelines.default.params",
            NOTHING,
            "pipelines.default.params: is missing; required is a mapping by script name, of mappings by parameter name",
        ),
        (
            "limits.max_bytes",
            100_000_001,
            "limits.max_bytes: 100000001 is not allowed; allowed is a whole number from 1 to 100000000",
        ),
        (
            "limits.max_bytes",
            "25 MB",
            "limits.max_bytes: '25 MB' is not allowed; allowed is a whole number from 1 to 100000000",
        ),
        ("limits.max_frames", 0, "limits.max_frames: 0 is not allowed; allowed is a whole number of at least 1"),
        ("limits.max_frames", 1.5, "limits.max_frames: 1.5 is not allowed; allowed is a whole number of at least 1"),
        ("limits.max_frames", True, "limits.max_frames: True is not allowed; allowed is a whole number of at least 1"),
        ("limits.max_frames", None, "limits.max_frames: None is not allowed; allowed is a whole number of at least 1"),
        ("limits.memory_mb", 63, "limits.memory_mb: 63 is not allowed; allowed is a whole number from 64 to 10240"),
        (
            "limits.max_total_pixels",
            49_999_999,
            "limits.max_total_pixels: 49999999 is below limits.max_pixels; allowed is 50000000 or more",
        ),
        (
            "large_limits",
            None,
            "large_limits: None is not allowed; allowed is a mapping with max_pixels, max_side, max_total_pixels",
        ),
        (
            "large_limits.max_pixels",
            49_999_999,
            "large_limits.max_pixels: 49999999 is below limits.max_pixels; allowed is 50000000 or more",
        ),
        (
            "large_limits.max_side",
            16_383,
            "large_limits.max_side: 16383 is below limits.max_side; allowed is 16384 or more",
        ),
        (
            "large_limits.max_total_pixels",
            199_999_999,
            "large_limits.max_total_pixels: 199999999 is below large_limits.max_pixels; allowed is 200000000 or more",
        ),
        (
            "pipelines.default.scripts",
            ["describe", "thumbnail"],
            "pipelines.default.scripts[1]: there is no script 'thumbnail'; allowed are describe, redact, thumbnails",
        ),
        (
            "pipelines.default.scripts",
            ["describe", "redact", "describe"],
            "pipelines.default.scripts[2]: 'describe' is there twice; a script runs once",
        ),
        (
            "pipelines.default.scripts",
            [],
            "pipelines.default.scripts: [] is not allowed; allowed is a list of one or more names of scripts",
        ),
        (
            "pipelines.default.scripts",
            "describe,thumbnails",
            (
                "pipelines.default.scripts: 'describe,thumbnails' is not allowed; allowed is a list of one or more "
                "names of scripts"
            ),
        ),
        (
            "pipelines.default.scripts",
            ["describe", 7],
            "pipelines.default.scripts[1]: 7 is not allowed; allowed is a list of one or more names of scripts",
        ),
        (
            "pipelines.default.params",
            {"redact": {}},
            "pipelines.default.params.redact: the script is not in the pipeline; allowed are describe, thumbnails",
        ),
        (
            "pipelines.default.params",
            {"describe": 7},
            (
                "pipelines.default.params.describe: 7 is not allowed; allowed is a mapping by script name, of mappings "
                "by parameter name"
            ),
        ),
        (
            "pipelines.default.params",
            {"describe": {"ratio": [1, float("nan")]}},
            "pipelines.default.params.describe.ratio[1]: nan is not allowed; allowed is a finite number",
        ),
        (
            "pipelines.default.params",
            {"describe": {"sizes": {256: "small"}}},
            "pipelines.default.params.describe.sizes: the key 256 is not text; put it in quotes",
        ),
    ],
)
def test_what_is_wrong_is_said_with_file_and_place_and_what_is_allowed(
    place: str, value: object, said: str, document: dict[str, Any], tmp_path: Path
) -> None:
    assert findings(changed(document, place, value), tmp_path) == [f"pipelines.yaml: {said}"]


def test_a_date_is_no_parameter(document: dict[str, Any], tmp_path: Path) -> None:
    document["pipelines"]["default"]["params"] = {"describe": {"since": "NOW"}}
    text = yaml.safe_dump(document).replace("NOW", "2026-11-22")

    (said,) = findings(text, tmp_path)

    assert said.startswith("pipelines.yaml: pipelines.default.params.describe.since: datetime.date(2026, 11, 22) ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits: {max_side: 1, max_side: 2}", "line 1: the key max_side is there twice"),
        ("limits: {max_side: 2026-02-30}", "line 1: '2026-02-30' is no value of the kind that it is written as"),
        ("limits:\n  max_side: !!int abc", "line 2: 'abc' is no value of the kind that it is written as"),
        ("limits: {max_side: !!bool abc}", "line 1: 'abc' is no value of the kind that it is written as"),
        ("limits: {max_side: !!timestamp abc}", "line 1: 'abc' is no value of the kind that it is written as"),
        (f"limits: {'9' * 5000}", f"line 1: '{'9' * 80}' is no value of the kind that it is written as"),
        ("limits:\n  [a]: {}", "line 2: a key is no plain value"),
        ("limits: {? {a: 1} : 2}", "line 1: a key is no plain value"),
        ("limits: \0", "unacceptable character #x0000: special characters are not allowed"),
        ("limits:\n  max_side: [", "line 2: expected the node content, but found '<stream end>'"),
        ("", "the file: None is not allowed; allowed is a mapping with limits, large_limits, pipelines"),
    ],
)
def test_what_is_no_such_file_is_said(text: str, said: str, tmp_path: Path) -> None:
    assert findings(text, tmp_path) == [f"pipelines.yaml: {said}"]


def test_all_that_is_wrong_is_said_at_once(document: dict[str, Any], tmp_path: Path) -> None:
    document["limits"]["max_side"] = document["large_limits"]["max_pixels"] = 0

    assert [line.split(": ")[1] for line in findings(yaml.safe_dump(document), tmp_path)] == [
        "limits.max_side",
        "large_limits.max_pixels",
    ]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidPipelinesError, match=r"^pipelines\.yaml: is not there$"):
        written(tmp_path / "pipelines.yaml", SCRIPTS)


def test_a_file_that_is_nested_too_deeply_is_said(tmp_path: Path) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)  # other tests raise it
    try:
        assert findings("limits: " + "{a: " * 3000 + "}" * 3000, tmp_path) == ["pipelines.yaml: is nested too deeply"]
    finally:
        sys.setrecursionlimit(limit)


def test_a_folder_of_that_name_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidPipelinesError, match=r": Is a directory$"):
        written(tmp_path, SCRIPTS)


def test_what_is_written_is_what_functions_load(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document["limits"]["max_scans"] = 7
    document["pipelines"]["default"] = {"scripts": ["redact"], "params": {"redact": {"max_side": 1024}}}
    source, file = tmp_path / "pipelines.yaml", tmp_path / "pipelines.json"
    source.write_text(yaml.safe_dump(document))
    file.write_text(written(source, SCRIPTS))
    monkeypatch.setattr(pipelines, "FILE", file)

    loaded = pipelines.load()

    assert loaded.limits == Limits(**document["limits"])
    assert loaded.large_limits == Limits(**document["limits"] | document["large_limits"])
    assert loaded.default == pipelines.Pipeline(("redact",), {"redact": {"max_side": 1024}})


def test_the_limits_of_the_file_are_called_as_the_engine_calls_them(document: dict[str, Any]) -> None:
    assert document["limits"].keys() < Limits.__dataclass_fields__.keys()


def test_a_stale_file_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = ROOT / "layers" / "stale.json"
    monkeypatch.setattr(pipelines, "FILE", stale)

    assert tool.main(["--check"]) == 1
    assert capsys.readouterr().out == "layers/stale.json is not what pipelines.yaml says: run make pipelines\n"
    assert not stale.exists()

    monkeypatch.setattr(pipelines, "FILE", tmp_path / "pipelines.json")
    assert tool.main([]) == tool.main(["--check"]) == 0


def build_layer(folder: Path) -> subprocess.CompletedProcess[str]:
    """What `sam build` does with its copy of the domain layer in `folder`, but for the installation of packages."""
    return subprocess.run(
        ["make", "--makefile", ROOT / "packaging" / "x86_64" / "Makefile", "build-DomainLayer"],
        cwd=folder, env=os.environ | {"ARTIFACTS_DIR": str(folder.with_name("built"))},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """A copy of the domain layer, as SAM makes it: links become files."""
    copy = tmp_path / "layer"
    (copy / "imagelake").mkdir(parents=True)
    shutil.copy(pipelines.FILE, copy / "imagelake")
    shutil.copy(LAYER / "pipelines.yaml", copy)
    return copy


def test_a_layer_with_the_limits_of_its_file_is_built(layer: Path) -> None:
    built = build_layer(layer)

    assert (built.returncode, built.stderr) == (0, "")
    assert (layer.with_name("built") / "python" / "imagelake" / "pipelines.json").read_text() == written()


def test_a_layer_with_other_limits_than_those_of_its_file_is_not_built(layer: Path) -> None:
    edited = layer / "pipelines.yaml"
    edited.write_text(edited.read_text().replace("max_side: 16_384", "max_side: 8_192"))

    built = build_layer(layer)

    assert built.returncode != 0
    assert built.stderr.startswith(
        "pipelines.yaml was changed after pipelines.json was written from it: run make pipelines, then sam build.\n"
    )
    assert not layer.with_name("built").exists()


def test_a_change_of_the_file_makes_sam_build_the_layer_again(tmp_path: Path) -> None:
    """It keeps a layer by the checksum of its folder, in which the file is a link."""
    assert (LAYER / "pipelines.yaml").samefile(tool.SOURCE)
    (tmp_path / "layer").mkdir()
    (tmp_path / "layer" / "pipelines.yaml").symlink_to("../pipelines.yaml")
    (tmp_path / "pipelines.yaml").write_text("old")
    before = dir_checksum(str(tmp_path / "layer"))
    (tmp_path / "pipelines.yaml").write_text("new")

    assert dir_checksum(str(tmp_path / "layer")) != before


@pytest.mark.parametrize("processor", ["arm64", "x86_64"])
def test_one_makefile_builds_for_every_processor(processor: str) -> None:
    assert (ROOT / "packaging" / processor / "Makefile").samefile(ROOT / "packaging" / "Makefile")
