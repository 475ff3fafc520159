"""Points of a series job and what their scores rest on, through the command and the Python interface."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import aepipe
from aepipe.cli.main import app
from aepipe.errors import ArgumentInvalid, OptionInvalid
from aepipe.jobs import explain as explanations
from aepipe.jobs import explain_points as points
from aepipe.jobs import row_lookup
from aepipe.jobs.explain import explain
from aepipe.jobs.report.report import report
from tests.support.machines import FAULT, night

pytestmark = pytest.mark.slow

WINDOW = 24
LAST = night(6)


def _read(folder: Path, output: str, partition: str = LAST) -> pa.Table:
    return pq.ParquetFile(folder / "out" / "machines" / output / partition / "part-0.parquet").read()


def _source(folder: Path, partition: str = LAST) -> pa.Table:
    return pq.ParquetFile(folder / "rows" / partition / "part-0.parquet").read()


def _peak(folder: Path) -> int:
    """Return the row number of the highest score of the last night."""
    return int(pc.index(_read(folder, "scores")["score"], pc.max(_read(folder, "scores")["score"])).as_py())


def test_the_windows_and_the_channel_of_a_fault_are_named(trained_machines: Path) -> None:
    row = _peak(trained_machines)
    source, written = _source(trained_machines), _read(trained_machines, "scores").slice(row, 1).to_pylist()[0]

    (found,) = explain(trained_machines, row=f"{LAST}:{row}")

    assert found.point is not None
    assert (found.kind, found.point.entity) == ("point", "m1")
    assert found.score == pytest.approx(written["score"], rel=1e-6)
    assert (found.p_value, found.is_anomaly) == (written["p_value"], written["is_anomaly"])
    assert len(found.point.windows) == written["windows"]
    scores = [window.score for window in found.point.windows]
    assert np.mean(scores) == pytest.approx(found.score, rel=1e-6)
    assert found.point.highest == int(np.argmax(scores))
    assert sum(found.point.terms.values()) == pytest.approx(max(scores), rel=1e-6)
    load, heat = found.columns
    assert (load.name, load.rank, heat.rank) == ("load", 1, 2)
    assert float(load.read) == pytest.approx(source["load"][row].as_py(), abs=0.01)
    assert abs(float(load.expected.replace("\N{MINUS SIGN}", "-")) - float(load.read)) > 0.5
    assert (load.z or 0) > 2 * (heat.z or 0)


def test_steps_are_read_expected_and_known_in_units_of_the_source(trained_machines: Path) -> None:
    row = _peak(trained_machines)
    rows = pa.concat_tables([_source(trained_machines, night(day)) for day in (4, 5, 6)])
    values = {(each["machine"], str(each["at"])): each for each in rows.to_pylist()}

    (found,) = explain(trained_machines, row=f"{LAST}:{row}")

    assert len(found.steps) == WINDOW
    assert found.point is not None
    window = found.point.windows[found.point.highest]
    assert (found.steps[0].time, found.steps[-1].time) == (window.first, window.last)
    for step in found.steps:
        each = values["m1", step.time]
        assert step.read == pytest.approx((each["heat"], each["load"]), abs=1e-4)
        assert (
            abs((step.known[0] or 0) - 25) < 6
        )  # m1 runs at 25 degrees: it is compared with its own steps, not with those from m0
    assert sum(step.share or 0 for step in found.steps) == pytest.approx(1)
    faulty = [step for step in found.steps if values["m1", step.time]["fault"]]
    assert sum(step.share or 0 for step in faulty) > 0.9
    assert len(faulty) == FAULT.stop - FAULT.start


def test_a_key_names_a_point_and_a_wrong_one_is_a_sentence(trained_machines: Path) -> None:
    row = _peak(trained_machines)
    at = _source(trained_machines)["at"][row].as_py()

    (by_key,) = explain(trained_machines, [f"m1,{at}"])
    (by_place,) = explain(trained_machines, row=f"{LAST}:{row}")

    assert by_key.model_dump(exclude={"row"}) == by_place.model_dump(exclude={"row"})
    with pytest.raises(OptionInvalid, match="has the key machine, at = 'm9,2026-01-07'"):
        explain(trained_machines, ["m9,2026-01-07"])
    with pytest.raises(ArgumentInvalid, match=rf"expected a row up to the last, {LAST}:191, got '{LAST}:500'"):
        explain(trained_machines, row=f"{LAST}:500")


def test_a_point_without_a_score_has_a_reason(machines: Path) -> None:
    path = machines.parent / "rows" / LAST / "part-0.parquet"
    table = _source(machines.parent)
    heat, load = (pc.if_else(pa.array(np.arange(len(table)) == 3), None, table[name]) for name in ("heat", "load"))
    pq.write_table(table.set_column(2, "heat", heat).set_column(3, "load", load), path)

    (found,) = explain(machines, row=f"{LAST}:3")

    assert (found.score, found.invalid_reason, found.point) == (None, "every channel is missing", None)
    shown = CliRunner().invoke(app, ["explain", str(machines), "--row", f"{LAST}:3"])
    assert "no score, every channel is missing" in shown.output


def test_the_command_prints_windows_channels_and_steps(trained_machines: Path) -> None:
    place = f"{LAST}:{_peak(trained_machines)}"

    result = CliRunner().invoke(app, ["explain", str(trained_machines), "--row", place])

    assert result.exit_code == 0, result.output
    for text in ("flagged", "windows with scores of", "the highest: 2026-01-07", "in the training rows", "load"):
        assert text in result.output


def test_python_explains_the_flagged_or_given_points_of_a_frame(trained_machines: Path) -> None:
    model = aepipe.load(trained_machines)
    frame = pa.concat_tables([_source(trained_machines, night(day)) for day in (5, 6)])
    scores = model.score(frame)
    flagged = np.flatnonzero(scores["is_anomaly"].to_numpy(zero_copy_only=False))
    peak = int(np.nanargmax(scores["score"].to_numpy()))

    everything, one = model.explain(frame), model.explain(frame, at=[peak])

    assert set(everything["row"].to_pylist()) == set(flagged.tolist())
    assert one.select(["row", "column", "reason"]).to_pylist() == [
        {"row": peak, "column": "load", "reason": 1},
        {"row": peak, "column": "heat", "reason": 2},
    ]
    with pytest.raises(ArgumentInvalid, match="at: expected a whole number from 0 to 383, got 384"):
        model.explain(frame, at=[384])


def test_several_points_are_explained_with_one_listing_and_one_reading_of_their_partition(
    trained_machines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [_peak(trained_machines), 3, 70]
    keys = [f"{each['machine']},{each['at']}" for each in _source(trained_machines).take(rows).to_pylist()]
    alone = [explain(trained_machines, [key])[0] for key in keys]
    calls: Counter[str] = Counter()
    for module, name in ((explanations, "discover"), (row_lookup, "discover"), (points, "read_with_context")):
        monkeypatch.setattr(module, name, _counted(calls, getattr(module, name)))

    together = explain(trained_machines, keys)

    assert together == tuple(alone)
    assert calls == {"discover": 1, "read_with_context": 1}


def _counted(calls: Counter[str], function: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*arguments: Any, **options: Any) -> Any:
        calls[function.__name__] += 1
        return function(*arguments, **options)

    return counted


def test_the_report_draws_the_most_unusual_windows_with_their_nearest_known_ones(machines: Path) -> None:
    peak = _peak(machines.parent)
    (found,) = explain(machines, row=f"{LAST}:{peak}")
    assert found.point is not None
    assert found.point.known is not None

    page = report(machines).path.read_text()

    first = " ".join(page.split("Most unusual windows")[1].split("</article>")[0].split())
    window, known = found.point.windows[found.point.highest], found.point.known
    assert f"{window.first} to {window.last}" in first
    assert f"Nearest known window: {known.first} to {known.last}, training rows" in first
    assert first.index("<bdi>load</bdi>,") < first.index("<bdi>heat</bdi>,")
    assert first.count("<path") == 4

    (machines.parent / "rows" / LAST / "part-0.parquet").unlink()
    assert LAST not in report(machines).path.read_text().split("Most unusual windows")[1].split("</section>")[0]


def test_a_hint_never_names_a_row_without_a_key(machines: Path) -> None:
    path = machines.parent / "rows" / LAST / "part-0.parquet"
    table = _source(machines.parent)
    pq.write_table(table.set_column(0, "machine", pa.array([None] * len(table), pa.string())), path)

    with pytest.raises(OptionInvalid, match="has the key machine, at = 'None,") as error:
        explain(machines, [f"None,{table['at'][0].as_py()}"])
    assert "'None," not in str(error.value).partition("did you mean")[2]
