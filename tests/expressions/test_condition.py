import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aepipe.errors import OptionInvalid
from aepipe.expressions.condition import Condition, quote_name, quote_text
from tests.expressions.test_evaluate import TABLE, conditions, many

parsed = conditions.map(Condition.parse)
TRUE, FALSE = 1, -1


def truth(condition: Condition) -> NDArray[np.int64]:
    """Return 1 where a condition is true, -1 where it is false, 0 where it is unknown."""
    holds, negated = (np.asarray(each.mask(TABLE).to_pylist(), np.int64) for each in (condition, ~condition))
    assert not (holds & negated).any()
    return holds - negated


@many
@given(parsed, parsed)
def test_text_of_combined_conditions_parses_back_to_the_same_condition(left: Condition, right: Condition) -> None:
    for condition in (left & right, left | right, ~left, ~(left | right) & left, ~(left & right) | right):
        again = Condition.parse(str(condition))

        assert again == condition
        assert again.mask(TABLE).equals(condition.mask(TABLE))
        assert condition.columns <= left.columns | right.columns


@many
@given(parsed, parsed)
def test_operators_follow_three_valued_logic(left: Condition, right: Condition) -> None:
    assert (truth(left & right) == np.minimum(truth(left), truth(right))).all()
    assert (truth(left | right) == np.maximum(truth(left), truth(right))).all()
    assert (truth(~left) == -truth(left)).all()


@many
@given(parsed, parsed, parsed)
def test_operators_group_as_they_are_applied(a: Condition, b: Condition, c: Condition) -> None:
    assert (truth((a | b) & c) == np.minimum(np.maximum(truth(a), truth(b)), truth(c))).all()
    assert (truth(a & (b | c)) == np.minimum(truth(a), np.maximum(truth(b), truth(c)))).all()
    assert (truth(~(a & b) & c) == np.minimum(-np.minimum(truth(a), truth(b)), truth(c))).all()


@many
@given(st.text(min_size=1, max_size=8), st.lists(st.text(max_size=8), min_size=1, max_size=4))
def test_any_name_and_any_text_can_be_compared(name: str, values: list[str]) -> None:
    rows = pa.table({name: pa.array([*values, None])})

    assert Condition.equals(name, values[0]).columns == {name}
    assert Condition.equals(name, values[0]).mask(rows).to_pylist() == [*(v == values[0] for v in values), False]
    assert Condition.one_of(name, values).mask(rows).to_pylist() == [True] * len(values) + [False]
    assert Condition.is_null(name).mask(rows).to_pylist() == [False] * len(values) + [True]


@pytest.mark.parametrize(
    ("value", "text"),
    [("o'k", "\"x\" = 'o''k'"), (True, '"x" = true'), (3, '"x" = 3'), (0.5, '"x" = 0.5'), (-1e-7, '"x" = -1e-07')],
)
def test_equality_is_written_as_a_literal(value: str | bool | int | float, text: str) -> None:
    assert str(Condition.equals("x", value)) == text


def test_negation_of_a_list_and_of_null_keeps_plain_words() -> None:
    assert str(~Condition.one_of("kind", ["boot", "hat"])) == "\"kind\" not in ('boot', 'hat')"
    assert str(~Condition.is_null("kind")) == '"kind" is not null'


def test_quotes_are_doubled() -> None:
    assert quote_name('a"b') == '"a""b"'
    assert quote_text("a'b") == "'a''b'"


def test_fault_is_raised_when_the_text_is_parsed() -> None:
    with pytest.raises(OptionInvalid, match="condition, character 5"):
        Condition.parse("a = = 1")
