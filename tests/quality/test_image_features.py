"""Features of images by the fixed network."""

import numpy as np
import pytest

from aepipe.quality.frechet import frechet_distance
from aepipe.quality.image_features import image_features


def bars(count: int, seed: int, *, noise: float = 0.0) -> np.ndarray:
    """Draw images with one bright row or column at a random place."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, 1, 12, 12))
    for image, at, is_row in zip(images, rng.integers(0, 12, count), rng.random(count) < 0.5, strict=True):
        if is_row:
            image[0, at] = 200
        else:
            image[0, :, at] = 200
    return np.clip(images + noise * rng.standard_normal(images.shape), 0, 255).astype(np.uint8)


def test_features_equal_a_convolution_written_as_loops() -> None:
    images = np.random.default_rng(0).integers(0, 17, (2, 1, 3, 3)).astype(np.uint8)
    generator = np.random.default_rng(20_170_626)

    found = image_features(images, top=16)

    maps, expected = [list(image[0] / 16 * 2 - 1) for image in images], []
    maps = np.array(maps)[..., None]
    for outputs in (32, 64, 64):
        inputs = maps.shape[-1]
        kernel = generator.standard_normal((inputs * 9, outputs)) * np.sqrt(2 / (inputs * 9))
        kernel = kernel.reshape(inputs, 3, 3, outputs)
        padded = np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))
        new = np.zeros((2, 3, 3, outputs))
        for y in range(3):
            for x in range(3):
                new[:, y, x] = np.einsum("bhwi,ihwo->bo", padded[:, y : y + 3, x : x + 3], kernel)
        maps = np.maximum(new, 0)
        expected.append(maps.mean((1, 2)))
    np.testing.assert_allclose(found, np.hstack(expected), rtol=1e-4)


def test_distance_ranks_sets_by_their_likeness() -> None:
    real = image_features(bars(400, 0))

    distances = [
        frechet_distance(real, image_features(images))
        for images in (bars(400, 1), bars(400, 2, noise=20), bars(400, 3, noise=60), bars(400, 4) // 2)
    ]

    assert distances[0] < distances[1] < distances[2]
    assert distances[0] < distances[3]


@pytest.mark.parametrize("shape", [(3, 64, 40), (1, 1, 1), (2, 100, 3), (1, 33, 32)])
def test_images_of_any_shape_have_160_finite_features(shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, *shape)).astype(np.uint8)

    found = image_features(images)

    assert found.shape == (5, 160)
    assert np.isfinite(found).all()
    assert image_features(images[:0]).shape == (0, 160)
