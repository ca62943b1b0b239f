import hashlib
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest
from PIL import Image

from imagelake.engine.runner import Limits, Reason, RunRejection, Script, ScriptResult, find_scripts, run_scripts
from imagelake.engine.sandbox.warm_process import _imports
from imagelake.engine.scripts import encoder
from imagelake.engine.scripts.result import CONTENT_TYPES
from imagelake.errors import Rejection, SettingsError
from tests.unit.pictures import encoded, photo

type Run = Callable[..., ScriptResult]


@pytest.fixture
def chain(tmp_path: Path) -> Run:
    def chain(content: bytes, *sources: str) -> ScriptResult:
        """Scripts `first`, `second` and so on; each source is the body of a `process` that fills `found`."""
        scripts = []
        for name, source in zip(("first", "second", "third"), sources, strict=False):
            file = tmp_path / f"{name}.py"
            body = indent(dedent(source), "    ")
            head = "from PIL import ImageDraw\n\ndef process(image, params):\n    found = {}"
            file.write_text(f"{head}\n{body}\n    return {{'metadata': found}}\n")
            scripts.append(Script.from_file(file))
        return run_scripts(content, scripts, {}, Limits(), 5)

    return chain


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(source: str, content: bytes = encoded(photo()), seconds: float = 5, **params: Any) -> ScriptResult:
        file = tmp_path / "script.py"
        file.write_text(dedent(source))
        return run_scripts(content, [Script.from_file(file)], {"script": params}, Limits(), seconds)

    return run


def test_describe_and_thumbnails_fill_the_catalog() -> None:
    exif = Image.Exif()
    exif[271], exif[272], exif[274] = "Lumen ", "L\0garbage", 6
    exif.get_ifd(34665)[36867] = "2026:11:22 10:00:00"
    exif.get_ifd(34665)[36881] = "+02:00"
    exif.get_ifd(34853).update({1: "S", 2: (33.0, 30.0, 0.0), 3: "E", 4: (151.0, 0.0, 36.0)})
    content = encoded(photo(1600, 1200), exif=exif)

    result = run_scripts(content, find_scripts(["describe", "thumbnails"]), {}, Limits(), 10)

    assert result.columns | {"phash": "", "sharpness": 0, "brightness": 0, "dominant_color": ""} == {
        "format": "JPEG", "width": 1600, "height": 1200, "mode": "RGB", "frames": 1, "orientation": 6,
        "camera_make": "Lumen", "camera_model": "L", "taken_at": "2026-11-22T08:00:00.000Z",
        "gps_lat": -33.5, "gps_lon": 151.01, "phash": "", "sharpness": 0, "brightness": 0, "dominant_color": "",
    }  # fmt: skip
    assert result.script_output == {}
    sizes = {derivative.name: (derivative.width, derivative.height) for derivative in result.derivatives}
    assert sizes == {"thumb_1024": (768, 1024), "thumb_256": (192, 256)}
    for derivative in result.derivatives:
        thumb = Image.open(BytesIO(derivative.content))
        assert thumb.size == (derivative.width, derivative.height)
        assert not set(thumb.info) & {"exif", "comment", "icc_profile", "xmp"}


@pytest.mark.parametrize(
    ("mode", "chosen", "side", "expected"),
    [
        ("RGBA", None, 16_383, "webp"),
        ("RGBA", None, 16_384, "png"),
        ("RGB", "WEBP", 16_384, "png"),
        ("RGB", None, 65_500, "jpg"),
        ("RGB", None, 65_501, "png"),
        ("RGBA", "JPEG", 65_535, "png"),
    ],
)
def test_a_derivative_too_long_for_its_format_is_png(
    tmp_path: Path, mode: str, chosen: str | None, side: int, expected: str
) -> None:
    file = tmp_path / "long.py"
    file.write_text(
        "from PIL import Image\n\ndef process(image, params):\n"
        f"    made = Image.new({mode!r}, (2, {side}))\n    made.format = {chosen!r}\n"
        "    return {'derivatives': {'thin': made}}\n"
    )
    (made,) = run_scripts(encoded(photo()), [Script.from_file(file)], {}, Limits(max_side=65_535), 5).derivatives
    assert (made.extension, made.width, made.height) == (expected, 2, side)
    assert Image.open(BytesIO(made.content)).size == (2, side)


def test_an_unknown_script_is_a_setting_to_correct() -> None:
    with pytest.raises(SettingsError, match="describe"):
        find_scripts(["no_such_script"])


def test_metadata_that_is_no_column_goes_to_script_output(run: Run) -> None:
    result = run(
        "def process(image, params): return {'metadata': {'breadth': 7, 'answer': params['answer']}}", answer=42
    )
    assert result.script_output == {"script": {"breadth": 7, "answer": 42}}


