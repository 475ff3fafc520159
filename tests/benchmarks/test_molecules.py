"""The Markov chain that molecules are compared with."""

import numpy as np

from benchmarks.molecules import NGrams


def test_a_chain_draws_continuations_as_often_as_training_had_them() -> None:
    grams, rng = NGrams([["C", "O"]] * 3 + [["C", "N"]], order=2), np.random.default_rng(0)

    drawn = [grams.draw(rng) for _ in range(2_000)]

    assert set(drawn) == {"CO", "CN"}
    assert 0.7 < np.mean([text == "CO" for text in drawn]) < 0.8


def test_a_long_context_repeats_training_texts() -> None:
    texts = [["C", "C", "O"], ["N", "C", "C"]]
    grams, rng = NGrams(texts, order=4), np.random.default_rng(0)

    assert {grams.draw(rng) for _ in range(200)} == {"CCO", "NCC"}
