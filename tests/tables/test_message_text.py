"""Messages are distinguished from names, codes, categories and identifiers."""

import numpy as np
import pyarrow as pa
import pytest

from aepipe.tables.message_text import find_messages

RNG = np.random.default_rng(0)
LINES = [f"job {at} on node {RNG.integers(9)} failed after {RNG.integers(1_000)} seconds" for at in range(300)]


def test_log_lines_are_messages() -> None:
    found = find_messages(pa.array([*LINES, None]))

    assert found is not None
    assert (found.texts, found.distinct, found.words) == (300, 300, 9)


@pytest.mark.parametrize(
    "texts",
    [
        LINES[:50],
        ["the quick brown fox", "jumps over the dog"] * 200,
        [f"user{at}@example.com" for at in range(300)],
        [f"{a} {b}" for a in "abcdefghijklmnopqrst" for b in "abcdefghijklmnopqrst"],
        ["".join(chr(97 + letter) for letter in RNG.integers(0, 26, 60)) for _ in range(300)],
        [" ".join("".join(chr(97 + c) for c in RNG.integers(0, 26, 9)) for _ in range(5)) for _ in range(200)],
    ],
    ids=["too few", "a category", "addresses", "two words", "one word", "words that never recur"],
)
def test_other_texts_are_not(texts: list[str]) -> None:
    assert find_messages(pa.array(texts)) is None
