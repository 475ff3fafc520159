"""Tokens of texts among the codes of rows: which are there, and which categories are not tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor

from aepipe.layout import END, Layout, Text


def rest_of(layout: Layout) -> Layout:
    """Return the layout of the same rows without their texts; columns keep their indices."""
    kept = rest_places(layout)
    return layout.model_copy(update={"texts": (), "categories": tuple(layout.categories[at] for at in kept)})


def rest_places(layout: Layout) -> list[int]:
    """Return the indices of the categories that are not tokens."""
    tokens = {at for text in layout.texts for at in range(text.first, text.first + text.length)}
    return [at for at in range(len(layout.categories)) if at not in tokens]


def rest_codes(layout: Layout, codes: Tensor) -> Tensor:
    """Select the codes (B, K) of categories that are not tokens."""
    runs = []
    begin = 0
    for text in layout.texts:
        runs.append(codes[:, begin : text.first])
        begin = text.first + text.length
    runs.append(codes[:, begin : len(layout.categories)])
    return torch.cat(runs, 1)


def in_layout_order(layout: Layout, rest: Tensor, texts: Sequence[Tensor]) -> Tensor:
    """Join values of other categories (B, K) and of the tokens of each text (B, T) in the order of the layout."""
    runs = []
    begin = taken = 0
    for text, values in zip(layout.texts, texts, strict=True):
        before = text.first - begin
        runs += [rest[:, taken : taken + before], values]
        begin, taken = text.first + text.length, taken + before
    return torch.cat([*runs, rest[:, taken:]], 1)


def tokens_of(text: Text, codes: Tensor) -> Tensor:
    """Select the codes of the tokens of a text, (B, T)."""
    return codes[:, text.first : text.first + text.length]


def within(tokens: Tensor) -> Tensor:
    """Return where the tokens (B, T) are read: up to the first END, and END itself; (B, T) bool, true at the first."""
    ended = (tokens == END).to(torch.int64)
    return ended.cumsum(1) - ended == 0


def present(layout: Layout, codes: Tensor) -> Tensor:
    """Return which of the categories of rows count, (B, K) bool: all but positions after the end of a text."""
    rest = torch.ones_like(rest_codes(layout, codes), dtype=torch.bool)
    return in_layout_order(layout, rest, [within(tokens_of(text, codes)) for text in layout.texts])
