import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from aepipe.tables import image_codec as image_bytes


def content(picture: Image.Image, form: str = "PNG") -> bytes:
    out = io.BytesIO()
    picture.save(out, format=form)
    return out.getvalue()


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("I;16", 1), ("LA", 2), ("P", 3), ("RGB", 3), ("RGBA", 4)]
)
def test_the_header_holds_the_shape(mode: str, channels: int) -> None:
    assert image_bytes.shape_of(content(Image.new(mode, (4, 5)))) == (channels, 5, 4)


def test_a_printers_jpeg_has_three_channels() -> None:
    assert image_bytes.shape_of(content(Image.new("CMYK", (4, 5)), "JPEG")) == (3, 5, 4)


@pytest.mark.parametrize("junk", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", bytes(100)])
def test_bytes_that_are_not_an_image_have_neither_shape_nor_pixels(junk: bytes) -> None:
    assert image_bytes.shape_of(junk) is None
    assert image_bytes.pixels_of(junk, (1, 2, 3), resize=True) is None


def test_sixteen_bits_become_the_upper_eight() -> None:
    picture = Image.fromarray(np.array([[0, 256, 65535]], np.uint16))

    pixels = image_bytes.pixels_of(content(picture), (1, 1, 3), resize=False)

    assert pixels is not None
    assert pixels.tolist() == [[[0, 1, 255]]]


def test_only_resize_changes_a_shape() -> None:
    picture = content(Image.new("RGB", (4, 5), (255, 0, 0)))

    with pytest.raises(ValueError, match="another shape"):
        image_bytes.pixels_of(picture, (1, 5, 4), resize=False)

    grey = image_bytes.pixels_of(picture, (1, 3, 2), resize=True)
    assert grey is not None
    assert grey.shape == (1, 3, 2)
    assert np.unique(grey).tolist() == [76]  # the luma of red


def bomb(side: int) -> bytes:
    """Return a PNG that claims to be side x side pixels large."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    data = b"IDAT" + zlib.compress(bytes(10))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))


def test_a_picture_too_large_to_unpack_is_refused_by_its_header() -> None:
    with pytest.raises(ValueError, match="too large"):
        image_bytes.pixels_of(bomb(9000), (1, 28, 28), resize=True)

    assert image_bytes.pixels_of(bomb(50_000), (1, 28, 28), resize=True) is None
