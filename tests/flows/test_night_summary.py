"""The summary of a night, and the names and tags of its run; no server is needed."""

from pathlib import Path

import pytest

from aepipe.jobs.top_alarms import Alarm
from flows.night_summary import MOST_LINES, night_summary
from flows.run_labels import label_run, run_name, run_tags
from tests.support.partition_results import partition_result

ALARM = Alarm(
    partition="dt=1", row=3, keys={"id": "<b>4711</b>"}, score=9.0, p_value=0.0012, reasons=("area_mm", "kind")
)


def test_the_summary_counts_new_partitions_and_names_what_failed(tmp_path: Path) -> None:
    nights = [
        partition_result("dt=1", "written", 40, 3, {"x": 2}),
        partition_result("dt=2", "already done", 20, 1),
        partition_result("dt=3", "quarantined", reason="page 3 is corrupt"),
    ]

    text = night_summary(
        "cells",
        nights,
        model="v1",
        faults={"dt=3": "page 3 is corrupt"},
        alarms=[ALARM],
        report=tmp_path / "dt=1.html",
    )

    lines = text.splitlines()
    assert "- model: v1" in lines
    assert "- new partitions: 1, already done: 1, failed: 1" in lines
    assert "- rows with a score: 38, flagged: 3 (7.89%)" in lines
    assert "- dt=3: page 3 is corrupt" in lines
    assert r"- dt=1, id \<b\>4711\</b\>, p = 0.0012: area\_mm, kind" in lines
    assert any(line.startswith("- report: file://") for line in lines)
    assert "## Drift" not in lines


def test_a_long_list_is_cut_and_markup_stays_text() -> None:
    faults = {f"dt={at}": "[a](http://evil) <script>\n# x" for at in range(MOST_LINES + 5)}

    text = night_summary("cells", [], model="", faults=faults)

    assert "- and 5 more" in text.splitlines()
    assert "<script" not in text.replace(r"\<script", "")
    assert "\n# x" not in text
    assert "](" not in text.replace(r"\](", "")


def test_a_run_without_new_partitions_is_named_by_its_model() -> None:
    assert run_name("nightly", "cells", model="v1", partitions=[]) == "nightly cells: model v1"
    assert run_name("score", "cells", model="", partitions=[]) == "score cells"


def test_many_partitions_are_tagged_by_the_first_and_the_last() -> None:
    names = [f"dt={at:02d}" for at in range(30)]

    assert run_tags("cells", "v1", names) == ["aepipe", "cells", "model:v1", "partition:dt=00", "partition:dt=29"]


def test_outside_a_flow_nothing_is_labelled(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_client(*_: object, **__: object) -> None:
        pytest.fail("a request was sent to a server")

    monkeypatch.setattr("flows.run_labels.get_client", no_client)

    label_run("cells", model="v1", partitions=["dt=1"])
