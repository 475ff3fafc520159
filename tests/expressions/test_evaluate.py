import datetime
import re
import sqlite3
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepipe.errors import OptionInvalid
from aepipe.expressions.condition import Condition

TABLE = pa.table(
    {
        "a": pa.array([1, 2, None, 4, 5], pa.int64()),
        "b": pa.array([0.5, float("nan"), 3.0, None, -1.0], pa.float64()),
        "s": ["x", "y", None, "o'k", "x"],
        "flag": [True, False, None, True, False],
    }
)
many = settings(max_examples=150)

few = settings(many, max_examples=50)

numbers = st.sampled_from(["1", "2", "2.5", "-1", "+4", "3e0", ".5", "100"])
texts = st.sampled_from(["'x'", "'y'", "'o''k'", "''", "'z'"])
signs = st.sampled_from(["=", "==", "!=", "<>", "<", "<=", ">", ">="])


def listed(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, min_size=1, max_size=3).map(lambda found: f"({', '.join(found)})")


predicates = st.one_of(
    st.builds("{} {} {}".format, st.sampled_from(["a", "b", '"a"']), signs, numbers),
    st.builds("{} {} {}".format, numbers, signs, st.sampled_from(["a", "b"])),
    st.builds("s {} {}".format, signs, texts),
    st.builds("{} {} {}".format, st.sampled_from(["a", "b"]), signs, st.sampled_from(["a", "b"])),
    st.builds("{} {} {}".format, st.sampled_from(["a", "b"]), st.sampled_from(["in", "not in", "IN"]), listed(numbers)),
    st.builds("s {} {}".format, st.sampled_from(["in", "not in"]), listed(texts)),
    st.builds("{} {}".format, st.sampled_from(["a", "b", "s", "flag"]), st.sampled_from(["is null", "IS NOT NULL"])),
    st.just("flag"),
)
conditions = st.recursive(
    predicates,
    lambda inner: st.one_of(
        st.builds("{} and {}".format, inner, inner),
        st.builds("{} OR {}".format, inner, inner),
        st.builds("not {}".format, inner),
        st.builds("({})".format, inner),
    ),
    max_leaves=6,
)


def kept(text: str, table: pa.Table = TABLE) -> list[int]:
    """Return the positions of the rows that satisfy a condition."""
    return np.flatnonzero(Condition.parse(text).mask(table)).tolist()


def by_sqlite(text: str) -> list[int]:
    with sqlite3.connect(":memory:") as database:
        database.execute("create table t (row integer, a integer, b real, s text, flag integer)")
        rows = [
            (at, *(None if one != one else one for one in row.values())) for at, row in enumerate(TABLE.to_pylist())
        ]
        database.executemany("insert into t values (?, ?, ?, ?, ?)", rows)
        found = [row for (row,) in database.execute(f"select row from t where {text} order by row")]
    database.close()
    return found


@many
@given(conditions)
def test_rows_are_those_that_sqlite_chooses_missing_values_and_all(text: str) -> None:
    assert kept(text) == by_sqlite(text)


def in_python(text: str) -> str:
    """Translate a condition into the language of DataFrame.query."""
    text = text.replace("<>", "!=").replace("OR", "or").replace("IN", "in").replace('"a"', "a")
    text = re.sub(r"\bin \(([^)]*)\)", r"in [\1]", text.replace("'o''k'", '"o\'k"'))
    return re.sub(r"(?<![=!<>])=(?!=)", "==", text)


@few
@given(conditions.filter(lambda text: "null" not in text.lower()))
def test_where_nothing_is_missing_rows_are_those_that_pandas_chooses(text: str) -> None:
    full = pa.table({"a": [1, 2, 3, 4], "b": [0.5, 2.5, 3, -1], "s": list("xyzx"), "flag": [True, False, True, False]})

    expected = full.to_pandas().query(in_python(text), engine="python").index.tolist()

    assert kept(text, full) == expected


