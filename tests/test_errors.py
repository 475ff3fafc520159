"""Hints at similar names in error messages."""

from aepipe.errors import did_you_mean


def test_case_does_not_count_when_names_are_compared() -> None:
    assert did_you_mean("AMOUNT", ["age", "Amount"]) == "; did you mean 'Amount'?"


def test_several_similar_names_are_suggested_closest_first() -> None:
    known = ["case-002", "case-0011", "other"]

    assert did_you_mean("case-001", known, most=3) == "; did you mean 'case-0011' or 'case-002'?"


def test_names_are_listed_only_if_none_is_close_and_cut_at_the_limit() -> None:
    assert did_you_mean("x", ["alpha", "beta", "gamma"]) == ""
    assert did_you_mean("x", ["alpha", "beta", "gamma"], listed=2) == ": expected one of alpha, beta, ..."
    assert did_you_mean("x", [], listed=2) == ""


def test_known_names_of_a_set_are_listed_in_one_order() -> None:
    assert did_you_mean("x", {"north", "abroad", "south"}, listed=2) == ": expected one of abroad, north, ..."
    assert did_you_mean("x", ["south", "abroad", "south"], listed=3) == ": expected one of south, abroad"
