"""Pre-norm transformer, for tables with columns as tokens, for windows of a series and for texts.

Encoders summarise tokens by a learned token and their mean. The decoder adds the latents to a learned query per column
or step and lets the queries attend to each other. Texts are read by attention; their decoder predicts token by token
with gated recurrent units, as with trunk = "recurrent". Positions are learned, so that the length of windows and texts
is that of training.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field
from torch import Tensor, nn

from aepipe.frozen import FrozenModel
from aepipe.layout import Layout, Text
from aepipe.models.backbone import Backbone
from aepipe.models.layers.attention import Summary, Transformer
from aepipe.models.layers.column_tokens import ColumnHeads, ColumnTokens
from aepipe.models.layers.likelihood import Likelihood, TableLikelihood
from aepipe.models.layers.preprocessing import Row
from aepipe.models.layers.sequence import Reading, laid_out, step_width, steps_of
from aepipe.models.layers.text_likelihood import TextLikelihood
from aepipe.models.layers.tokens import rest_codes, rest_of, tokens_of, within

MOST_TOKENS = 1_024
"""Attention compares all pairs of tokens: beyond this number, a batch of rows takes gigabytes."""


class Options(FrozenModel):
    """Options of this backbone in [model]."""

    width: int = Field(64, ge=4, le=1_024, description="width of a token")
    blocks: int = Field(2, ge=1, le=12, description="transformer blocks of the encoder, and of the decoder")
    heads: int = Field(4, ge=1, le=64, description="attention heads per block; width is a multiple of them")


class TableEncoder(nn.Module):
    """Row of a table, with texts or without, to (B, outputs)."""

    def __init__(self, layout: Layout, options: Options, outputs: int) -> None:
        super().__init__()
        self.layout = layout
        rest = rest_of(layout)
        has_columns = rest.numbers or rest.categories or rest.given
        self.columns = ColumnTokens(rest, options.width) if has_columns else None
        self.texts = nn.ModuleList(_TextTokens(text, options.width) for text in layout.texts)
        self.summary = Summary(options.width, blocks=options.blocks, heads=options.heads)
        self.head = nn.Linear(2 * options.width, outputs)

    def forward(self, row: Row) -> Tensor:
        tokens, valid = [], []
        if self.columns is not None:
            rest = row if not self.layout.texts else row._replace(codes=rest_codes(self.layout, row.codes))
            tokens.append(self.columns(rest))
            valid.append(torch.ones_like(tokens[0][:, :, 0], dtype=torch.bool))
        for text, reader in zip(self.layout.texts, self.texts, strict=True):
            codes = tokens_of(text, row.codes)
            tokens.append(reader(codes))
            valid.append(within(codes))
        mask = torch.cat(valid, 1) if self.layout.texts else None
        output: Tensor = self.head(self.summary(torch.cat(tokens, 1), mask))
        return output


class TableDecoder(nn.Module):
    """Latents (B, inputs) to the parameters of a table's likelihood, and of its texts."""

    def __init__(self, inputs: int, options: Options, likelihood: Likelihood) -> None:
        super().__init__()
        table, contexts = likelihood, tuple[int, ...]()
        if isinstance(likelihood, TextLikelihood):
            table, contexts = likelihood.rest, likelihood.contexts
        assert isinstance(table, TableLikelihood)
        self.contexts = nn.ModuleList(nn.Linear(options.width, width) for width in contexts)
        self.columns = table.numbers + len(table.categories.sizes)
        self.queries = _Queries(self.columns + len(contexts), inputs, options)
        if self.columns:
            self.heads = ColumnHeads(
                options.width, numbers=table.numbers, flags=table.flags, categories=table.categories
            )

    def forward(self, z: Tensor) -> Tensor:
        tokens = self.queries(z)
        parts = [self.heads(tokens[:, : self.columns])] if self.columns else []
        parts += [context(tokens[:, self.columns + at]) for at, context in enumerate(self.contexts)]
        return torch.cat(parts, 1)


