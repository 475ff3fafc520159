"""What `aepipe evaluate` prints: a line for each score, the model's first."""

from collections.abc import Iterator

import typer

from aepipe.cli.console import print_table
from aepipe.jobs.evaluate.evaluate import Contender, Evaluation, Measured


def show(found: Evaluation) -> None:
    """The measures as a table, and what a reader has to know of them."""
    title = (
        f"{found.anomalies:,} anomalies ({found.truth}) among {found.rows:,} rows of {_nights(len(found.partitions))}"
    )
    print_table(title, tuple(_header(found)), [tuple(_line(found, line)) for line in found.contenders])
    for note in _notes(found):
        typer.echo(note)


def _header(found: Evaluation) -> Iterator[str]:
    yield from ("score", "AUROC", "average precision", "precision", "recall", "F1", "alarms a night")
    if found.events is not None:
        yield "events found"
    if found.cost_of_silence is not None:
        yield "cost a night"


def _line(found: Evaluation, line: Contender) -> Iterator[object]:
    yield line.name
    yield from (_with_range(each) for each in (line.auroc, line.average_precision, line.precision, line.recall))
    yield line.f1
    yield round(line.alarms_per_night, 1)
    if found.events is not None:
        yield "" if line.event_recall is None else line.event_recall
    if found.cost_of_silence is not None:
        yield "" if line.cost is None else f"{line.cost:,.4g}"


def _notes(found: Evaluation) -> Iterator[str]:
    yield f"In brackets 95 % intervals: rows drawn again within each class, {found.rounds:,} times, seed {found.seed}."
    yield (
        f"Alarms of {found.model_version} at alpha {found.alpha:g}; those of the others are above thresholds that the "
        "rows set which were kept from training."
    )
    if found.rejudged:
        yield (
            f"{_nights(len(found.rejudged))} were scored under another calibration than the one in force, whose alarms "
            "these are; aepipe score writes them."
        )
    if found.events is not None:
        budget = f"{found.false_alarms_a_night:g} false alarms a night"
        yield f"Events found: share of {found.events:,} runs of anomalies with an alarm, at {budget}."
    if found.costs is not None:
        yield (
            f"Cost a night, expected where {100 * found.costs.base_rate:.3g} % of the rows are anomalies; of raising "
            f"no alarm at all: {found.cost_of_silence:,.4g}."
        )
    if found.unscored:
        yield f"{found.unscored:,} rows without a score count as rows that nothing raised an alarm for."
    if found.unlabelled:
        yield f"{found.unlabelled:,} rows without a label are left out."
    for name, why in found.left_out.items():
        yield f"{name} is left out: {why}"


def _nights(count: int) -> str:
    return f"{count:,} night{'' if count == 1 else 's'}"


def _with_range(measured: Measured) -> str:
    return f"{measured.value:.3f} ({measured.low:.3f} to {measured.high:.3f})"
