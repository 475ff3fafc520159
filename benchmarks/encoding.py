"""Rows per CPU second from a table's columns to network inputs: our encodings and the transformers of rdt.

python -m benchmarks.encoding [--page docs/benchmarks.md], with AEPIPE_ADULT_DATA naming adult.csv. rdt's licence (BUSL)
lets it be measured, not built on: run `pip install rdt`, or it is left out.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from aepipe.config.job import parse_job
from aepipe.encoding import Encoding, fit
from aepipe.tables.schema_check import infer
from benchmarks import adult
from benchmarks.page import measured, put_into, table

REPEATS, FEWER, SLOW_S = 7, 3, 0.5
GOAL = 100
NUMBERS, CATEGORIES, ALL = "numbers", "categories", "all columns"

PEERS: Mapping[str, Sequence[tuple[str, str]]] = {
    NUMBERS: (("FloatFormatter", "HyperTransformer"), ("ClusterBasedNormalizer", "CTGAN and TVAE")),
    CATEGORIES: (("UniformEncoder", "HyperTransformer"), ("OneHotEncoder", "CTGAN and TVAE"), ("LabelEncoder", "")),
}
"""Transformers of rdt for each kind of column, and those that it chooses by default."""
LIKE: Mapping[str, str] = {"FloatFormatter": "tensors"}
"""The encoding of aepipe that corresponds to a transformer; default: codes."""
SETS: Mapping[str, tuple[str, str]] = {
    "HyperTransformer's defaults": ("FloatFormatter", "UniformEncoder"),
    "the transformers of CTGAN and TVAE": ("ClusterBasedNormalizer", "OneHotEncoder"),
}
MISSING = "rdt is not installed, its rows are left out: pip install rdt"


class Speed(NamedTuple):
    """Rows per CPU second over all columns of a kind."""

    columns: str
    what: str
    rows: float
    compared_with: str = ""
    """for a peer: the corresponding encoding of aepipe"""


def names(source: pa.Table, kind: str) -> list[str]:
    """Return the columns of a kind."""
    of_text = [field.name for field in source.schema if pa.types.is_dictionary(field.type)]
    if kind == ALL:
        return list(source.column_names)
    return [name for name in source.column_names if (name in of_text) == (kind == CATEGORIES)]


def ours(source: pa.Table) -> Iterator[Speed]:
    """Measure aepipe's encodings, fitted once: numbers and codes as most families take them, and codes alone."""
    for kind in (NUMBERS, CATEGORIES, ALL):
        chosen = source.select(names(source, kind))
        forms = {"codes": (chosen, True)} | ({} if kind == CATEGORIES else {"tensors": (chosen, False)})
        if kind == CATEGORIES:
            forms["codes, of text that is no dictionary"] = (_as_text(chosen), True)
        for what, (form, as_codes) in forms.items():
            (batch,) = form.to_batches()
            encoding = fitted(form, as_codes=as_codes)
            yield Speed(kind, what, rows_per_second(partial(encoding.encode, batch), batch.num_rows))


def fitted(source: pa.Table, *, as_codes: bool) -> Encoding:
    """Return the encoding, fitted on all rows."""
    job = parse_job({"name": "adult", "data": {"path": "rows"}}, source=Path("job.toml"))
    return fit(infer(source.schema, job, source), source.to_batches(), as_codes=as_codes)


def peers(source: pa.Table) -> Iterator[Speed]:
    """Measure rdt's transformers, fitted once: one per column, then for whole tables."""
    transformers = importlib.import_module("rdt.transformers")
    frame = _as_text(source).to_pandas()
    for kind, known in PEERS.items():
        for name, chosen_by in known:
            seconds = sum(_of_column(getattr(transformers, name)(), frame[[column]]) for column in names(source, kind))
            what = f"{name}, the choice of {chosen_by}" if chosen_by else name
            yield Speed(kind, what, len(frame) / seconds, LIKE.get(name, "codes"))
    for what, (of_numbers, of_text) in SETS.items():
        numeric = set(names(source, NUMBERS))
        each = {name: getattr(transformers, of_numbers if name in numeric else of_text)() for name in frame}
        yield Speed(
            ALL, f"HyperTransformer with {what}", _of_table(each, numeric, frame), LIKE.get(of_numbers, "codes")
        )


