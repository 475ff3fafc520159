"""Text as tokens: pieces join to the text, and codes up to the end are the text again."""

import unicodedata
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepipe.config.text import TokenKind
from aepipe.encoding.text import TextCodec
from aepipe.encoding.tokens import joined, pieces_of, train_bpe
from aepipe.errors import SchemaMismatch
from aepipe.layout import END, MISSING, UNSEEN
from tests.support.columns import batch_of, one_column

LINES = ["disk sda1 failed", "disk sdb2 failed", "job 17 done in 3 ms", "job 18 done in 5 ms"]
MOLECULES = ["CCO", "c1ccccc1Cl", "C[N+](C)(C)CC(=O)Br", "C%12CC%12", "[nH]1cccc1"]


def codec_of(texts: list[str | None], **spec: object) -> TextCodec:
    (codec,) = one_column(pa.array(texts, pa.string()), {"kind": "text", **spec}).codecs
    assert isinstance(codec, TextCodec)
    return codec


def round_trip(texts: list[str | None], **spec: object) -> list[str | None]:
    encoding = one_column(pa.array(texts, pa.string()), {"kind": "text", **spec})
    found: list[str | None] = (
        encoding.decode(encoding.encode(batch_of(pa.array(texts, pa.string()))).arrays).column(0).to_pylist()
    )
    return found


@pytest.mark.parametrize("kind", [kind for kind in get_args(TokenKind) if kind != "bpe"])
@settings(max_examples=10)
@given(text=st.text(max_size=12))
def test_the_pieces_of_a_text_join_to_the_text(kind: TokenKind, text: str) -> None:
    (pieces,) = pieces_of([text], kind)

    assert joined(pieces, kind) == text


def test_vowel_signs_accents_and_joiners_belong_to_the_letter_or_symbol_before() -> None:
    words = [
        "e\u0301te\u0301",
        "हिन्दी",
        "ที่นี่",
        "مُحَمَّد",
        "שָׁלוֹם",
        "\U0001f44d\U0001f3fd",
        "\U0001f469\u200d\U0001f467",
        "\U0001f1e9\U0001f1ea",
    ]

    (pieces,) = pieces_of([" ".join(words)], "words")

    assert pieces == [words[0], *(f" {word}" for word in words[1:])]
    blocks = ((0x300, 0x370), (0x591, 0x5C8), (0x64B, 0x660), (0x900, 0xE00), (0xE00, 0x1000), (0x1000, 0x10A0))
    marks = [chr(at) for block in blocks for at in range(*block) if unicodedata.category(chr(at)).startswith("M")]
    assert len(marks) > 500
    assert [mark for mark in marks if len(pieces_of([f"a{mark}b"], "words")[0]) > 1] == []


def test_an_older_bundle_splits_marks_from_their_letters_as_before() -> None:
    codec = codec_of(["e\u0301te\u0301 ok"] * 4, length=9)
    known = codec.model_dump()

    older = TextCodec.model_validate({name: value for name, value in known.items() if name != "marks"})

    assert codec.read("e\u0301te\u0301 ok") == ["e\u0301te\u0301", " ok"]
    assert older.read("e\u0301te\u0301 ok") == ["e", "\u0301", "te", "\u0301", " ok"]


def test_a_byte_pair_encoding_is_trained_on_the_rows_and_restores_any_text() -> None:
    pytest.importorskip("tokenizers")
    trained = train_bpe(LINES * 5)

    pieces = pieces_of([*LINES, "größer \U0001f4be"], "bpe", trained)

    assert [joined(each, "bpe", trained) for each in pieces] == [*LINES, "größer \U0001f4be"]
    assert len(pieces[0]) < len(LINES[0])
    assert round_trip(LINES * 5, tokens="bpe", length=40) == LINES * 5


