"""Terminal output of `aepipe evaluate`: one line per score, the model's first."""

from collections.abc import Iterator

from aepipe.cli.console import print_table, print_text
from aepipe.jobs.evaluate.evaluate import Contender, Evaluation


def show(found: Evaluation) -> None:
    """Print the measures as a table, then notes on how to read them."""
    title = (
        f"{found.anomalies:,} anomalies ({found.truth}) among {found.rows:,} rows of {_nights(len(found.partitions))}"
    )
    header = ["score", "AUROC", "average precision", "precision", "recall", "F1", "alarms per night"]
    if found.events is not None:
        header.append("events found")
    if found.contenders[0].vus_pr is not None:
        header.append("VUS-PR")
    if found.cost_of_silence is not None:
        header.append("cost per night")
    print_table(title, header, [tuple(_cells(found, line)) for line in found.contenders])
    for note in _notes(found):
        print_text(note)


def _cells(found: Evaluation, line: Contender) -> Iterator[object]:
    yield line.name
    for measured in (line.auroc, line.average_precision, line.precision, line.recall):
        yield f"{measured.value:.3f} ({measured.low:.3f} to {measured.high:.3f})"
    yield line.f1
    yield round(line.alarms_per_night, 1)
    if found.events is not None:
        yield "" if line.event_recall is None else line.event_recall
    if found.contenders[0].vus_pr is not None:
        yield "" if line.vus_pr is None else round(line.vus_pr, 3)
    if found.cost_of_silence is not None:
        yield "" if line.cost is None else f"{line.cost:,.4g}"


def _notes(found: Evaluation) -> Iterator[str]:
    yield from (f"Note: {warning}" for warning in found.warnings)
    yield f"In brackets: 95 % intervals from {found.rounds:,} stratified bootstrap resamples, seed {found.seed}."
    yield (
        f"Alarms of {found.model_version} at alpha {found.alpha:g}; thresholds of the baselines come from the "
        "calibration rows."
    )
    if found.rejudged:
        yield (
            f"{_nights(len(found.rejudged))} were scored under another calibration than the active one, which the "
            "alarms here use. Run aepipe score to update them."
        )
    if found.events is not None:
        what = "false alarms" if found.contenders[0].vus_pr is None else "false episodes"
        budget = f"{found.false_alarms_a_night:g} {what} per night"
        yield f"Events found: share of {found.events:,} runs of anomalies with an alarm, at {budget}."
    if found.costs is not None:
        yield (
            f"Cost per night: expected if {100 * found.costs.base_rate:.3g} % of the rows are anomalies; "
            f"{found.cost_of_silence:,.4g} without any alarm."
        )
    if found.unscored:
        yield f"{found.unscored:,} rows without a score count as rows without an alarm."
    if found.unlabelled:
        yield f"{found.unlabelled:,} rows without a label are omitted."
    for name, why in found.left_out.items():
        yield f"{name} is omitted: {why}"


def _nights(count: int) -> str:
    return f"{count:,} night{'' if count == 1 else 's'}"