def _of_column(transformer: Any, frame: Any) -> float:
    """Return the CPU seconds of one transform."""
    transformer.fit(frame, frame.columns[0])
    return len(frame) / rows_per_second(partial(transformer.transform, frame), len(frame))


def _of_table(transformers: Mapping[str, Any], numeric: set[str], frame: Any) -> float:
    whole = importlib.import_module("rdt").HyperTransformer()
    types = {name: "numerical" if name in numeric else "categorical" for name in transformers}
    whole.set_config({"sdtypes": types, "transformers": dict(transformers)})
    whole.fit(frame)
    return rows_per_second(partial(whole.transform, frame), len(frame))


def rows_per_second(call: Callable[[], object], rows: int) -> float:
    """Return rows per CPU second of all threads: the median of seven calls, three if slow, after a warm-up."""
    first = _seconds(call)
    seconds = [_seconds(call) for _ in range(REPEATS if first < SLOW_S else FEWER)]
    return rows / float(np.median(seconds))


def _seconds(call: Callable[[], object]) -> float:
    before = time.process_time()
    call()
    return time.process_time() - before


def _as_text(source: pa.Table) -> pa.Table:
    kinds = {name: pa.string() for name in names(source, CATEGORIES)}
    fields = [pa.field(field.name, kinds.get(field.name, field.type)) for field in source.schema]
    return source.cast(pa.schema(fields))


def section(speeds: Sequence[Speed], rows: int) -> str:
    """Return the table of all speeds, with the ratio of aepipe's to that of each comparable peer."""
    ratios = [ratio for speed in speeds if (ratio := times(speed, speeds)) is not None]
    verdict = ""
    if ratios:
        met = sum(ratio >= GOAL for ratio in ratios)
        verdict = (
            f" **{min(ratios):,.0f} to {max(ratios):,.0f} times rdt's rows, median {np.median(ratios):,.0f}** "
            f"(goal: {GOAL} times, met for {met} of {len(ratios)})."
        )
    lines = [
        "## Encoding",
        "",
        f"Made by `python -m benchmarks.encoding` on the {rows:,} rows of adult, 6 columns of numbers and 9 of text: "
        "what was fitted once transforms all rows, the median of seven times (three, of what takes half a second), in "
        "CPU seconds of all threads. Ours take Arrow columns, text as the dictionaries that our reader hands over; "
        "`codes` are atoms and 64 bins of numbers, and codes of text; `tensors` are float32 numbers and codes. rdt's "
        "take pandas columns; their seconds are added up over columns. FloatFormatter, which leaves numbers "
        "numeric, is compared with our tensors; the others with our codes.",
        "",
        measured() + verdict,
        "",
        *table(
            ("columns", "what", "rows per CPU second", "ratio of aepipe"),
            [_line(speed, speeds) for kind in (NUMBERS, CATEGORIES, ALL) for speed in speeds if speed.columns == kind],
        ),
    ]
    return "\n".join(lines) + "\n"


def times(speed: Speed, speeds: Sequence[Speed]) -> float | None:
    """Return aepipe's rows per second over a peer's; None for aepipe."""
    own = (each.rows for each in speeds if (each.columns, each.what) == (speed.columns, speed.compared_with))
    return next(own, 0.0) / speed.rows if speed.compared_with else None


def _line(speed: Speed, speeds: Sequence[Speed]) -> tuple[str, ...]:
    ratio = times(speed, speeds)
    name = "aepipe" if ratio is None else "rdt"
    return speed.columns, f"{name}: {speed.what}", f"{speed.rows:,.0f}", "" if ratio is None else f"{ratio:,.0f}"


def main() -> None:
    """Measure, print, and put the table into a page."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--page", type=Path, help="put the table there too, such as docs/benchmarks.md")
    page = arguments.parse_args().page
    source = adult.as_dictionaries(adult.read(adult.data_path()))
    speeds = list(ours(source))
    if importlib.util.find_spec("rdt") is None:
        print(MISSING)
    else:
        speeds += peers(source)
    text = section(speeds, source.num_rows)
    print(text)
    if page is not None:
        put_into(page, text, name="encoding")


if __name__ == "__main__":
    main()
