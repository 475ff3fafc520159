"""Tokens and items of each row that a model finds least likely, in words."""

import pyarrow as pa

from aepipe.encoding.items import ItemsCodec
from aepipe.encoding.text import TextCodec
from aepipe.inference.reason_words import CellDescriber
from aepipe.inference.table_model import TableModel

_LEAST_NATS = 3.0
"""Loss of a token that is named: its probability is below 5 %."""


def describe_rows(model: TableModel, rows: pa.Table, expected: pa.Table) -> list[dict[str, str]]:
    """Describe the columns of each row of a table as `CellDescriber`, and texts and items by the unlikely tokens.

    Args:
        model: model of a table.
        rows: rows of the source.
        expected: their reconstructions.
    """
    found, describer = [], CellDescriber(model.bundle)
    for at, tokens in enumerate(unlikely_tokens(model, rows)):
        words = describer.describe(rows.slice(at, 1), expected.slice(at, 1))
        found.append(words | {column: f"unlikely: {', '.join(map(repr, texts))}" for column, texts in tokens.items()})
    return found


def unlikely_tokens(model: TableModel, rows: pa.Table) -> list[dict[str, list[str]]]:
    """Return the least likely tokens of each row by text column, in the order of the text; columns without are omitted.

    Args:
        model: any model; without texts or without reasons, no row has tokens.
        rows: rows of the source.
    """
    layout = model.bundle.encoding.layout
    outputs = model.scorer_outputs(rows) if layout.texts else {}
    if "token" not in outputs:
        return [{} for _ in range(rows.num_rows)]
    codecs = {codec.name: codec for codec in model.bundle.encoding.codecs if isinstance(codec, TextCodec | ItemsCodec)}
    found: list[dict[str, list[str]]] = []
    for places, nats, row in zip(outputs["token"], outputs["token_z"], rows.to_pylist(), strict=True):
        unlikely = sorted(int(place) for place, loss in zip(places, nats, strict=True) if loss >= _LEAST_NATS)
        named: dict[str, list[str]] = {}
        for text in layout.texts:
            at = [place - text.first for place in unlikely if text.first <= place < text.first + text.length]
            if at and row[text.name] is not None:
                tokens = [*codecs[text.name].read(row[text.name]), "the end"]
                named[text.name] = [tokens[min(place, len(tokens) - 1)] for place in at]
        found.append(named)
    return found
