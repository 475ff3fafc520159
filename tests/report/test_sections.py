"""Texts and tables of the report page."""

from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import betabinom

from aepipe.report import sections
from aepipe.report.page_model import Card, Comparison, FileLine, Header
from aepipe.storage import PartitionResult, ScoreDetails
from tests.support.partition_results import partition_result

WHEN = datetime(2026, 11, 21)


def header(alpha: float | None = 0.05, calibration_rows: int | None = 1_000) -> Header:
    return Header("job", "job/1", WHEN, alpha=alpha, calibration_rows=calibration_rows)


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_summary_states_flagged_rows_total_and_alpha():
    lines = [
        partition_result("a", rows=1_000, flagged=30),
        partition_result("b", rows=210, flagged=7, invalid={"inf": 6}),
    ]

    summary = sections.summarise(header(), lines)

    assert plain(summary.line) == "37 of 1,204 rows flagged at alpha 5 % (3.1 %)"


@pytest.mark.parametrize(
    ("flagged", "alarm", "beginning"),
    [(90, True, "More than alpha explains"), (50, False, "Consistent with alpha"), (10, False, "Fewer than expected")],
)
def test_summary_is_an_alarm_only_above_the_expected_range(flagged, alarm, beginning):
    summary = sections.summarise(header(), [partition_result("a", rows=1_000, flagged=flagged)])

    assert summary.alarm is alarm
    assert summary.detail.startswith(beginning)


def test_one_flagged_row_of_three_is_not_an_alarm_after_a_small_calibration():
    assert not sections.summarise(header(0.2, 19), [partition_result("a", rows=3, flagged=1)]).alarm


def test_only_quarantined_partitions_are_an_alarm():
    summary = sections.summarise(header(), [partition_result("a", "quarantined", reason="truncated")])

    assert summary == ("No row was scored.", True, "")


@pytest.mark.parametrize(("rows", "alpha", "n"), [(1_000, 0.05, 199), (5_000, 0.01, 999), (200, 0.1, 499)])
def test_expected_flag_range_matches_the_beta_binomial_distribution(rows, alpha, n):
    rank = round(alpha * (n + 1))  # flagged: above all but this many calibration rows
    law = betabinom(rows, rank, n + 1 - rank)

    low, high = sections.expected_flag_range(rows, alpha, n)

    assert 0.93 < law.cdf(high) - law.cdf(low - 1) < 0.98


def test_tiles_sum_over_partitions():
    lines = [
        partition_result("a", rows=100, flagged=5, invalid={"inf": 4}, seconds={"read": 1.0}, wall_s=0.5),
        partition_result("b", rows=20, seconds={"read": 0.25, "infer": 0.25}),
        partition_result("c", "quarantined"),
    ]

    texts = {tile.name: (plain(tile.value), plain(tile.note)) for tile in sections.build_tiles(lines)}

    assert texts == {
        "partitions": ("3", "1 quarantined"),
        "rows": ("120", ""),
        "flagged": ("5", "4.3 %"),
        "without a score": ("4", "3.3 %"),
        "time": ("1.00 s", "120 rows/s"),
    }


def test_partitions_name_columns_with_values_that_the_model_reads_in_part():
    rows = sections.build_partition_rows([partition_result("a", rows=9, cut={"line": 3, "basket": 1})])

    assert rows[0].cut == "line: 3, basket: 1"


def test_stages_are_in_processing_order():
    lines = [partition_result("a", seconds={"write": 1, "hash": 1}), partition_result("b", seconds={"read": 1})]

    assert sections.list_stages(lines) == ("read", "write", "hash")


def test_times_are_in_milliseconds_if_no_stage_took_a_second():
    short = [partition_result("a", rows=10, seconds={"read": 0.0021})]

    assert sections.time_unit(short) == "ms"
    assert sections.build_partition_rows(short)[0].stages == ("2.10",)
    assert sections.time_unit([partition_result("a", seconds={"read": 1.5})]) == "s"


def test_only_the_latest_partitions_are_listed():
    lines = [partition_result(str(i), rows=1) for i in range(500)]

    assert [row.line.partition for row in sections.build_partition_rows(lines)] == [str(i) for i in range(440, 500)]


