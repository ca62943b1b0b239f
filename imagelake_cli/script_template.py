"""What `imagelake script new` writes."""

SCRIPT = '''"""{title}: what this script finds out about an image."""

from typing import Any

from PIL import Image, ImageStat

# The image arrives at most this many pixels wide and high, as RGB or grey, maybe with alpha.
# Without this line it arrives with every pixel, in the mode of the file.
LARGEST_SIDE = 512


def process(image: Image.Image, params: dict[str, Any]) -> dict[str, Any]:
    """Return metadata (JSON) and derivatives (Pillow images, stored under their names)."""
    side = int(params.get("side", 128))
    preview = image.copy()
    preview.thumbnail((side, side))
    return {{
        "metadata": {{"mean_level": round(ImageStat.Stat(image.convert("L")).mean[0], 1)}},
        "derivatives": {{"preview": preview}},
    }}
'''

TEST = """from io import BytesIO
from pathlib import Path

from imagelake.engine.runner import Limits, Script, run_scripts
from PIL import Image

SCRIPT = Script.from_file(Path(__file__).parent / "{name}.py")


def test_{name}_measures_and_previews_an_image() -> None:
    file = BytesIO()
    Image.new("RGB", (640, 480), "white").save(file, "PNG")

    result = run_scripts(file.getvalue(), [SCRIPT], {{"{name}": {{"side": 100}}}}, Limits(), seconds=10)

    assert result.script_output == {{"{name}": {{"mean_level": 255.0}}}}
    assert [(made.name, made.width, made.height) for made in result.derivatives] == [("preview", 100, 75)]
"""