@pytest.mark.parametrize(
    ("tokens", "texts"), [("characters", LINES), ("bytes", ["grün", "größe"]), ("smiles", MOLECULES)]
)
def test_training_texts_without_rare_tokens_survive_a_round_trip(tokens: str, texts: list[str]) -> None:
    assert round_trip([*texts, *texts], tokens=tokens) == [*texts, *texts]


def test_atoms_and_bonds_of_a_molecule_are_one_token_each() -> None:
    assert pieces_of(["[nH]1cc(Br)c1%10"], "smiles") == [["[nH]", "1", "c", "c", "(", "Br", ")", "c", "1", "%10"]]


def test_rare_words_with_digits_share_a_token_and_other_rare_words_are_unknown() -> None:
    texts = [f"took {number} ms at node{number}" for number in range(2_000)] + ["took ages ms at home"]
    encoding = one_column(pa.array(texts), {"kind": "text"})

    encoded = encoding.encode(batch_of(pa.array(["took 12 ms at nowhere", "took 3 ms at node9"])))

    decoded = encoding.decode(encoded.arrays).column(0).to_pylist()
    assert decoded == ["took 0 ms at\ufffd", "took 0 ms at 0"]
    assert encoded.unseen == {"x": 1}


def test_texts_that_are_longer_than_the_model_reads_are_counted_once_per_row() -> None:
    encoding = one_column(pa.array(["a b", "a", "b a", None] * 5), {"kind": "text", "length": 2})
    rows = batch_of(pa.array(["a b a", "a b", None, "a b a", "b b b b", ""]))

    assert encoding.encode(rows).cut == {"x": 3}
    assert encoding.encode(rows.slice(1, 2)).cut == {}
    assert encoding.encode_table(pa.Table.from_batches([rows]), rows=2).cut == {"x": 3}


def test_codes_are_the_tokens_then_the_end() -> None:
    codec = codec_of(["a b", "a b", "b", None])
    (first, second, third) = (np.asarray(codes) for codes in codec.encode(pa.array(["a b", "b", None, "a z"])).codes)

    a, b = (END + 1 + codec.vocabulary.index(piece) for piece in ("a", " b"))
    assert first.tolist() == [a, UNSEEN, MISSING, a]
    assert second.tolist() == [b, END, END, UNSEEN]
    assert third.tolist() == [END] * 4


def test_the_length_holds_nearly_all_texts_and_its_end_and_the_share_of_cut_texts_is_kept() -> None:
    texts = ["x"] * 995 + ["x x x x x x x x"] * 5

    codec = codec_of(texts)  # type: ignore[arg-type]

    assert (codec.length, codec.cut) == (2, 0.005)
    assert codec_of(texts, length=8).cut == 0.0  # type: ignore[arg-type]


def test_a_missing_text_is_invalid_unless_training_had_some() -> None:
    known, unknown = (one_column(pa.array(texts), {"kind": "text"}) for texts in (["a", "a", None], ["a", "a"]))
    missing = batch_of(pa.array([None], pa.string()))

    assert known.encode(missing).invalid.tolist() == [0]
    encoded = unknown.encode(missing)
    assert unknown.describe_invalid(encoded.invalid) == "x is missing, and never was in training (1)"


def test_options_of_text_are_refused_for_other_kinds() -> None:
    with pytest.raises(SchemaMismatch, match="a category: tokens and length are options of text"):
        one_column(pa.array(["a"]), {"kind": "category", "tokens": "words"})
    with pytest.raises(SchemaMismatch, match="cannot be a text"):
        one_column(pa.array([1.5]), {"kind": "text"})


def test_the_shares_of_unknown_and_of_merged_tokens_are_kept() -> None:
    codec = codec_of(["disk 17", "disk 18", "disk 19 x", "disk disk"])

    # the vocabulary is disk, " 0" and " disk" has one occurrence: 3 merged numbers, " x" and " disk" unknown, 9 tokens
    assert (codec.unknown, codec.merged) == (round(2 / 9, 6), round(3 / 9, 6))
