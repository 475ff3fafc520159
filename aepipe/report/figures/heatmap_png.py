"""An image, what was expected of it, and where they differ more than usual, as one PNG."""

import io

import numpy as np
from numpy.typing import NDArray

_INCHES = 3.0


def heat_picture(
    image: NDArray[np.generic], expected: NDArray[np.generic], heat: NDArray[np.float64], *, top: int, side: int
) -> bytes:
    """The PNG. image, expected: (C, H, W) of 0 to `top`. heat: (rows, columns) of regions of `side` pixels a side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = image.shape[1:]
    figure = Figure(figsize=(3 * _INCHES, _INCHES), layout="constrained")
    FigureCanvasAgg(figure)
    for at, (title, pixels) in enumerate((("read", image), ("expected", expected), ("reasons", image))):
        axes = figure.add_subplot(1, 3, at + 1)
        axes.imshow(_drawn(pixels, top), cmap="gray", vmin=0, vmax=1)
        if at == 2:
            whole = np.kron(np.maximum(heat, 0.0), np.ones((side, side)))[:height, :width]
            axes.imshow(whole, cmap="inferno", alpha=0.6)
        axes.set_title(title)
        axes.set_axis_off()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
    return file.getvalue()


def _drawn(pixels: NDArray[np.generic], top: int) -> NDArray[np.float64]:
    """(H, W) of grey, or (H, W, 3) of colours, 0 to 1; of other numbers of channels the first."""
    shares = np.asarray(pixels, np.float64) / top
    return np.moveaxis(shares[:3], 0, 2) if len(shares) >= 3 else shares[0]
