"""Texts of several columns: distinct for distinct values, and joined without quotes if there is no comma."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from aepipe.jobs.alerts.message import group_by_entity
from aepipe.jobs.feedback.verdicts import key_texts
from aepipe.jobs.top_alarms import Alarm
from aepipe.series.stage import entities_of
from aepipe.tables.entities import Entities, entity_texts, join_columns, join_parts, quoted_as_needed

TEXTS = st.text(alphabet='ab,"', max_size=4)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=30)
TRIPLES = st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=30)
COLLIDING = [("a,b", "c"), ("a", "b,c")]


def _columns(rows: list[tuple[str, ...]]) -> list[pa.Array]:
    return [pa.array(values, pa.string()) for values in zip(*rows, strict=True)]


@given(st.one_of(PAIRS, TRIPLES))
def test_different_values_have_different_texts(rows: list[tuple[str, ...]]) -> None:
    texts = join_columns(_columns(rows)).to_pylist()

    assert len(set(texts)) == len(set(rows))
    assert texts == [join_parts(row) for row in rows]


@given(st.one_of(PAIRS, TRIPLES))
def test_texts_without_commas_are_joined_as_they_are(rows: list[tuple[str, ...]]) -> None:
    plain = [tuple(part.replace(",", "") for part in row) for row in rows]

    assert entity_texts(_columns(plain)).to_pylist() == [",".join(row) for row in plain]


@given(st.tuples(TEXTS, TEXTS))
def test_a_text_with_commas_reads_as_a_line_of_csv(row: tuple[str, ...]) -> None:
    text = join_parts(row)

    assert quoted_as_needed(text, 2) == text
    if any("," in part for part in row):
        assert quoted_as_needed(",".join('"' + part.replace('"', '""') + '"' for part in row), 2) == text


def test_one_column_is_never_quoted() -> None:
    assert Entities.of([pa.array(["a,b", '"a,b"'])]).names == ("a,b", '"a,b"')


def test_a_missing_part_is_null_and_its_text_is_quoted() -> None:
    left, right = pa.array(["a,b", None, "a", "null"]), pa.array(["c", "x,y", None, None])

    assert entity_texts([left, right]).to_pylist() == ['"a,b",c', 'null,"x,y"', "a,null", '"null",null']
    assert entity_texts([pa.array([None, "null", '"null"', "nullable"])]).to_pylist() == [
        "null",
        '"null"',
        '"""null"""',
        "nullable",
    ]


WITH_NULLS = st.one_of(st.none(), TEXTS, st.sampled_from(["null", '"null"', '"null', 'null"', '""null""', "null,null"]))


@given(st.integers(1, 3).flatmap(lambda parts: st.lists(st.tuples(*[WITH_NULLS] * parts), min_size=1, max_size=30)))
def test_different_entities_have_different_names_with_missing_parts_too(rows: list[tuple[str | None, ...]]) -> None:
    columns = [pa.array(values, pa.string()) for values in zip(*rows, strict=True)]

    names = entity_texts(columns).to_pylist()

    assert len(set(names)) == len(set(rows))
    (batch,) = pa.table(columns, names=[str(at) for at in range(len(columns))]).to_batches()
    found, codes = entities_of([batch], batch.schema.names)
    assert [found[code] for code in codes] == names


def test_series_keys_and_alerts_distinguish_them() -> None:
    left, right = _columns(COLLIDING)
    rows = pa.RecordBatch.from_arrays([left, right], names=["site", "pump"])
    names, codes = entities_of([rows], ["site", "pump"])
    assert (names, codes.tolist()) == (('"a,b",c', 'a,"b,c"'), [0, 1])
    assert key_texts(pa.Table.from_batches([rows]), ["site", "pump"]).to_pylist() == list(names)

    alarms = [
        Alarm(
            partition="p",
            row=row,
            keys={"site": site, "pump": pump},
            score=1.0,
            p_value=0.01,
            reasons=(),
        )
        for row, (site, pump) in enumerate(COLLIDING)
    ]
    assert [line.entity for line in group_by_entity(alarms, ("site", "pump"))] == list(names)
