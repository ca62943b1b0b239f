"""SSIM, after Wang et al. 2004, on luma with windows of 8 x 8 pixels."""

import numpy as np
from PIL import Image

_WINDOW = 8
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ssim(image: Image.Image, reference: Image.Image) -> float:
    """1 for equal pictures of the same size."""
    x, y = (np.asarray(picture.convert("L"), dtype=np.float64) for picture in (image, reference))
    mean_x, mean_y = _mean(x), _mean(y)
    variance_x, variance_y = _mean(x * x) - mean_x**2, _mean(y * y) - mean_y**2
    covariance = _mean(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    return float(np.mean(likeness / ((mean_x**2 + mean_y**2 + _C1) * (variance_x + variance_y + _C2))))


def _mean(values: np.ndarray) -> np.ndarray:
    """Means of all windows, from sums along both axes."""
    height, width = values.shape
    size = min(_WINDOW, height, width)
    sums = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    windows = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    means: np.ndarray = windows / size**2
    return means
