import numpy as np
import pytest
import torch

from aepipe.layout import Image, Layout, Number, Series
from aepipe.models.layers.loss_pooling import (
    RESIDUAL_WIDTH,
    reason_names,
    reason_pooling,
    residual_pooling,
    row_pooling,
)
from tests.support.head_models import image_layout, mixed_layout


def _wide_table(columns: int) -> Layout:
    names = tuple(f"c{index}" for index in range(columns))
    return Layout(columns=names, numbers=tuple(Number(name=name, column=j) for j, name in enumerate(names)))


SHAPES = [(8, 8, 1), (28, 28, 1), (5, 7, 3), (1, 1, 1), (33, 20, 2), (40, 64, 4)]


@pytest.mark.parametrize("shape", SHAPES)
def test_regions_cover_every_pixel_once(shape: tuple[int, int, int]) -> None:
    layout = image_layout(*shape)
    losses = torch.rand(3, layout.features)

    pooled = reason_pooling(layout)(losses)

    assert pooled.shape == (3, len(reason_names(layout)))
    torch.testing.assert_close(pooled.sum(1), losses.sum(1))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_region_is_named_by_its_rows_and_columns(shape: tuple[int, int, int]) -> None:
    layout = image_layout(*shape)
    height, width, channels = shape
    pixels = torch.zeros(channels, height, width)
    pixels[:, height - 1, width // 2] = 1

    pooled = reason_pooling(layout)(pixels.flatten()[None])

    rows, columns = (span.split(" ")[1] for span in reason_names(layout)[int(pooled.argmax())].split(", "))
    (top, bottom), (left, right) = (map(int, span.split("-")) for span in (rows, columns))
    assert top <= height - 1 <= bottom < height
    assert left <= width // 2 <= right < width
    assert float(pooled.max()) == channels


def test_a_grid_is_coarse_enough_to_read() -> None:
    assert len(reason_names(image_layout(8, 8))) == 16
    assert len(reason_names(image_layout(28, 28))) == 49
    assert len(reason_names(image_layout(512, 512, 3))) == 49


def test_the_reasons_of_a_table_are_its_source_columns() -> None:
    layout = mixed_layout()

    pooled = reason_pooling(layout)(torch.arange(5.0)[None])

    assert reason_names(layout) == ("amount", "opened", "country", "shop")
    np.testing.assert_array_equal(pooled[0], [0, 1 + 2, 3, 4])


def test_residuals_of_a_narrow_row_enter_as_they_are() -> None:
    residual = torch.randn(2, RESIDUAL_WIDTH)

    torch.testing.assert_close(residual_pooling(_wide_table(RESIDUAL_WIDTH))(residual), residual)


@pytest.mark.parametrize("columns", [257, 512, 1_555])
def test_residuals_of_a_wide_table_enter_as_mean_magnitudes_of_neighbours(columns: int) -> None:
    residual = torch.randn(2, columns)

    pooled = residual_pooling(_wide_table(columns))(residual)

    size = -(-columns // RESIDUAL_WIDTH)
    assert pooled.shape[1] == -(-columns // size) <= RESIDUAL_WIDTH
    torch.testing.assert_close(pooled[:, 1], residual[:, size : 2 * size].abs().mean(1))
    torch.testing.assert_close(pooled.sum(1) * size, residual.abs().sum(1))


@pytest.mark.parametrize("shape", [(28, 28, 1), (33, 20, 2), (64, 64, 3)])
def test_residuals_of_a_large_image_enter_as_mean_magnitudes_of_squares(shape: tuple[int, int, int]) -> None:
    layout = image_layout(*shape)
    residual = torch.randn(2, layout.features)

    pooled = residual_pooling(layout)(residual)

    height, width, channels = shape
    assert pooled.shape[1] <= RESIDUAL_WIDTH
    side = next(s for s in range(2, 99) if channels * -(-height // s) * -(-width // s) <= RESIDUAL_WIDTH)
    corner = residual.reshape(2, channels, height, width)[:, 0, :side, :side]
    torch.testing.assert_close(pooled[:, 0], corner.abs().mean((1, 2)))
    torch.testing.assert_close(pooled.sum(1) * side**2, residual.abs().sum(1), rtol=1e-4, atol=1e-3)


def test_an_image_of_a_few_pixels_is_one_region() -> None:
    assert reason_names(Layout(columns=(), image=Image(channels=1, height=2, width=1))) == ("rows 0-1, columns 0-0",)


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_of_an_image_are_means_of_its_blocks(shape: tuple[int, int, int]) -> None:
    layout = image_layout(*shape)
    image = layout.image
    assert image is not None
    pixels = torch.rand(2, image.pixels)

    pooled = row_pooling(layout)(pixels)

    assert pooled.shape[1] <= RESIDUAL_WIDTH
    if image.pixels <= RESIDUAL_WIDTH:
        assert torch.equal(pooled, pixels)
    else:
        one = row_pooling(layout)(torch.ones(1, image.pixels))
        assert one.max() == 1
        torch.testing.assert_close(row_pooling(layout)(3 * pixels), 3 * pooled)


def test_rows_of_a_long_series_are_means_of_its_steps() -> None:
    names = ("a", "b")
    numbers = tuple(Number(name=name, column=0) for name in names)
    layout = Layout(columns=("window",), series=Series(numbers=numbers, steps=300, shortest=300, longest=300))
    steps = torch.randn(3, 300, 2)

    pooled = row_pooling(layout)(steps.flatten(1))

    assert pooled.shape == (3, 200)
    expected = steps.reshape(3, 100, 3, 2).mean(2).flatten(1)
    torch.testing.assert_close(pooled, expected)


def test_rows_of_a_wide_table_keep_their_distances() -> None:
    layout = _wide_table(1_000)
    rows = torch.randn(200, 1_000, generator=torch.Generator().manual_seed(0))

    pooled = row_pooling(layout)(rows)

    assert pooled.shape == (200, RESIDUAL_WIDTH)
    ratio = torch.pdist(pooled) / torch.pdist(rows)
    assert 0.97 < ratio.mean() < 1.03
    assert ratio.std() < 0.06
    assert torch.equal(row_pooling(_wide_table(RESIDUAL_WIDTH))(rows[:, :RESIDUAL_WIDTH]), rows[:, :RESIDUAL_WIDTH])
