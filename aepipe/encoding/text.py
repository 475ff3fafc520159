"""Encode text as a sequence of tokens: one code per position, then the end."""

from collections import Counter
from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from aepipe.config.text import TokenKind
from aepipe.encoding.base import FINE, MISSING_VALUE, Codec, EncodedColumn, Features
from aepipe.encoding.tokens import UNREADABLE, Pieces, bpe_pieces, joined, pieces_of, shape_of, train_bpe
from aepipe.layout import END, MISSING, UNSEEN, Category, Text, absent_codes
from aepipe.tables.arrow_arrays import nulls_of, plain_values, values_of
from aepipe.tables.schema import Column

MOST_PIECES = 2_000
"""Maximum number of pieces with a code of their own."""
MOST_TOKENS = 128
"""Maximum length of a text unless the job sets it."""
_LENGTH_QUANTILE = 0.99
_LEAST_COUNT = 2
_LEAST_SHARE_OF_DIGITS = 0.001
"""Words with digits, such as numbers and names of hosts, have a code of their own above this share of the texts."""
_TRAINED_TEXTS = 100_000


class TextCodec(Codec):
    """Encoder of a text: a code per token, END after the last and up to `length`; longer texts are cut.

    Pieces that are not in the vocabulary are UNSEEN, words with digits the piece "0". A null is MISSING, then END.
    """

    kind: Literal["text"] = "text"
    tokens: TokenKind
    vocabulary: tuple[str, ...] = Field(description="pieces with a code of their own, by falling frequency")
    length: int = Field(ge=1, description="number of positions")
    cut: float = Field(0.0, description="share of the training texts that are longer")
    unknown: float = Field(0.0, description="share of the tokens of the training texts that are not in the vocabulary")
    merged: float = Field(0.0, description="share of these tokens that are rare words with digits, which share a code")
    bpe: str | None = Field(None, description="byte-pair encoding, as the JSON of the package tokenizers")
    marks: bool = Field(False, description="words keep their vowel signs and accents; False in older bundles")
    may_be_missing: bool = False
    index: int = Field(ge=0, description="index of the column in the layout")

    @cached_property
    def described(self) -> tuple[Category, ...]:
        """One feature per position."""
        absent = absent_codes(missing=self.may_be_missing, rare=False)
        return tuple(
            Category(name=f"{self.name}[{at}]", column=self.index, size=self.codes, absent=absent)
            for at in range(self.length)
        )

    @property
    def categories(self) -> tuple[Category, ...]:
        return self.described

    @property
    def codes(self) -> int:
        """Number of codes of a position: the reserved ones, END and one per piece."""
        return END + 1 + len(self.vocabulary)

    def text(self, first: int) -> Text:
        """Return the place of the text in a layout; first: index of the first of its categories."""
        return Text(name=self.name, column=self.index, first=first, length=self.length, size=self.codes)

    def encode(self, array: pa.Array) -> Features:
        coded, cut = self._coded(array)
        nulls = nulls_of(plain_values(array))
        reasons = None
        if nulls is not None:
            coded[nulls, 0] = MISSING
            if not self.may_be_missing:
                reasons = np.where(nulls, MISSING_VALUE, FINE).astype(np.int8)
        return Features(codes=tuple(coded.T), unseen=int(np.count_nonzero(coded == UNSEEN)), cut=cut, reasons=reasons)

    def decode(self, features: EncodedColumn, kind: pa.DataType) -> pa.Array:
        """Decode codes up to the first END; a code without a piece becomes the replacement character."""
        codes = features.codes
        texts: list[str | None] = [self._text_of(row) for row in codes.tolist()]
        if self.may_be_missing and len(codes):
            texts = [None if row[0] == MISSING else text for row, text in zip(codes, texts, strict=True)]
        return pa.array(texts, pa.string()).cast(kind)

    def read(self, text: str) -> list[str]:
        """Return the text of each token that the model sees."""
        (pieces,) = pieces_of([text], self.tokens, self.bpe, marks=self.marks)
        return [joined([piece], self.tokens, self.bpe) for piece in pieces[: self.length]]

    def _coded(self, array: pa.Array) -> tuple[np.ndarray, int]:
        """Return the codes of texts, int32 (B, length), and the number of texts with more tokens; nulls are END."""
        distinct = plain_values(array).dictionary_encode()
        texts = distinct.dictionary.to_pylist()
        known = np.full((len(texts) + 1, self.length), END, np.int32)
        is_longer = np.zeros(len(known), np.bool_)
        for at, pieces in enumerate(pieces_of(texts, self.tokens, self.bpe, marks=self.marks)):
            found = list(map(self._code_of.__getitem__, pieces[: self.length]))
            known[at, : len(found)] = found
            is_longer[at] = len(pieces) > self.length
        places, nulls = values_of(distinct.indices), nulls_of(distinct.indices)
        rows = places if nulls is None else np.where(nulls, len(texts), places)
        return known[rows], int(np.count_nonzero(is_longer[rows]))

    def _text_of(self, codes: list[int]) -> str:
        end = codes.index(END) if END in codes else len(codes)
        pieces = [self.vocabulary[code - END - 1] if code > END else UNREADABLE for code in codes[:end] if code]
        return joined(pieces, self.tokens, self.bpe)

    @cached_property
    def _code_of(self) -> "_Codes":
        return _Codes({piece: at for at, piece in enumerate(self.vocabulary, END + 1)}, has_digits=self._has_digits)

    @property
    def _has_digits(self) -> bool:
        return self.tokens == "words"


