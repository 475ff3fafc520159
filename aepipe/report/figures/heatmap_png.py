"""An image, its reconstruction and the attribution of its regions, as one PNG."""

import io

import numpy as np
from numpy.typing import NDArray

_INCHES = 3.0


def draw_heatmap_png(
    image: NDArray[np.generic], expected: NDArray[np.generic], heat: NDArray[np.float64], *, top: int, side: int
) -> bytes:
    """Draw image, reconstruction and attribution next to each other, as PNG bytes.

    Args:
        image: (C, H, W), 0 to `top`.
        expected: the reconstruction, like `image`.
        heat: attribution of each region, (rows, columns).
        top: the largest pixel value.
        side: height and width of a region, in pixels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = image.shape[1:]
    figure = Figure(figsize=(3 * _INCHES, _INCHES), layout="constrained")
    FigureCanvasAgg(figure)
    for index, (title, pixels) in enumerate((("read", image), ("expected", expected), ("reasons", image))):
        axes = figure.add_subplot(1, 3, index + 1)
        # (H, W) grey or (H, W, 3) colour, 0 to 1; with two channels, the first.
        shares = np.asarray(pixels, np.float64) / top
        axes.imshow(np.moveaxis(shares[:3], 0, 2) if len(shares) >= 3 else shares[0], cmap="gray", vmin=0, vmax=1)
        if index == 2:
            whole = np.kron(np.maximum(heat, 0.0), np.ones((side, side)))[:height, :width]
            axes.imshow(whole, cmap="inferno", alpha=0.6)
        axes.set_title(title)
        axes.set_axis_off()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
    return file.getvalue()
