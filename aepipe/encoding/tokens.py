"""Tokenisers: a text to pieces and back. Joined pieces are the text; nothing here knows codes.

SMILES atoms as in Schwaller et al. 2019, Molecular Transformer.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from aepipe.config.text import TokenKind
from aepipe.versions import named_extras

UNREADABLE = "\ufffd"
"""Text of a token that is unknown."""
DIGITS = "0"
"""Stands for a word with digits that is not in the vocabulary; a leading space is kept."""

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
"""Chinese and Japanese letters, which no space divides into words: each is a piece."""
_WORDS = re.compile(rf" ?(?:[{_UNSPACED}]|[^\W_{_UNSPACED}]+|[^\w\s]|_)|\s")
_SMILES = re.compile(r"\[[^\[\]]*\]|Br|Cl|%[0-9]{2}|.", re.DOTALL)
_BPE_VOCABULARY = 1_000
_LEAST_COUNT = 2

Pieces = list[list[str]]


def pieces_of(texts: Sequence[str], kind: TokenKind, trained: str | None = None) -> Pieces:
    """Split each text into pieces.

    Args:
        texts: texts.
        kind: tokeniser.
        trained: JSON of a byte-pair encoding from `train_bpe`; None for other tokenisers.

    >>> pieces_of(["disk sda1: 17 ms"], "words")
    [['disk', ' sda1', ':', ' 17', ' ms']]
    >>> pieces_of(["磁盘 sda"], "words")
    [['磁', '盘', ' sda']]
    >>> pieces_of(["CC(=O)Cl"], "smiles")
    [['C', 'C', '(', '=', 'O', ')', 'Cl']]
    """
    if kind == "bpe":
        assert trained is not None
        return [found.tokens for found in _bpe(trained).encode_batch(list(texts))]
    split = _SPLIT[kind]
    return [split(text) for text in texts]


def joined(pieces: Sequence[str], kind: TokenKind, trained: str | None = None) -> str:
    """Return the text of some pieces; the inverse of `pieces_of`.

    >>> joined(["a", " b"], "words")
    'a b'
    """
    if kind == "bpe":
        assert trained is not None
        text: str = _bpe(trained).decoder.decode(list(pieces))
        return text
    if kind != "bytes":
        return "".join(pieces)
    encoded = (each.encode("utf-8" if each == UNREADABLE else "latin-1") for each in pieces)
    return b"".join(encoded).decode("utf-8", "replace")


def shape_of(piece: str) -> str | None:
    """Return the piece that stands for an unknown word with digits; None for other pieces.

    >>> shape_of(" 10ms"), shape_of("ms")
    (' 0', None)
    """
    if not any(letter.isdigit() for letter in piece):
        return None
    return f" {DIGITS}" if piece.startswith(" ") else DIGITS


def train_bpe(texts: Sequence[str]) -> str:
    """Train a byte-pair encoding (Sennrich et al. 2016) of bytes and return its JSON.

    Raises:
        ExtraMissing: the package `tokenizers` is not installed.
    """
    library = _library()
    found = library.Tokenizer(library.models.BPE())
    found.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=_BPE_VOCABULARY,
        min_frequency=_LEAST_COUNT,
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    found.train_from_iterator(texts, trainer)
    trained: str = found.to_str()
    return trained


def bpe_pieces(trained: str) -> list[str]:
    """Return all pieces of a byte-pair encoding, in the order of its ids."""
    vocabulary: dict[str, int] = _bpe(trained).get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)


@lru_cache(maxsize=32)
def _bpe(trained: str) -> Any:
    return _library().Tokenizer.from_str(trained)


def _library() -> Any:
    with named_extras():
        import tokenizers
    return tokenizers


def _bytes(text: str) -> list[str]:
    return list(text.encode().decode("latin-1"))


_SPLIT: dict[TokenKind, Callable[[str], list[str]]] = {
    "words": _WORDS.findall,
    "characters": list,
    "bytes": _bytes,
    "smiles": _SMILES.findall,
}