class _Codes(dict[str, int]):
    """Codes by piece; other words with digits share one code, and all others are UNSEEN."""

    def __init__(self, codes: dict[str, int], *, has_digits: bool) -> None:
        super().__init__(codes)
        self._has_digits = has_digits

    def __missing__(self, piece: str) -> int:
        shape = shape_of(piece) if self._has_digits else None
        return UNSEEN if shape is None else self.get(shape, UNSEEN)


def fit_text(column: Column, index: int, values: pa.ChunkedArray) -> TextCodec:
    """Fit an encoder to training texts: the vocabulary, and the length that 99 % of them keep within.

    Pieces that occur once are unknown, unless all do.
    """
    kind: TokenKind = column.tokens or "words"
    plain = pa.chunked_array([plain_values(chunk).cast(pa.string()) for chunk in values.chunks], pa.string())
    counted = pc.value_counts(plain.drop_null())
    found = sorted(zip(counted.field(0).to_pylist(), values_of(counted.field(1)).tolist(), strict=True))
    texts = [text for text, _ in found]
    counts = np.array([count for _, count in found], np.int64)
    bpe = train_bpe(texts[:: max(1, -(-len(texts) // _TRAINED_TEXTS))]) if kind == "bpe" else None
    pieces = pieces_of(texts, kind, bpe)
    longest = np.array([len(each) for each in pieces], np.int64)
    length = column.length or min(MOST_TOKENS, _quantile(longest, counts) + 1)
    cut = float(counts[longest > length].sum() / max(1, counts.sum()))
    vocabulary = _vocabulary(kind, pieces, counts, bpe)
    unknown, merged = _unread_shares(kind, pieces, counts, vocabulary)
    return TextCodec(
        name=column.name,
        tokens=kind,
        vocabulary=vocabulary,
        length=length,
        cut=round(cut, 6),
        unknown=unknown,
        merged=merged,
        bpe=bpe,
        marks=True,
        may_be_missing=values.null_count > 0,
        index=index,
    )


def _unread_shares(
    kind: TokenKind, pieces: Pieces, counts: np.ndarray, vocabulary: tuple[str, ...]
) -> tuple[float, float]:
    """Return the share of unknown tokens, and the share of rare words with digits, which have a code in common."""
    codes = _Codes(dict.fromkeys(vocabulary, END + 1), has_digits=kind == "words")
    tokens = unknown = merged = 0
    for each, count in zip(pieces, counts.tolist(), strict=True):
        absent = [codes[piece] for piece in each if piece not in codes]
        tokens += count * len(each)
        unknown += count * absent.count(UNSEEN)
        merged += count * (len(absent) - absent.count(UNSEEN))
    return round(unknown / max(1, tokens), 6), round(merged / max(1, tokens), 6)


def _vocabulary(kind: TokenKind, pieces: Pieces, counts: np.ndarray, bpe: str | None) -> tuple[str, ...]:
    if bpe is not None:
        return tuple(bpe_pieces(bpe))
    if kind == "bytes":
        return tuple(map(chr, range(256)))
    found = Counter[str]()
    for each, count in zip(pieces, counts.tolist(), strict=True):
        for piece in each:
            found[piece] += count
    if kind == "words":
        found = _with_shapes(found, least=_LEAST_SHARE_OF_DIGITS * int(counts.sum()))
    order = sorted(found, key=lambda piece: (-found[piece], piece))
    frequent = [piece for piece in order if found[piece] >= _LEAST_COUNT] or order
    return tuple(frequent[:MOST_PIECES])


def _with_shapes(found: Counter[str], *, least: float) -> Counter[str]:
    """Count words with digits that are rarer than `least` as the piece that stands for them."""
    merged = Counter[str]()
    for piece, count in found.items():
        shape = shape_of(piece) if count < max(_LEAST_COUNT, least) else None
        merged[piece if shape is None else shape] += count
    return merged


def _quantile(lengths: np.ndarray, counts: np.ndarray) -> int:
    """Return the least length that at least 99 % of the texts keep within; 0 without texts."""
    if not len(lengths):
        return 0
    order = np.argsort(lengths, kind="stable")
    share = np.cumsum(counts[order]) / counts.sum()
    return int(lengths[order][np.searchsorted(share, _LENGTH_QUANTILE)])
