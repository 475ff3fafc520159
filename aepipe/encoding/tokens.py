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
_MARKS = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1-\u05c2\u05c4-\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u0898-\u08e1\u08e3-\u0963\u0981-\u09e3\u09fe-\u0a75\u0a81-\u0ae3\u0afa-\u0b63"
    "\u0b82-\u0bd7\u0c00-\u0c63\u0c81-\u0c83\u0cbc-\u0d4d\u0d57-\u0d63\u0d81-\u0df3\u0e31-\u0e3a\u0e47-\u0e4e\u0eb1-\u0ecd"
    "\u0f18-\u0f19\u0f35\u0f37\u0f39\u0f3e-\u0f84\u0f86-\u0fbc\u0fc6\u102b-\u103e\u1056-\u109d\u1752-\u17d3\u1ab0-\u1aff\u1dc0-\u1dff\u200c\u200d\u20d0-\u20f0"
    "\u302a-\u302f\u3099-\u309a\ufe00-\ufe0f\ufe20-\ufe2f\U0001f3fb-\U0001f3ff"
)
"""Vowel signs, accents, joiners and skin tones, which belong to the letter or symbol before; and letters between."""
_WORDS = (
    " ?(?:"
    rf"[{_UNSPACED}][{_MARKS}]*|[^\W_{_UNSPACED}](?:[^\W_{_UNSPACED}]|[{_MARKS}])*"
    rf"|[\U0001f1e6-\U0001f1ff]{{2}}|[^\w\s][{_MARKS}]*(?:(?<=\u200d)[^\w\s][{_MARKS}]*)*|_"
    r")|\s"
)
_BARE_WORDS = rf" ?(?:[{_UNSPACED}]|[^\W_{_UNSPACED}]+|[^\w\s]|_)|\s"
"""Words of bundles from before marks belonged to them."""
_SMILES = r"\[[^\[\]]*\]|Br|Cl|%[0-9]{2}|."
_BPE_VOCABULARY = 1_000
_LEAST_COUNT = 2

Pieces = list[list[str]]


def pieces_of(texts: Sequence[str], kind: TokenKind, trained: str | None = None, *, marks: bool = True) -> Pieces:
    """Split each text into pieces.

    Args:
        texts: texts.
        kind: tokeniser.
        trained: JSON of a byte-pair encoding from `train_bpe`; None for other tokenisers.
        marks: words keep their vowel signs and accents, and symbols their joiners; False: each is a piece.

    >>> pieces_of(["disk sda1: 17 ms"], "words")
    [['disk', ' sda1', ':', ' 17', ' ms']]
    >>> pieces_of(["磁盘 sda"], "words")
    [['磁', '盘', ' sda']]
    >>> pieces_of(["e\u0301te\u0301 हिन्दी"], "words")
    [['e\u0301te\u0301', ' हिन्दी']]
    >>> pieces_of(["CC(=O)Cl"], "smiles")
    [['C', 'C', '(', '=', 'O', ')', 'Cl']]
    """
    if kind == "bpe":
        assert trained is not None
        return [found.tokens for found in _bpe(trained).encode_batch(list(texts))]
    split = _splitter(kind, marks)
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


@lru_cache
def _splitter(kind: TokenKind, marks: bool) -> Callable[[str], list[str]]:
    """Return what splits a text; expressions are compiled for the first text, which takes milliseconds."""
    match kind:
        case "characters":
            return list
        case "bytes":
            return _bytes
        case "smiles":
            return re.compile(_SMILES, re.DOTALL).findall
        case _:
            return re.compile(_WORDS if marks else _BARE_WORDS).findall
