"""Demo: run the nightly flow on three real tables, and show what it found next to the baselines."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from aepipe.bundles.registry import Registry
from aepipe.cli.console import print_table, progress_bar
from aepipe.config.job import read_job
from aepipe.errors import AepipeError
from aepipe.jobs.alarm_warnings import far_above_alpha
from aepipe.jobs.evaluate.compare import Comparison, compare
from aepipe.jobs.explain import explain
from aepipe.jobs.report.report import ReportResult
from aepipe.jobs.scored_partitions import open_model
from aepipe.jobs.top_alarms import top_alarms
from aepipe.storage import PartitionResult
from aepipe.tables.entities import value_text
from flows.early_server import server_starting
from flows.engine import Unfinished
from flows.examples import EXAMPLES, ROOT, write_missing
from flows.nightly import NightlyResult, NightOptions, nightly

MOST_UNUSUAL = 3
REASONS = 2


class Found(NamedTuple):
    """Results of one example: its job, its night, and the comparison with the baselines."""

    job: Path
    night: NightlyResult
    compared: Comparison

    @property
    def rows_per_s(self) -> float:
        """Rows per second of scoring, over all nights."""
        elapsed = sum(night.elapsed_s for night in self.night.nights)
        return sum(night.rows for night in self.night.nights) / elapsed if elapsed else 0.0


def main() -> None:
    """Write missing tables, run the nightly flow on each and print the results."""
    began = time.perf_counter()
    try:
        for name, example in EXAMPLES.items():
            write_missing(example, ROOT / "data" / name)
        with server_starting():  # 10 to 15 s of CPU time in another process: the first training hides it
            _train_first(next(iter(EXAMPLES)))
        found = [_run(name) for name in EXAMPLES]
    except (AepipeError, Unfinished) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, AepipeError) else 1)
    show(found)
    print(f"\ntotal time: {time.perf_counter() - began:.0f} s")


def _train_first(name: str) -> None:
    """Train the model of an example, as its nightly flow would, unless it has one."""
    job = ROOT / "data" / name / "job.toml"
    if Registry(read_job(job).bundle_path).has_champion:
        return
    from aepipe.jobs.train.train import train  # imports torch, which a second run does not need

    print(f"== {name}: training, while Prefect starts", flush=True)
    with progress_bar(quiet=False) as progress:
        train(job, progress=progress)


def _run(name: str) -> Found:
    print(f"== {name}: the nightly flow", flush=True)
    job = ROOT / "data" / name / "job.toml"
    night = nightly(NightOptions(job=job))
    known = night.report.compared if isinstance(night.report, ReportResult) else None  # else the page was current
    return Found(job, night, known or compare(job))  # the report has compared the model with the baselines


def show(found: Sequence[Found]) -> None:
    """Print one screen: what was found, next to the best baseline, and the paths of the pages."""
    header = (
        "example", "rows", "flagged", "anomalies", "recall", "precision", "average precision", "best baseline", "rows/s"
    )  # fmt: skip
    print_table("\nWhat the nightly runs found", header, [_line(each) for each in found])
    for each in found:
        lines = [*describe_nights(each), *describe_unusual(each), *describe_samples(each.night)]
        print("\n".join([f"{each.job.parent.name}:", *(f"  {line}" for line in lines)]))
    print("open in a browser:")
    for each in found:
        if each.night.report is not None:
            print(f"  {os.path.relpath(each.night.report.path)}")
        if each.night.sample is not None and each.night.sample.report is not None:
            print(f"  {os.path.relpath(each.night.sample.report)}")


def _line(found: Found) -> tuple[object, ...]:
    evaluation = found.compared.evaluation
    ours, *baselines = evaluation.contenders
    best = max(baselines, key=lambda line: line.average_precision.value)
    return (
        f"{found.job.parent.name} ({ours.name.removeprefix('aepipe ')})",
        evaluation.rows,
        sum(night.flagged for night in found.night.nights),
        evaluation.anomalies,
        f"{ours.recall.value:.0%}",
        f"{ours.precision.value:.0%}",
        f"{ours.average_precision.value:.3f}",
        f"{best.average_precision.value:.3f} ({best.name})",
        round(found.rows_per_s),
    )


def describe_nights(found: Found) -> Iterator[str]:
    """Yield one line per night that is far above alpha, the largest share of flagged rows first."""
    calibration = open_model(read_job(found.job), "champion").bundle.calibration
    nights: list[PartitionResult] = far_above_alpha(found.night.nights, calibration)
    # each night of the other examples holds as many anomalies as the next
    if not nights or len(nights) == len(found.night.nights):
        return
    yield f"nights far above alpha ({calibration.alpha:.0%}):"
    for night in nights:
        reasons = night.details.flag_reasons
        column = max(reasons, key=reasons.__getitem__, default="no column")
        share = f"{night.flagged / night.scored:.0%} of {night.scored:,} rows flagged"
        yield f"  {night.partition}: {share}, most often because of {column}"


def describe_unusual(found: Found) -> Iterator[str]:
    """Yield one line per row with the lowest p-values: its key, and value and reconstruction of its first reasons."""
    keys = read_job(found.job).data.keys
    # a second run writes nothing, and shows the same rows
    nights = [night.model_copy(update={"status": "written"}) for night in found.night.nights if night.scores]
    unusual = top_alarms(nights, keys, most=MOST_UNUSUAL)
    explained = [explain(found.job, row=f"{alarm.partition}:{alarm.row}")[0] for alarm in unusual]
    if not explained or explained[0].kind != "table":
        return
    yield "most unusual rows:"
    for alarm, row in zip(unusual, explained, strict=True):
        reasons = [f"{line.name} {line.read} (expected {line.expected})" for line in row.columns[:REASONS]]
        yield f"  {', '.join(map(value_text, alarm.keys.values()))}: {', '.join(reasons)}"


def describe_samples(night: NightlyResult) -> Iterator[str]:
    """Yield one line about the synthetic rows."""
    if night.sample is not None and night.sample.missed:
        yield night.sample.fault
    elif night.sample is not None:
        yield f"{night.sample.rows:,} synthetic rows passed the quality checks"


if __name__ == "__main__":
    main()
