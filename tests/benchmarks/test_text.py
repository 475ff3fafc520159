"""The trigram model that texts are compared with, and the generated lines."""

import numpy as np

from aepipe.layout import END
from benchmarks.text import Trigrams, lines


def test_probabilities_of_a_trigram_model_add_up_over_the_next_token() -> None:
    rows = np.array([[4, 5, 4, END], [4, 4, END, END], [5, END, END, END]])
    model = Trigrams(rows, size=6)

    probabilities = [model._probability((END, 4, token)) for token in range(6)]

    np.testing.assert_allclose(sum(probabilities), 1.0)
    assert model.losses(np.array([[4, 5, 4, END]]))[0] < model.losses(np.array([[5, 5, 5, END]]))[0]


def test_only_later_lines_have_new_forms() -> None:
    usual, none = lines(200, seed=0)
    later, some = lines(2_000, seed=1, novel=0.02)

    assert not none.any()
    assert 10 < some.sum() < 100
    assert not any("killed" in text or "expired" in text for text in usual["message"].to_pylist())
    assert later.num_rows == 2_000