class SeriesEncoder(nn.Module):
    """Window of a series to (B, outputs)."""

    def __init__(self, layout: Layout, options: Options, outputs: int) -> None:
        super().__init__()
        self.reading = Reading(layout)
        self.step = nn.Linear(self.reading.width, options.width)
        self.place = nn.Parameter(torch.randn(self.reading.steps, options.width) * options.width**-0.5)
        self.given = nn.Linear(layout.given, options.width, bias=False) if layout.given else None
        self.summary = Summary(options.width, blocks=options.blocks, heads=options.heads)
        self.head = nn.Linear(2 * options.width, outputs)

    def forward(self, row: Row) -> Tensor:
        steps, valid = self.reading(row)
        tokens = self.step(steps.transpose(0, 1)) + self.place
        if self.given is not None:
            tokens = tokens + self.given(row.given).unsqueeze(1)
        output: Tensor = self.head(self.summary(tokens, valid.squeeze(2).T > 0))
        return output


class SeriesDecoder(nn.Module):
    """Latents (B, inputs) to the parameters of a window, (B, likelihood.width)."""

    def __init__(self, layout: Layout, options: Options, inputs: int, likelihood: Likelihood) -> None:
        super().__init__()
        self.layout = layout
        values = steps_of(layout) * step_width(layout)
        self.queries = _Queries(steps_of(layout), inputs, options)
        self.head = nn.Linear(options.width, step_width(layout) * (likelihood.width // values))
        self.length = nn.Linear(inputs, likelihood.width % values) if likelihood.width % values else None

    def forward(self, z: Tensor) -> Tensor:
        output = laid_out(self.layout, self.head(self.queries(z)).transpose(0, 1))
        return output if self.length is None else torch.cat([output, self.length(z)], 1)


class _Queries(nn.Module):
    """A token per column or step from latents (B, inputs), (B, count, W)."""

    def __init__(self, count: int, inputs: int, options: Options) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(count, options.width) * options.width**-0.5)
        self.latents = nn.Linear(inputs, options.width)
        self.transformer = Transformer(options.width, blocks=options.blocks, heads=options.heads)

    def forward(self, z: Tensor) -> Tensor:
        tokens: Tensor = self.transformer(self.queries + self.latents(z).unsqueeze(1))
        return tokens


class _TextTokens(nn.Module):
    """Codes of the tokens of a text (B, T) to vectors with their positions, (B, T, W)."""

    def __init__(self, text: Text, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(text.size, width) * width**-0.5)
        self.place = nn.Parameter(torch.randn(text.length, width) * width**-0.5)

    def forward(self, codes: Tensor) -> Tensor:
        return F.embedding(codes, self.table) + self.place


def _encoder(layout: Layout, options: BaseModel, outputs: int) -> nn.Module:
    known = Options.model_validate(options)
    return (SeriesEncoder if layout.series is not None else TableEncoder)(layout, known, outputs)


def _decoder(layout: Layout, options: BaseModel, inputs: int, likelihood: Likelihood) -> nn.Module:
    known = Options.model_validate(options)
    if layout.series is not None:
        return SeriesDecoder(layout, known, inputs, likelihood)
    return TableDecoder(inputs, known, likelihood)


def _faults(layout: Layout, options: BaseModel) -> Sequence[str]:
    known, faults = Options.model_validate(options), []
    if known.width % known.heads:
        faults.append(f"width = {known.width} is not a multiple of heads = {known.heads}: choose a width that is")
    tokens = layout.series.steps if layout.series is not None else len(layout.numbers) + len(layout.categories)
    if tokens > MOST_TOKENS:
        what = "steps of a window" if layout.series is not None else "columns and tokens of texts"
        faults.append(
            f"trunk = 'transformer' compares all pairs of tokens: expected at most {MOST_TOKENS:,} {what}, got "
            f"{tokens:,}; use trunk = '{'recurrent' if layout.series is not None or layout.texts else 'mlp'}'"
        )
    return faults


BACKBONE = Backbone(
    "transformer",
    "attention between the columns of a row, the steps of a window or the tokens of a text",
    Options,
    ("series", "table", "text"),
    _encoder,
    _decoder,
    lambda _: 1e-3,
    faults=_faults,
    advice="Prefer it where far apart steps or tokens belong together, and for tables of some ten columns with "
    "relations between few columns and enough rows. Not for small tables, where `mlp` starts from the "
    "principal components, and not for long rows: time grows with the square of the columns or steps.",
)
