"""Text columns that hold messages: sentences or log lines, whose words recur while the texts do not."""

import re
from collections import Counter
from typing import NamedTuple

import numpy as np
import pyarrow as pa

_WORD = re.compile(r"[^\W\d_]+")
_LEAST_TEXTS = 100
_LEAST_DISTINCT = 100
_LEAST_WORDS = 3
_LEAST_RECURRING = 0.7
"""Minimum share of the words of all texts that other texts have too."""


class Messages(NamedTuple):
    """Measures of the texts of a column of messages."""

    texts: int
    distinct: int
    words: float
    """median number of words per text"""


def find_messages(texts: pa.Array | pa.ChunkedArray) -> Messages | None:
    """Return the measures of a text column that holds messages; None for other columns.

    Messages differ in at least 100 and a tenth of the rows, have three words or more, and share their words.

    Args:
        texts: sampled values of one plain text type; nulls are skipped.
    """
    known = texts.drop_null().to_pylist()
    distinct = set(known)
    if len(known) < _LEAST_TEXTS or len(distinct) < max(_LEAST_DISTINCT, len(known) / 10):
        return None
    words = float(np.median([len(text.split()) for text in known]))
    if words < _LEAST_WORDS:
        return None
    split = [_WORD.findall(text) for text in known]
    rows_with = Counter(word for each in split for word in set(each))
    found = [word for each in split for word in each]
    recurring = sum(rows_with[word] > 1 for word in found) / max(1, len(found))
    return Messages(len(known), len(distinct), words) if recurring >= _LEAST_RECURRING else None
