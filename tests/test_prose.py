"""Code and docs read as plain English: the measures of tests/support/code_metrics.py hold their bounds."""

import pytest

from tests.support.code_metrics import (
    Finding,
    banned_words,
    docstrings_that_are_clauses,
    function_lengths,
    lines_of_code,
    private_functions_with_one_caller,
    verb_share,
)

LEAST_VERB_SHARE = 0.8
MOST_PRIVATE_PER_1000_LINES = 12
MOST_LINES_AT_THE_MEDIAN = 7


def _expect_none(findings: list[Finding]) -> None:
    if findings:
        pytest.fail("\n".join(f"{each.path}:{each.line}: {each.what}: {each.text}" for each in findings), pytrace=False)


def test_no_banned_word_is_used() -> None:
    _expect_none(banned_words())


def test_no_docstring_begins_with_a_clause() -> None:
    _expect_none(docstrings_that_are_clauses())


def test_function_docstrings_begin_with_a_verb() -> None:
    assert verb_share() > LEAST_VERB_SHARE


def test_few_private_functions_have_one_caller() -> None:
    share = 1000 * len(private_functions_with_one_caller()) / lines_of_code()

    assert share < MOST_PRIVATE_PER_1000_LINES


def test_functions_stay_short() -> None:
    lengths = sorted(function_lengths())

    assert lengths[len(lengths) // 2] <= MOST_LINES_AT_THE_MEDIAN
