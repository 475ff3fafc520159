"""Decode PNG and JPEG bytes to pixels, encode PNG. Shapes are (channels, height, width), pixels uint8.

Pillow is imported with the first image, so that tables do not pay for it.
"""

import io
import struct
from typing import TYPE_CHECKING

import numpy as np

from aepipe.versions import named_extras

if TYPE_CHECKING:
    from PIL.Image import Image

_MAGIC = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG"}
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_MOST_PIXELS = 64_000_000
"""Larger images are rejected before they are decompressed: a few kilobytes can hold gigapixels."""

_Shape = tuple[int, int, int]


def format_of(content: bytes) -> str | None:
    """Detect PNG or JPEG by the first bytes; None if neither.

    >>> format_of(bytes.fromhex("ffd8ffe0"))
    'JPEG'
    """
    return next((name for magic, name in _MAGIC.items() if content.startswith(magic)), None)


def can_decode(channels: int) -> bool:
    """Return True if PNG has this number of channels: grey, grey with alpha, RGB, RGBA."""
    return channels in _MODES


def shape_of(content: bytes) -> _Shape | None:
    """Read the shape from the header alone; None if the bytes are not PNG or JPEG."""
    picture = _open(content)
    return None if picture is None else _shape(picture)


def pixels_of(content: bytes, shape: _Shape, *, resize: bool) -> np.ndarray | None:
    """Decode an image to (C, H, W); None if it cannot be read.

    Args:
        content: PNG or JPEG bytes.
        shape: expected (channels, height, width).
        resize: convert an image of another size or number of channels.

    Raises:
        ValueError: the image has another shape, or is too large.
    """
    picture = _open(content)
    if picture is None:
        return None
    if _shape(picture) != shape and not resize:
        raise ValueError("another shape")
    if picture.width * picture.height > _MOST_PIXELS:
        raise ValueError("too large")
    try:
        grid = np.asarray(_fitted(picture, shape), dtype=np.uint8)
        return grid[None] if grid.ndim == 2 else np.ascontiguousarray(grid.transpose(2, 0, 1))
    except (OSError, SyntaxError, ValueError, struct.error):
        return None


def png_of(pixels: np.ndarray) -> bytes:
    """Encode an image (C, H, W) as PNG bytes."""
    with named_extras():
        from PIL import Image

    grid = pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(grid)).save(out, format="PNG", compress_level=1)
    return out.getvalue()


def _open(content: bytes) -> "Image | None":
    with named_extras():
        from PIL import Image, UnidentifiedImageError

    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        return Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))
    except (UnidentifiedImageError, *bombs, OSError, SyntaxError, ValueError, struct.error):
        return None


def _shape(picture: "Image") -> _Shape:
    channels = 1 if picture.mode.startswith(("1", "L", "I")) else 4 if picture.mode == "RGBA" else 3
    return (2 if picture.mode == "LA" else channels), picture.height, picture.width


def _fitted(picture: "Image", shape: _Shape) -> "Image":
    from PIL import Image

    channels, height, width = shape
    if picture.mode.startswith("I"):  # 16 bits per pixel: convert() would clip them all to white
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode != _MODES[channels]:
        picture = picture.convert(_MODES[channels])
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return picture
