"""The benchmark of waiting times runs each step, and its table has a row per step."""

import subprocess
from pathlib import Path

import pytest

from benchmarks.waiting import (
    _CODE,
    _GRAPH,
    _REASONS,
    _ROWS,
    _WHOLE,
    DEMO,
    MIXED,
    Step,
    _parser,
    fresh_copy,
    lines,
    measure,
    run,
    run_code,
    write_job,
    write_nights,
)

ROOT = Path(__file__).parents[2]
IMPORTS = "import aepipe.jobs.score"


def table_rows(found: dict[str, dict[str, Step]]) -> list[str]:
    return [line for line in lines(found, nights=365) if line.startswith("|")][2:]


def test_the_table_has_a_row_per_step_and_columns_per_checkout() -> None:
    steps = {"before": Step(36.5, 73.0), "now": Step(18.25, 36.5)}

    rows = table_rows(dict.fromkeys(_CODE, steps))

    assert len(rows) == len(_CODE)
    assert "| 100.0 ms | 200.0 ms | 50.0 ms | 100.0 ms |" in next(row for row in rows if "nights of 900 rows" in row)
    assert "| 36.50 | 73.00 | 18.25 | 36.50 |" in rows[0]


def test_graphs_are_given_per_row_and_reasons_as_a_share_of_a_night() -> None:
    night, reasons = Step(4e-6 * MIXED, 2e-6 * MIXED), Step(1e-6 * MIXED, float("nan"))
    found = {"night of a table": {"now": night}, "reasons of a table": {"now": reasons}}

    rows = table_rows(found)

    assert [row.split("|")[2:4] for row in rows] == [[" 4.00 us ", " 2.00 us "], [" 1.00 us ", "  "]]
    assert "Reasons take 25 % of that night's CPU seconds (now), without the alarm for cells." in list(
        lines(found, nights=365)
    )


def test_a_checkout_without_a_step_has_empty_cells() -> None:
    rows = table_rows({"train": {"before": Step(1, 2), "now": Step(3, 4)}, "score again": {"now": Step(5, 6)}})

    assert rows[1].endswith("|  |  | 5.00 | 6.00 |")


@pytest.mark.slow
def test_results_are_kept_in_a_folder_for_later_calls(tmp_path: Path) -> None:
    arguments = ["--folder", str(tmp_path), "--nights", "1", "--only", IMPORTS]

    first = measure(_parser().parse_args(arguments), tmp_path)
    (tmp_path / "steps.json").write_text('{"score": {"before": [1.0, 2.0]}}')
    second = measure(_parser().parse_args(arguments), tmp_path)

    assert list(first) == [IMPORTS]
    assert list(second) == [IMPORTS, "score"]
    assert second["score"] == {"before": Step(1, 2)}


def test_a_copy_has_the_last_commit_of_a_checkout(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "kept.py").write_text("committed")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=checkout, check=True)
    (checkout / "kept.py").write_text("changed")
    (checkout / "new.py").write_text("new")

    copied = fresh_copy(checkout, tmp_path / "copy")

    assert {path.name: path.read_text() for path in copied.iterdir()} == {"kept.py": "committed"}


@pytest.mark.slow
def test_every_step_runs_in_order(tmp_path: Path) -> None:
    write_nights(tmp_path / "data", nights=33, rows=60)
    write_job(tmp_path / "job", tmp_path / "data")
    steps = [step for step in _CODE if step not in {*_ROWS, DEMO}]

    found = {step: run(step, folder=tmp_path / "job", checkout=ROOT) for step in steps}

    assert all(step.cpu > 0 and step.wall > 0 for step in found.values())


@pytest.mark.slow
def test_steps_of_graphs_run(tmp_path: Path) -> None:
    codes = [code.format(kind="mixed", rows=4_000) for code in (_GRAPH, _WHOLE, _REASONS)]

    graph, night, reasons = (run_code(code, folder=tmp_path, checkout=ROOT) for code in codes)

    assert 0 < graph.cpu < night.cpu
    assert reasons.cpu == reasons.cpu
    assert reasons.wall != reasons.wall