def test_the_mask_has_a_value_for_every_row_of_chunks_slices_and_batches() -> None:
    chunked = pa.concat_tables([TABLE.slice(3), TABLE.slice(0, 0), TABLE.slice(0, 3)])

    assert Condition.parse("a > 1").mask(chunked).to_pylist() == [True, True, False, True, False]
    assert Condition.parse("a > 1").mask(TABLE.to_batches()[0].slice(1, 2)).to_pylist() == [True, False]
    assert Condition.parse("a > 1").mask(TABLE.slice(0, 0)).to_pylist() == []
    assert isinstance(Condition.parse("a > 1").mask(chunked), pa.BooleanArray)


DAY = datetime.date(2026, 1, 3)
NOON = datetime.datetime(2026, 1, 3, 12)


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([DAY]), "x = '2026-01-03'"),
        (pa.array([DAY], pa.date64()), "x >= '2026-01-03' and x < '2026-01-04'"),
        (pa.array([NOON], pa.timestamp("s")), "x = '2026-01-03 12:00'"),
        (pa.array([NOON], pa.timestamp("ns")), "x = '2026-01-03T12:00:00'"),
        (pa.array([NOON], pa.timestamp("s")), "x < '2026-01-03 12:00:00.5'"),
        (pa.array([NOON], pa.timestamp("us")), "x > '2026-01-03'"),
        (pa.array([NOON], pa.timestamp("ms", tz="Europe/Berlin")), "x = '2026-01-03 13:00'"),
        (pa.array([NOON], pa.timestamp("ms", tz="Europe/Berlin")), "x = '2026-01-03 12:00Z'"),
        (pa.array([NOON], pa.timestamp("ms", tz="Europe/Berlin")), "x in ('2026-01-03T07:00-05:00', '1999-01-01')"),
        (pa.array([datetime.time(23, 59)], pa.time32("s")), "x = '23:59'"),
        (pa.array([datetime.time(23, 59)], pa.time64("us")), "x > '23:58:59.5'"),
        (pa.array([0.1], pa.float32()), "x = 0.1"),
        (pa.array([np.float16(0.1)], pa.float16()), "x > 0.09 and x < 0.11"),
        (pa.array([Decimal("0.10")], pa.decimal128(9, 2)), "x = 0.1 and x < 0.101"),
        (pa.array([2**64 - 1], pa.uint64()), "x = 18446744073709551615 and x > -1 and x != 18446744073709551614"),
        (pa.array([5], pa.int8()), "x < 300 and x > 4.5 and x = '5'"),
        (pa.array(["a"], pa.large_string()), "x = 'a'"),
        (pa.array(["a"], pa.string_view()), "x in ('a')"),
        (pa.array(["a"]).dictionary_encode(), "x = 'a'"),
        (pa.array([True]), "x and x = true and x = 1 and not x = FALSE"),
        (pa.array([[1]]), "x is not null"),
        (pa.nulls(1), "x is null"),
    ],
)
def test_a_literal_takes_the_type_of_its_column(column: pa.Array, text: str) -> None:
    assert kept(text, pa.table({"x": column})) == [0]
    assert kept(f"not ({text})", pa.table({"x": column})) == []


def test_a_column_of_nulls_compares_with_anything_and_holds_for_nothing() -> None:
    assert kept("x = 1 or x != 'a'", pa.table({"x": pa.nulls(2)})) == []


@pytest.mark.parametrize("written", ['"hours-per-week"', "`hours-per-week`"])
def test_a_name_that_is_not_a_word_is_quoted(written: str) -> None:
    table = pa.table({"hours-per-week": [30, 50], "year.month": [1, 2], "größe": [1, 2]})

    assert kept(f"{written} > 40 and year.month = 2 and größe=2", table) == [1]
    assert Condition.parse(f"{written} > 40 and year.month = 2").columns == {"hours-per-week", "year.month"}


def test_a_condition_may_run_over_several_lines() -> None:
    assert kept("\n  a > 1\n  and s = 'x'\n") == [4]