def test_garbage_of_a_script_is_collected_as_in_any_python(run: Run) -> None:
    anywhere = subprocess.check_output([sys.executable, "-c", "import gc; print(gc.get_threshold()[0])"], text=True)
    result = run("""
        import gc
        def process(image, params): return {"metadata": {"enabled": gc.isenabled(), "threshold": gc.get_threshold()[0]}}
    """)
    assert result.script_output == {"script": {"enabled": True, "threshold": int(anywhere)}}


def test_a_script_gets_an_upright_image(run: Run) -> None:
    exif = Image.Exif()
    exif[274] = 8
    source = """
        from PIL import ImageOps
        def process(image, params):
            assert image.getexif().get(274) is None
            return {"metadata": {"size": image.size, "again": ImageOps.exif_transpose(image).size,
                                 "stored": image.info["stored"]["width"]}}
    """
    result = run(source, encoded(photo(96, 64), exif=exif))
    assert result.script_output == {"script": {"size": [64, 96], "again": [64, 96], "stored": 96}}


@pytest.mark.parametrize(
    "change",
    [
        "image.putpixel((1, 1), (0, 255, 0))",
        "image.paste((0, 255, 0), (0, 0, 9, 9))",
        "ImageDraw.Draw(image).rectangle((0, 0, 9, 9), fill=(0, 255, 0))",
        "image.putalpha(0)",
        "image.thumbnail((8, 8))",
    ],
)
def test_a_script_that_draws_on_its_image_draws_on_its_own(chain: Run, change: str) -> None:
    look = "found['pixel'] = image.getpixel((1, 1))"
    result = chain(encoded(photo(), "PNG"), look, change, look)
    assert result.script_output["third"] == result.script_output["first"] == {"pixel": [255, 255, 255]}


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_script_that_changes_metadata_changes_its_own(chain: Run, image_format: str) -> None:
    exif = Image.Exif()
    exif[271] = "Lumen"
    exif.get_ifd(34665)[36867] = "2026:11:22 10:00:00"
    look = """
        exif = image.getexif()
        found["make"], found["taken"] = exif.get(271), exif.get_ifd(34665).get(36867)
        found["info"] = [image.info["stored"]["width"], image.info.get("mine")]
    """
    change = """
        image.info["stored"]["width"] = 5
        image.info["mine"] = 7
        image.getexif().get_ifd(34665).clear()
        image.getexif().clear()
    """
    result = chain(encoded(photo(), image_format, exif=exif), look, change, look)
    assert result.columns["width"] == 96
    assert result.script_output["first"]["info"] == [96, None]
    assert result.script_output["first"]["make"] == "Lumen"
    assert result.script_output["third"] == result.script_output["first"]


SWALLOW = """\
try:
    image.load()
except Exception:
    pass
"""


@pytest.mark.parametrize(
    "sources",
    [
        [SWALLOW],
        [SWALLOW, "image.load()"],
        [SWALLOW, "found['mode'] = image.mode", "image.load()"],
        [SWALLOW + "raise ValueError"],
    ],
)
def test_a_script_that_swallows_what_the_decoder_said_shifts_no_blame(chain: Run, sources: list[str]) -> None:
    content = encoded(photo())
    with pytest.raises(Rejection) as rejection:
        chain(content[: len(content) * 2 // 3], *sources)
    assert rejection.value.code == Reason.TRUNCATED


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def process(image, params): raise ValueError('secret')", Reason.SCRIPT_ERROR),
        ("raise SystemExit", Reason.SCRIPT_ERROR),
        ("def process(image, params) return", Reason.SCRIPT_ERROR),
        ("x = 1", Reason.SCRIPT_ERROR),
        ("import os\ndef process(image, params): os._exit(0)", Reason.SCRIPT_OUTPUT_INVALID),
        ("import os\ndef process(image, params): os._exit(3)", Reason.SCRIPT_CRASHED),
        ("import ctypes\ndef process(image, params): ctypes.string_at(0)", Reason.SCRIPT_CRASHED),
        ("def process(image, params): return bytearray(10 ** 10)", Reason.SCRIPT_MEMORY),
        ("def process(image, params): return None", Reason.SCRIPT_OUTPUT_INVALID),
        ("def process(image, params): return {'metadata': {'a': [float('nan')]}}", Reason.SCRIPT_OUTPUT_INVALID),
        ("def process(image, params): return {'metadata': {'gps_lat': 'wide'}}", Reason.SCRIPT_OUTPUT_INVALID),
        ("def process(image, params): return {'metadata': {'width': 7}}", Reason.SCRIPT_OUTPUT_INVALID),
        ("def process(image, params): return {'metadata': {'a': 'x' * 70000}}", Reason.SCRIPT_OUTPUT_TOO_LARGE),
        ("def process(image, params): return {'derivatives': {'../x': image}}", Reason.SCRIPT_OUTPUT_INVALID),
        ("def process(image, params): return {'derivatives': {'x': '/etc/passwd'}}", Reason.SCRIPT_OUTPUT_INVALID),
    ],
)
def test_a_misbehaving_script_is_a_rejection_and_the_next_image_runs(run: Run, source: str, reason: Reason) -> None:
    with pytest.raises(Rejection) as rejection:
        run(source)
    assert rejection.value.code == reason
    assert "secret" not in rejection.value.detail
    assert run("def process(image, params): return {'metadata': {'ok': True}}").script_output == {
        "script": {"ok": True}
    }


