"""Peers that run in environments of their own: left out with a line where none has them."""

import sys

import pyarrow as pa
import pytest

from benchmarks.peers import PEERS, draw_rows, missing, python_of


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for peer in PEERS.values():
        monkeypatch.delenv(peer.variable, raising=False)


def test_the_python_of_a_peer_is_the_one_that_its_variable_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AEPIPE_MOSTLYAI_PYTHON", "/somewhere/python")

    assert python_of("TabularARGN") == "/somewhere/python"


def test_a_peer_that_no_python_has_is_left_out_with_a_line() -> None:
    assert python_of("PAR") is None
    assert missing("PAR") == "PAR is left out: install sdv, and let AEPIPE_SDV_PYTHON name the Python that has it"
    with pytest.raises(SystemExit, match="PAR is left out"):
        draw_rows("PAR", pa.table({"a": [1]}), (1,), seed=0)


@pytest.mark.slow
def test_a_peer_that_fails_is_shown_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AEPIPE_MOSTLYAI_PYTHON", sys.executable)

    with pytest.raises(SystemExit, match=r"(?s)TabularARGN failed in .*No module named 'mostlyai'"):
        draw_rows("TabularARGN", pa.table({"a": [1]}), (1,), seed=0)
