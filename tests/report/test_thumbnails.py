"""Thumbnails of image rows."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from aepipe.report.thumbnails import CARD_SIDE, difference, picture

rng = np.random.default_rng(0)


def decoded(url: str) -> Image.Image:
    head, _, body = url.partition(",")
    assert head in {"data:image/png;base64", "data:image/jpeg;base64"}
    return Image.open(io.BytesIO(base64.b64decode(body)))


def test_small_image_keeps_every_pixel():
    image = rng.integers(0, 256, (1, 8, 6), dtype=np.uint8)

    np.testing.assert_array_equal(np.asarray(decoded(picture(image))), image[0])


def test_top_is_white():
    image = np.array([[[0, 8, 16]]], np.uint8)

    assert np.asarray(decoded(picture(image, 16))).tolist() == [[0, 128, 255]]


def test_three_channels_are_colours_and_two_are_the_first_in_grey():
    image = rng.integers(0, 256, (3, 4, 5), dtype=np.uint8)

    np.testing.assert_array_equal(np.asarray(decoded(picture(image))), image.transpose(1, 2, 0))
    np.testing.assert_array_equal(np.asarray(decoded(picture(image[:2]))), image[0])


@pytest.mark.parametrize("shape", [(3, 900, 300), (1, 300, 900)])
def test_large_image_is_scaled_down(shape):
    url = picture(rng.integers(0, 256, shape, dtype=np.uint8))

    assert max(decoded(url).size) == CARD_SIDE
    assert len(url) < 20_000


def test_difference_does_not_wrap_around():
    dark, light = np.zeros((1, 2, 2), np.uint8), np.full((1, 2, 2), 200, np.uint8)

    assert difference(dark, light).max() == difference(light, dark).max() == 200
