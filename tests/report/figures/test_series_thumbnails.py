import numpy as np

from aepipe.report.figures.series_thumbnails import draw_series


def test_rising_line_rises_to_the_right() -> None:
    steps = np.arange(5.0).reshape(1, 5, 1)

    (picture,) = draw_series(steps, np.array([0.0]), np.array([4.0]))

    ink = picture[0] != 250
    assert picture.shape == (3, 48, 96)
    assert ink[:, 0].nonzero()[0].max() == 47
    assert ink[:, -1].nonzero()[0].min() == 0
    assert ink.any(0).all()


def test_missing_steps_and_channels_are_not_drawn() -> None:
    steps = np.full((1, 10, 2), np.nan)
    steps[0, :4, 0] = 1.0

    (picture,) = draw_series(steps, np.zeros(2), np.ones(2))

    drawn = (picture[0] != 250).any(0)
    assert drawn[:30].all()
    assert not drawn[45:].any()


def test_values_out_of_bounds_are_clipped_to_the_image() -> None:
    (picture,) = draw_series(np.full((1, 3, 1), 9.0), np.zeros(1), np.ones(1))

    assert (picture[0, 0] != 250).all()
