"""How green an image is: excess green per pixel, with NumPy.

An example of a script that needs a package: add `numpy` to the dependency group `layer-scripts`. NumPy is imported in
the warm process, so it does not cost its import for every image.
"""

from typing import Any

import numpy as np
from PIL import Image

LARGEST_SIDE = 512


def process(image: Image.Image, params: dict[str, Any]) -> dict[str, Any]:
    """Return the share of green pixels and a map of them; `params`: `threshold` of the index (default 0.1)."""
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGB"), dtype=np.float32), -1, 0)
    brightness = np.maximum(red + green + blue, 1)
    index = (2 * green - red - blue) / brightness
    mask = index > float(params.get("threshold", 0.1))
    return {
        "metadata": {"green_share": round(float(mask.mean()), 4), "mean_index": round(float(index.mean()), 4)},
        "derivatives": {"vegetation": Image.fromarray(mask.astype(np.uint8) * 255)},
    }