def test_a_syntax_error_is_reported_with_its_line(run: Run) -> None:
    with pytest.raises(Rejection) as rejection:
        run("import os\n\ndef process(image, params) return {}\n")
    assert str(rejection.value) == "script_error: script: SyntaxError in line 3: expected ':'"


def test_a_script_without_process_is_told_so(run: Run) -> None:
    with pytest.raises(Rejection, match=r"script_error: script: it has no function process\(image, params\)"):
        run("def proces(image, params): return {}")


def test_what_a_script_prints_and_raises_is_for_nobody_who_does_not_ask(tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text("def process(image, params):\n    print('printed')\n    return {}['absent']")
    said = []
    for explains in (False, True):
        with pytest.raises(RunRejection) as rejection:
            run_scripts(encoded(photo()), [Script.from_file(file)], {}, Limits(), 5, explains=explains)
        said.append(rejection.value.said)

    assert said[0] == ""
    assert said[1].startswith("printed\nTraceback")
    assert said[1].endswith("KeyError: 'absent'\n")


def test_what_runs_when_imported_is_not_imported_ahead_of_time() -> None:
    source = b"import antigravity, this, unittest.__main__, json\nfrom PIL import Image\nfrom pip import __main__"
    assert _imports(source) == ["json", "PIL", "PIL.Image", "pip"]


def test_the_warm_process_does_without_pydantic() -> None:
    code = "import sys; from imagelake.engine.sandbox import warm_process as w; w._rehearse(); print(*sys.modules)"

    modules = subprocess.check_output([sys.executable, "-c", code], text=True).split()

    assert [name for name in modules if name.startswith("pydantic")] == []


def test_what_a_script_says_for_itself_is_cut_short(run: Run) -> None:
    with pytest.raises(Rejection) as rejection:
        run("def process(image, params): return {'metadata': {'x' * 10_000: 1j}}")
    assert rejection.value.code == Reason.SCRIPT_OUTPUT_INVALID
    assert len(rejection.value.detail) == 500


def test_every_encoding_of_derivatives_is_accepted() -> None:
    encodings = encoder._ENCODINGS.values()
    assert {encoding.extension for encoding in encodings} == CONTENT_TYPES.keys()


def test_a_script_that_hangs_is_stopped(run: Run) -> None:
    with pytest.raises(Rejection) as rejection:
        run("def process(image, params):\n    while True: pass", seconds=0.3)
    assert rejection.value.code == Reason.SCRIPT_TIMEOUT


def test_scripts_together_return_no_more_than_the_workflow_can_carry(chain: Run) -> None:
    plain, quoted = ("found['text'] = 60_000 * 'a'", "found['text'] = 30_000 * '\"'")

    assert len(chain(encoded(photo()), plain, plain, plain).script_output) == 3
    with pytest.raises(Rejection, match=r"script_output_too_large: all scripts: 3\d{5} bytes"):
        chain(encoded(photo()), quoted, quoted, quoted)


def test_the_version_of_a_script_covers_its_data(tmp_path: Path) -> None:
    (tmp_path / "warmth.py").write_text("def process(image, params): return {}")
    (tmp_path / "test_warmth.py").touch()
    alone = Script.from_file(tmp_path / "warmth.py").version
    assert alone == hashlib.sha256((tmp_path / "warmth.py").read_bytes()).hexdigest()[:12]

    (tmp_path / "warmth.json").write_text("1")
    one = Script.from_file(tmp_path / "warmth.py").version
    (tmp_path / "warmth.json").write_text("2")
    two = Script.from_file(tmp_path / "warmth.py").version
    (tmp_path / "warmth.json").rename(tmp_path / "warmth.table.json")

    assert len({alone, one, two, Script.from_file(tmp_path / "warmth.py").version}) == 4


def test_a_script_reads_its_data(run: Run, tmp_path: Path) -> None:
    (tmp_path / "script.txt").write_text("data")
    source = """
        from pathlib import Path
        def process(image, params):
            return {"metadata": {"data": Path(__file__).with_suffix(".txt").read_text()}}
    """
    assert run(dedent(source)).script_output == {"script": {"data": "data"}}
