"""Texts of Prefect artifacts, which the page shows as Markdown."""

import re

import pytest

from flows.artifacts import _as_cell, _as_text
from tests.support.payloads import PAYLOADS


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_is_neither_link_image_nor_markup(payload: str) -> None:
    shown = _as_text(payload)

    assert "<" not in shown
    assert re.search(r"(?<!\\)[\[\]`|!]", shown) is None
    assert shown.isprintable()


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_in_a_table_is_not_a_link(payload: str) -> None:
    assert "](" not in _as_cell(payload)
    assert _as_cell(payload).isprintable()