@pytest.mark.parametrize(
    ("text", "message", "caret"),
    [
        ("", "expected a column, found the end", 1),
        ("a =", "expected a value after '=', found the end", 4),
        ("a = 1 b", "expected 'and', 'or' or the end, found 'b'", 7),
        ("a in (1, 2", "expected ')' to close the list, found the end", 11),
        ("a in 1", "expected '(' after 'in', found '1'", 6),
        ("a in (s)", "expected a value, found a column; put text in single quotes: 's'", 7),
        ("(a = 1", "expected ')' to close a parenthesis, found the end", 7),
        ("a is 3", "expected 'null' after 'is', found '3'", 6),
        ("a not 3", "expected 'in' after 'not', found '3'", 7),
        ("a = null", "expected a value after '=', found 'null'; use 'is null' to find missing values", 5),
        ("s = 'x", "the quote ' is not closed", 5),
        ("5", "expected a comparison after 5, found the end", 2),
        ("1 = 1", "expected at least one column in a comparison", 1),
        (
            "hours-per > 2",
            "unexpected character '-'; put column names that are not plain words in double quotes",
            6,
        ),
        ("a & b", "unexpected character '&'; put column names that are not plain words in double quotes", 3),
        ("A = 1", "no column 'A'; did you mean 'a'?", 1),
        ("flagg", "no column 'flagg'; did you mean 'flag'?", 1),
        ('s = "x"', "no column 'x' (put text in single quotes: 'x'): expected one of a, b, s, flag", 5),
        ("a", "column 'a' is int64, not true or false: compare it with a value", 1),
        ("a = 'x'", "'x' cannot be compared with column 'a', which is int64: write a number", 5),
        ("s = 5", "5 cannot be compared with column 's', which is string: write text, in single quotes", 5),
        ("s > true", "true cannot be compared with column 's', which is string: write text, in single quotes", 5),
        ("flag = 0.5", "0.5 cannot be compared with column 'flag', which is boolean: write true or false", 8),
        ("s < a", "'s' (string) and 'a' (int64) cannot be compared", 5),
    ],
)
def test_a_fault_is_named_with_a_caret_under_it(text: str, message: str, caret: int) -> None:
    with pytest.raises(OptionInvalid) as caught:
        Condition.parse(text).mask(TABLE)

    assert str(caught.value) == f"condition, character {caret}: {message}\n  {text}\n  {' ' * (caret - 1)}^"


@pytest.mark.parametrize(
    ("column", "literal", "message"),
    [
        (pa.array([DAY]), "3", "which is date32[day]: write a date such as '2026-01-31'"),
        (pa.array([DAY]), "'2026-01-03 12:00'", "which is date32[day]: write a date such as '2026-01-31'"),
        (pa.array([NOON]), "'soon'", "write a date such as '2026-01-31' or '2026-01-31 23:59'"),
        (pa.array([datetime.time(1)]), "'25:00'", "which is time64[us]: write a time such as '23:59'"),
        (pa.array([[1]]), "3", "which is list<item: int64>: only 'is null' works on it"),
        (pa.array([datetime.timedelta(1)]), "3", "which is duration[us]: only 'is null' works on it"),
    ],
)
def test_a_literal_that_cannot_take_the_type_is_refused_with_one_that_can(
    column: pa.Array, literal: str, message: str
) -> None:
    with pytest.raises(OptionInvalid) as caught:
        Condition.parse(f"x = {literal}").mask(pa.table({"x": column}))

    assert message in str(caught.value)


def test_a_column_that_is_there_twice_is_refused() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])

    with pytest.raises(OptionInvalid, match="there are several columns 'x'"):
        Condition.parse("x = 1").mask(table)


@pytest.mark.parametrize("text", ["(" * 5000 + "a = 1" + ")" * 5000, "not " * 5000 + "flag"])
def test_nesting_without_end_is_a_fault_and_no_crash(text: str) -> None:
    with pytest.raises(OptionInvalid, match="nested deeper than 100"):
        Condition.parse(text)


def test_a_long_list_of_alternatives_does_not_count_as_nesting() -> None:
    text = " or ".join(f"a = {number}" for number in range(500))

    assert kept(text) == [0, 1, 3, 4]


@settings(max_examples=150)
@given(st.text(st.sampled_from("ab s'\"=<>()!,.0159-+enotrisu\n`"), max_size=25))
def test_any_text_is_a_condition_or_one_error(text: str) -> None:
    try:
        mask = Condition.parse(text).mask(TABLE)
    except OptionInvalid as error:
        assert str(error).endswith("^")
    else:
        assert len(mask) == TABLE.num_rows
