"""Thumbnails of image rows as `data:` URLs of bounded size."""

import base64
import io

import numpy as np

CARD_SIDE, GALLERY_SIDE = 128, 80
_LARGEST_PNG = 48  # beyond this side a photograph costs a tenth as JPEG


def picture(image: np.ndarray, top: int = 255, *, side: int = CARD_SIDE) -> str:
    """Encode an image as a `data:` URL.

    The first three channels are red, green and blue; with fewer channels, the first is drawn in grey.

    Args:
        image: (C, H, W), 0 to `top`.
        top: the largest pixel value.
        side: maximum width and height of the thumbnail, in pixels.
    """
    from PIL import Image

    scaled = np.clip(np.asarray(image, np.float64) * (255 / top), 0, 255).round().astype(np.uint8)
    drawn = Image.fromarray(scaled[:3].transpose(1, 2, 0) if len(scaled) >= 3 else scaled[0])
    drawn.thumbnail((side, side))
    file = io.BytesIO()
    kind = "png" if max(drawn.size) <= _LARGEST_PNG else "jpeg"
    drawn.save(file, format=kind, **({"optimize": True} if kind == "png" else {"quality": 82}))
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def difference(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the absolute difference of two images of the same shape (C, H, W)."""
    return np.abs(np.asarray(image, np.int32) - np.asarray(other, np.int32))
