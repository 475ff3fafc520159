"""Terminal output of a promotion report."""

from aepipe.cli.console import print_table, print_text
from aepipe.jobs.promotion.comparison import LabelMeasures, ModelFigures
from aepipe.jobs.promotion.promote import PromoteResult


def show_promotion(result: PromoteResult) -> None:
    """Print the figures of both models, the checks, and what was decided."""
    if result.report is not None:
        found = result.report.comparison
        header = ("on recent rows", "champion", "challenger")
        first, second = _column(found.champion), _column(found.challenger)
        figures: list[tuple[object, ...]] = [(name, first[name], second[name]) for name in first]
        figures.append(("alarms of both, as a share of all alarms", "", found.agreement))
        figures.append(("rank correlation", "", found.rank_correlation))
        print_table(f"{found.rows:,} rows of {len(found.partitions)} partitions", header, figures)
        checks = [
            (check.name, check.limit, check.value, {True: "passed", False: "FAILED", None: check.note}[check.passed])
            for check in result.report.checks
        ]
        print_table("checks of [promotion]", ("check", "limit", "measured", "result"), checks)
        for name, why in found.left_out.items():
            print_text(f"left out: {name}: {why}", err=True)
    print_text(result.sentence)


def _column(each: ModelFigures) -> dict[str, object]:
    labels, drift = each.labels, each.drift
    return {
        "version": each.version,
        "family and head": f"{each.family}, {each.head}",
        "alpha": each.alpha,
        "alarm rate of the calibration rows": each.calibration_alarm_rate,
        "alarm rate": each.alarm_rate,
        "alarms per partition": each.alarms_per_partition,
        "rows that cannot be scored": each.invalid,
        "partitions it was trained on": len(each.trained_on),
        "expected cost per partition": each.cost,
        "AUROC": None if labels is None else _interval(labels, "auroc"),
        "average precision": None if labels is None else _interval(labels, "average_precision"),
        "precision, recall": None if labels is None else f"{labels.precision:.3g}, {labels.recall:.3g}",
        "largest drift since training": None
        if drift is None
        else f"{drift.column}: {drift.distance:.3f} ({drift.low:.3f} to {drift.high:.3f})",
        "rows per second": each.rows_per_s,
        "bytes": each.bytes,
    }


def _interval(labels: LabelMeasures, name: str) -> str:
    measure = getattr(labels, name)
    return f"{measure.value:.3f} ({measure.low:.3f} to {measure.high:.3f})"
