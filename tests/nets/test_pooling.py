import numpy as np
import pytest
import torch

from aepipe.layout import Image, Layout, Number
from aepipe.nets.pooling import RESIDUAL_WIDTH, reason_names, reason_pooling, residual_pooling
from tests.heads.models import image_layout, mixed_layout


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
def test_a_region_is_called_after_its_rows_and_columns(shape: tuple[int, int, int]) -> None:
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
