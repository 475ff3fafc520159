"""Draw synthetic series, or single windows, of the entities of a series job, and publish them with a page of facts."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from aepipe.bundles.bundle import Bundle
from aepipe.bundles.job_bundle import open_bundle
from aepipe.config.job import Job, Samples, read_job
from aepipe.config.series import parse_duration
from aepipe.errors import ArgumentInvalid, DataUnreadable, JobInvalid, OptionInvalid, did_you_mean
from aepipe.inference.series_generator import SeriesGenerator
from aepipe.inference.window_codec import WindowCodec, refuse_family
from aepipe.jobs.lineage.emit import emit_samples
from aepipe.jobs.results import Result
from aepipe.jobs.sample.nightly_set import partition_seed
from aepipe.jobs.sample.output_rows import model_version_column
from aepipe.jobs.sample.sample import check_rows, place_of
from aepipe.jobs.sample.series_clock import SeriesClock, Start
from aepipe.jobs.train.series_rows import chosen_batches, newest, of_partitions
from aepipe.jobs.training_provenance import as_trained
from aepipe.progress import Progress, count_rows, no_progress
from aepipe.series.stage import SeriesRows, SeriesStage
from aepipe.storage import SAMPLE, Commit, Manifest, Outputs, SampleDetails, digest_of, put_if_changed, samples_page_of
from aepipe.tables.arrow_arrays import restored

CONTRACT = "sample-series/1"
WINDOW = "window"
"""Column with the number of each window of a set of single windows."""

_WINDOWS_AT_ONCE = 500


class SeriesSetResult(Result):
    """Path of a set of synthetic series."""

    path: Path
    rows: int
    seed: int
    entities: tuple[str, ...] = Field(description="entities that were drawn; one empty name without entities")
    left_out: tuple[str, ...] = Field((), description="entities with too few training steps to be drawn")
    calendar: str = Field(
        description="cycles that the series follow, such as hour of the week; the most frequent first"
    )
    model_version: str
    created: bool
    seconds: float
    report: Path | None = None

    @classmethod
    def of(
        cls, outputs: Outputs, manifest: Manifest[SampleDetails], *, page: Path, created: bool, began: float
    ) -> Self:
        """Return the result of a published set; began: time at which drawing it began."""
        details, record = manifest.details, manifest.files["samples"]
        return cls(
            path=outputs.root / record.path,
            rows=record.rows,
            seed=details.seed,
            entities=details.entities,
            left_out=details.left_out,
            calendar=details.calendar,
            model_version=manifest.model_version,
            created=created,
            seconds=time.perf_counter() - began,
            report=page if page.exists() else None,
        )


@dataclass(frozen=True, slots=True)
class SeriesRequest:
    """Request for whole series of some entities, or single windows."""

    entities: tuple[str, ...]
    """Names; empty: all that are long enough"""
    start: str | None
    """Time of the first step; None: the first step after training"""
    length: str | None
    """Duration or number of steps of each series; None: `rows` divided by the entities"""
    rows: int
    windows: int
    """Number of single windows; 0: whole series"""
    seed: int

    def __post_init__(self) -> None:
        """Raise ArgumentInvalid if two arguments exclude each other, or a length is neither a number nor a duration."""
        if self.windows < 0:
            raise ArgumentInvalid("windows", [f"expected a whole number of at least 1, got {self.windows}"])
        if self.windows and (self.start is not None or self.length is not None):
            raise ArgumentInvalid(
                "windows",
                ["are drawn at moments of the training, each as long as a window: leave out start and length"],
            )
        if self.length is not None and not self.length.isdecimal() and parse_duration(self.length) is None:
            raise ArgumentInvalid(
                "length", [f"expected a number of steps or a duration such as 7d, got '{self.length}'"]
            )

    def key(self, bundle: Bundle) -> str:
        """Return the digest of all inputs of the rows."""
        asked = (self.entities, self.start, self.length, self.rows, self.windows, self.seed)
        return digest_of(CONTRACT, bundle.version, *map(str, asked))

    def steps(self, stage: SeriesStage, *, entities: int) -> int:
        """Return the steps of each series. Raises ArgumentInvalid for a duration of fewer than one step or no time."""
        if self.length is None:
            return -(-self.rows // max(entities, 1))
        if self.length.isdecimal():
            found = int(self.length)
        elif stage.step is None or not stage.has_clock:
            raise ArgumentInvalid(
                "length", [f"expected a number of steps, since steps are no time, got '{self.length}'"]
            )
        else:
            found = (parse_duration(self.length) or 0) // stage.step
        if found < 1:
            raise ArgumentInvalid("length", [f"expected at least one step, got '{self.length}'"])
        return found


@dataclass(frozen=True, slots=True)
class SeriesSource:
    """Generator of a model, and what its rows need besides values."""

    bundle: Bundle
    stage: SeriesStage
    generator: SeriesGenerator
    clock: SeriesClock
    rows: SeriesRows
    keys: pa.Table
    """Values of the entity columns, one row for each name of `rows`"""

    def chosen(self, asked: Sequence[str]) -> tuple[str, ...]:
        """Return the entities to draw: those asked for, else all that are long enough.

        Raises:
            ArgumentInvalid: An entity is unknown or too short, or all are.
        """
        known, drawable = self.generator.steps, self.generator.histories
        for name in asked:
            if name not in known:
                hint = did_you_mean(name, sorted(known), listed=20)
                raise ArgumentInvalid("entity", [f"{self.bundle.version} was trained on no entity '{name}'{hint}"])
        short = [name for name in asked or known if name not in drawable]
        if short and (asked or not drawable):
            fault = (
                f"'{short[0]}' is too short to be drawn: expected {self.generator.fewest_steps} training steps, and a "
                f"stretch of two windows without a gap, got {known[short[0]]} steps. Train on more rows"
            )
            raise ArgumentInvalid("entity", [fault])
        return tuple(asked) or tuple(drawable)


def sample_series(
    job_path: str | Path,
    *,
    entities: Sequence[str] = (),
    start: str | None = None,
    length: str | int | None = None,
    windows: int | None = None,
    rows: int | None = None,
    seed: int | None = None,
    partition: str | None = None,
    name: str | None = None,
    model: str = "champion",
    progress: Progress | None = None,
) -> SeriesSetResult:
    """Write synthetic series of a series job to <out>/samples/<partition>, with the source's columns and types.

    Series follow the calendar of the training rows of their entity. The same model, seed and arguments give the same
    rows; a repeated call writes nothing. Columns that are not modelled are null.

    Args:
        entities: Names of entities, `a,b` for several columns; default: all that are long enough.
        start: Time of the first step; None: the first step after the training rows of each entity.
        length: Steps of each series, or a duration such as 7d; None: `rows` divided by the entities.
        windows: Number of single windows at random moments of the training, in place of whole series.
        rows: Number of rows of whole series without `length`; None: the job's.
        seed: Random seed; None: derived from the job's seed and the name of the partition.
        partition: Partition to write; None: dt=<today>.
        name: Name of the set, in place of a partition.
        model: Alias or version of the model.

    Raises:
        JobInvalid: The job is no series job, an argument is invalid, or an entity is unknown or too short.
        OptionInvalid: The family cannot draw series.
        DataUnreadable: Training rows are gone.
    """
    began, job = time.perf_counter(), read_job(job_path)
    _refuse_settings(job)
    outputs, place, bundle = Outputs(job.out_path), place_of(partition, name), open_bundle(job, model)
    refuse_family(bundle)
    chosen = partition_seed(job.samples.seed, place) if seed is None else seed
    asked = check_rows(job, rows) if length is None and windows is None else 0
    steps = None if length is None else str(length)
    request = SeriesRequest(tuple(dict.fromkeys(entities)), start, steps, asked, windows or 0, chosen)
    tell, page = progress or no_progress, job.out_path / "reports" / samples_page_of(place)
    key = request.key(bundle)
    done = outputs.manifest(SAMPLE, place)
    source = None if done is not None and done.key == key else read_source(job, bundle)
    plan = None if source is None else plan_series(source, request)
    outputs.claim(job.name)  # once nothing is refused
    with outputs.commit(SAMPLE, place, key) as commit:
        created = commit.done is None
        manifest = commit.done
        if manifest is None:
            source = source or read_source(job, bundle)
            manifest = _publish(job, commit, source, plan or plan_series(source, request), request, tell, place)
            emit_samples(job, place)
    return SeriesSetResult.of(outputs, manifest, page=page, created=created, began=began)


def _refuse_settings(job: Job) -> None:
    """Raise JobInvalid for a job of rows, and for settings of samples that series do not have."""
    if job.series is None:
        raise JobInvalid(
            str(job.source), ["is a job of rows, which has no series to draw: expected a section [series]"]
        )
    usual, names = Samples(), ("where", "shares", "constraints", "quality")
    unfit = [name for name in names if getattr(job.samples, name) != getattr(usual, name)]
    if unfit:
        fault = f"[samples] {' and '.join(unfit)} cannot apply to series, which have no conditions and no checks"
        raise JobInvalid(str(job.source), [f"{fault}: leave it out"])


def read_source(job: Job, bundle: Bundle) -> SeriesSource:
    """Read the training rows of a model again and fit the generator of its series.

    Raises:
        DataUnreadable: They are gone.
        OptionInvalid: The model is not one of a series job.
    """
    trained, stage = as_trained(bundle, job), bundle.series
    if stage is None:
        raise OptionInvalid(f"{bundle.version} was trained without [series]: expected a model of series. Train again.")
    if trained.gone:
        raise DataUnreadable(
            f"{job.data_path} has no partition {trained.gone[0]}, which {bundle.version} was trained on and series are "
            "drawn from. Restore it, or train again."
        )
    partitions, _ = newest(trained.job, trained.partitions)
    batches, numbers = [], []
    for number, partition in enumerate(partitions):
        of_partition = [batch for _, batch in chosen_batches(trained.job, stage.source.encoding.schema, (partition,))]
        batches += of_partition
        numbers.append(np.full(sum(batch.num_rows for batch in of_partition), number, np.int64))
    rows = stage.source.read(batches)
    first = np.unique(rows.entity, return_index=True)[1]
    keys = pa.Table.from_batches(batches).select(stage.source.entity).take(pa.array(first))
    clock = SeriesClock.of(stage, rows)
    on_grid = rows if stage.context else of_partitions(rows, np.concatenate(numbers))
    codec = WindowCodec(bundle, window=stage.window, device=job.run.device)
    return SeriesSource(bundle, stage, SeriesGenerator(codec, stage, on_grid), clock, rows, keys)


@dataclass(frozen=True, slots=True)
class Series:
    """Series of one entity to draw."""

    entity: str
    start: Start
    steps: int
    number: int = 0
    """Number of the first one in the set"""

    @property
    def count(self) -> int:
        """Number of series."""
        return len(self.start.numbers)


def plan_series(source: SeriesSource, request: SeriesRequest) -> list[Series]:
    """Return the series of each entity in order. Raises as `SeriesSource.chosen`, `steps` and `SeriesClock.start`."""
    names = source.chosen(request.entities)
    if not request.windows:
        steps = request.steps(source.stage, entities=len(names))
        starts = [source.clock.start(name, request.start, source.generator.model(name).end) for name in names]
        return [Series(name, start, steps) for name, start in zip(names, starts, strict=True)]
    generator = np.random.default_rng([request.seed, request.windows])
    owner = np.sort(generator.integers(len(names), size=request.windows))
    found, number = [], 0
    for at, name in enumerate(names):
        known = source.generator.model(name).starts
        firsts = known[generator.integers(len(known), size=int((owner == at).sum()))]
        for begin in range(0, len(firsts), _WINDOWS_AT_ONCE):
            part = firsts[begin : begin + _WINDOWS_AT_ONCE]
            found.append(Series(name, source.clock.starts(name, part), source.stage.window, number))
            number += len(part)
    return found


def _publish(
    job: Job,
    commit: Commit[SampleDetails],
    source: SeriesSource,
    plan: Sequence[Series],
    request: SeriesRequest,
    progress: Progress,
    place: str,
) -> Manifest[SampleDetails]:
    """Draw the planned series, write them, and publish them with their page."""
    from aepipe.report.series_sample_page import SeriesSamplePage, facts_of, render_series_sample_page  # jinja2

    sink, done, total = None, 0, sum(each.count * each.steps for each in plan)
    drawn = dict[str, list[NDArray[np.float64]]]()
    for each, batch, values in _batches(source, plan, request):
        sink = sink or commit.open("samples", batch.schema)
        sink.write(batch)
        drawn.setdefault(each.entity, []).append(values)
        done += batch.num_rows
        count_rows(progress, "sample", done)
        progress("sample", done / max(total, 1))
    generator = source.generator
    calendar = ", ".join(generator.calendars(tuple(drawn)))
    content = SeriesSamplePage(
        job=job.name,
        model_version=source.bundle.version,
        partition=place,
        written_at=datetime.now(UTC),
        rows=done,
        seed=request.seed,
        entities=len(drawn),
        calendar=calendar,
        channels=source.stage.source.channels,
        facts=facts_of(drawn, {name: generator.histories[name].values for name in drawn}),
    )
    put_if_changed(job.out_path / "reports" / samples_page_of(place), render_series_sample_page(content).encode())
    names = tuple(drawn)
    details = SampleDetails(
        rows=done,
        seed=request.seed,
        entities=names,
        left_out=() if request.entities else tuple(name for name in generator.steps if name not in names),
        calendar=calendar,
        windows=request.windows,
    )
    return commit.publish(model_version=source.bundle.version, details=details)


def _batches(
    source: SeriesSource, plan: Sequence[Series], request: SeriesRequest
) -> Iterator[tuple[Series, pa.RecordBatch, NDArray[np.float64]]]:
    """Yield the rows of each planned series, and its scaled values (B, steps, F), NaN where it has no row."""
    stage = source.stage
    schema, encoding = stage.source.encoding.schema, stage.source.encoding
    for each in plan:
        values = source.generator.draw(each.entity, each.start.numbers, each.steps, seed=request.seed + each.number)
        flat = values.reshape(-1, values.shape[2])
        mean, deviation = stage.scaling.of(each.entity)
        made = encoding.decode({"num": (flat * deviation + mean).astype(np.float32)})
        columns = dict(zip(made.schema.names, made.columns, strict=True))
        count = len(flat)
        at = source.rows.names.index(each.entity)
        for name in stage.source.entity:
            value = source.keys[name].slice(at, 1).combine_chunks()
            columns[name] = value.take(pa.array(np.zeros(count, np.int64)))
        if stage.source.time is not None:
            kind = schema.arrow.field(stage.source.time).type
            times = source.clock.times(each.entity, each.start, each.steps, seed=request.seed + each.number)
            columns[stage.source.time] = restored(times, kind)
        ordered = {
            column.name: columns.get(column.name, pa.nulls(count, schema.arrow.field(column.name).type))
            for column in schema.columns
        }
        if request.windows:
            ordered[WINDOW] = pa.array(each.number + np.repeat(np.arange(each.count), each.steps))
        ordered["seed"] = pa.array(np.full(count, request.seed, np.int64))
        ordered["model_version"] = model_version_column(source.bundle.version, count)
        numbers = (each.start.numbers[:, None] + np.arange(each.steps)).ravel()
        is_open = source.generator.is_open(each.entity, numbers)
        flat[~is_open] = np.nan
        yield each, pa.RecordBatch.from_pydict(ordered).filter(pa.array(is_open)), flat.reshape(values.shape)