def test_rare_attributions_are_summed():
    found = sections.build_bars({f"column {i}": 100 - i for i in range(20)}, most=3)

    assert [bar.name for bar in found] == ["column 0", "column 1", "column 2", "17 others"]
    assert found[-1].value == "1,513"
    assert max(bar.length for bar in found) == 1.0


def test_best_of_each_measure_and_our_model_are_marked():
    lines = {"random": (0.5, 0.1), "PCA": (0.9, float("nan")), "model": (0.8, 0.4)}

    found = sections.build_comparison_rows(Comparison("scores", ("AUROC", "AP"), lines, "model"))

    assert [(row.name, row.is_ours) for row in found] == [("random", False), ("PCA", False), ("model", True)]
    assert [[best for _, _, best in row.cells] for row in found] == [[False, False], [True, False], [False, True]]
    assert found[1].cells[1][0] == "\N{EN DASH}"


def test_all_files_are_counted_and_the_last_are_listed():
    lines = [FileLine("written", "scores", f"{i}", 1_000, "xxh3:0") for i in range(100)]

    shown, total = sections.select_files(lines, "written")

    assert [line.path for line in shown] == [str(i) for i in range(20, 100)]
    assert plain(total) == "100 files, 100 kB; the first 20 are omitted"
    assert sections.select_files(lines, "read")[0] == []


def test_wide_table_is_transposed():
    narrow = pa.table({"a": [1, 2], "b": ["x", None]})
    wide = pa.table({f"c{i}": [float(i), 0.5] for i in range(100)})

    assert sections.preview_table(narrow) == (["a", "b"], [["1", "x"], ["2", "\N{EN DASH}"]])
    header, lines = sections.preview_table(wide)
    assert header == ["column", "row 1", "row 2"]
    assert lines[3] == ["c3", "3.00", "0.500"]
    assert len(lines) == sections.MOST_COLUMNS


def test_wide_table_without_rows_lists_its_columns():
    header, lines = sections.preview_table(pa.table({f"c{i}": pa.array([], pa.float64()) for i in range(10)}))

    assert header == ["column"]
    assert lines[0] == ["c0"]


def test_card_omits_unknown_values():
    card = Card(family="vae", trunk="conv", rows={"train": 7_000}, partitions=tuple("abcd"))

    assert sections.describe_card(card) == [
        ("family", "vae"),
        ("backbone", "conv"),
        ("trained on", "a to d, 4 partitions"),
        ("rows", "train 7,000"),
    ]


def test_parity_of_parts_with_different_measures_is_one_table():
    card = Card(family="ae", trunk="mlp", parity={"encoder": {"1 row": 1e-7}, "scorer": {"7 rows": 0.5}})

    measures, lines = sections.format_parity(card)

    assert measures == ("1 row", "7 rows")
    assert [values[1] for _, values in lines] == ["\N{EN DASH}", "0.500"]


def test_alpha_is_the_share_of_all_rows_for_polluted_training_data():
    clean, polluted = (dict(sections.explain_terms(header()._replace(is_polluted=found))) for found in (False, True))

    assert "share of normal rows is flagged by chance" in clean["flagged"]
    assert "share of all rows that is flagged" in polluted["flagged"]
    assert "normal and anomalous rows" in polluted["p-value"]


def test_adaptive_flags_are_explained():
    texts = dict(sections.explain_terms(header()._replace(is_adaptive=True)))

    assert "an adaptive alpha" in texts["flagged"]


def test_glossary_states_the_smallest_p_value():
    texts = dict(sections.explain_terms(header(calibration_rows=99)))

    assert "smallest possible value is 0.0100" in texts["p-value"]
    assert "alpha = 5" in plain(texts["flagged"])
    assert np.all([name in texts for name in ("score", "reasons")])


def test_partitions_without_checksums_are_named() -> None:
    details = (ScoreDetails(), ScoreDetails(checksums="none"), ScoreDetails(checksums="pages"))
    nights = [PartitionResult(partition=str(i), status="written", details=each) for i, each in enumerate(details)]

    assert sections.list_unchecked(nights) == ["1"]
