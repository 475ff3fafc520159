"""Write a first job file for a table."""

import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from aepipe.config.job import parse_job, read_job
from aepipe.errors import DataUnreadable, JobInvalid
from aepipe.inference.output_schema import OWN_OF_SAMPLES, SCORE_NAMES
from aepipe.jobs.column_roles import SampledGroups, readable_columns
from aepipe.jobs.init_choice import AS_PROPOSED, Choice, Draft
from aepipe.jobs.inspect import Inspection, column_gaps, infer_schema, inspect, usable_footers
from aepipe.jobs.results import Result
from aepipe.jobs.role_warnings import constant_note, kind_warnings
from aepipe.jobs.series_proposal import SeriesProposal, propose_series
from aepipe.storage import put_bytes
from aepipe.stores import StorePath
from aepipe.stores.table_url import TableUrl, source_path
from aepipe.tables.open_files import files_opened_once
from aepipe.tables.partitions import discover
from aepipe.tables.roles.proposal import Proposal
from aepipe.tables.schema_check import Column, Schema
from aepipe.tables.struct_fields import struct_of_field
from aepipe.tables.text_values import ISO, PLAIN_NUMBER, notation_of

log = logging.getLogger(__name__)


class ProposedJob(Result):
    """Path of a new job file, and what it proposes."""

    path: Path
    proposals: tuple[Proposal, ...]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the lines of a terminal summary."""
        names = {"key": "key", "event_time": "event time", "label": "label", "ignore": "ignored"}
        proposed = [f"{names[role]:<10} {column}: {why}" for column, role, why in self.proposals]
        return [*proposed, *(f"note       {note}" for note in self.notes)]


_WIDEST = 40
"""Length of the longest name that the kinds of all columns are aligned with."""


@files_opened_once()
def init(
    data: str | Path,
    *,
    name: str | None,
    job_path: Path,
    force: bool = False,
    choice: Choice = AS_PROPOSED,
    ask: Callable[[Draft], Choice] | None = None,
) -> ProposedJob:
    """Write a job file with proposed keys, event time and labels, and the inferred columns as comments.

    Args:
        data: folder of Parquet files, or one file.
        name: name of the job; None for that of the data.
        job_path: file to write.
        force: replace an existing file.
        choice: decisions in place of proposals.
        ask: called with the proposals, after `choice`; its decisions take their place.

    Raises:
        ArgumentInvalid: a decision names a column or partition that the table does not have.
        JobInvalid: the file exists already.
        DataUnreadable: there is no Parquet at `data`.
    """
    data = source_path(data)
    if job_path.exists() and not force:
        raise JobInvalid(str(job_path), ["already exists. Choose another file, or replace it with force."])
    if not isinstance(data, TableUrl) and not data.exists():
        raise DataUnreadable(f"{data} does not exist. Name a folder of Parquet files, or one file.")
    if not name:
        is_file = not isinstance(data, TableUrl) and data.is_file()
        stem = data.resolve().stem if is_file else data.resolve().name
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:64] or "table"
    relative = (
        data
        if isinstance(data, StorePath)
        else data.resolve()
        if isinstance(data, TableUrl)
        else Path(os.path.relpath(data.resolve(), job_path.resolve().parent))
    )
    job = parse_job({"name": name, "data": {"path": str(relative)}}, source=job_path.resolve())
    partitions = discover(job)
    footers, unreadable = usable_footers(partitions)
    for fault in unreadable.values():
        log.warning("%s", fault)
    schema = infer_schema(job, partitions, footers, to_train=False, to_propose=True)
    groups = SampledGroups(partitions, footers, readable_columns(schema))
    names = tuple(column.name for column in schema.columns)
    draft = Draft(names, _fit_to_train(groups.proposals(), schema.columns), partitions)
    if ask is not None:
        choice = ask(draft._replace(proposals=draft.decide(choice)))
    proposals = draft.decide(choice)
    notes = [*_column_notes(groups, proposals), *column_gaps(footers, schema), *kind_warnings(job, schema)]
    series = propose_series(partitions, schema, proposals, entity=choice.entity or ())
    if series is not None:
        notes.append(f"{series.why}: [series] scores every point; remove it to score each row by itself")
        notes += [series.without_score] if series.without_score else []
    entity, split = () if series is not None else choice.entity or (), _split_line(draft, choice)
    put_bytes(job_path, _text(name, relative, schema, proposals, series, entity=entity, split=split).encode())
    return ProposedJob(path=job_path, proposals=proposals, notes=tuple(notes))


def _column_notes(groups: SampledGroups, proposals: Sequence[Proposal]) -> Iterator[str]:
    """Yield a sentence about each column without a role that moves on, and one about those with a single value."""
    proposed = {proposal.column for proposal in proposals}
    yield from (f"column '{found.column}' {found.sentence}" for found in groups.drift() if found.column not in proposed)
    yield from constant_note(name for name in groups.constants() if name not in proposed)


class InitResult(Result):
    """Job file that was written, its proposals, and the table it describes."""

    job: Path
    name: str
    table: Inspection
    proposals: tuple[Proposal, ...]
    notes: tuple[str, ...]


def describe_job(written: ProposedJob) -> InitResult:
    """Return a new job file with its proposals, partitions and inferred columns."""
    return InitResult(
        job=written.path,
        name=read_job(written.path).name,
        table=inspect(written.path),
        proposals=written.proposals,
        notes=written.notes,
    )


def _fit_to_train(proposals: Sequence[Proposal], columns: Sequence[Column]) -> tuple[Proposal, ...]:
    return _without_empty_model(_without_taken_names(proposals, columns), columns)


def _without_taken_names(proposals: Sequence[Proposal], columns: Sequence[Column]) -> tuple[Proposal, ...]:
    """Propose to ignore columns that training refuses, since the outputs have columns of these names."""
    taken = {each.column for each in proposals if each.role in ("key", "event_time") and each.column in SCORE_NAMES}
    taken |= {column.name for column in columns if column.kind != "ignore" and column.name in OWN_OF_SAMPLES}
    why = "the outputs have a column of this name: rename it to use it"
    return (
        *(each for each in proposals if each.column not in taken),
        *(Proposal(column.name, "ignore", why) for column in columns if column.name in taken),
    )


def _without_empty_model(proposals: Sequence[Proposal], columns: Sequence[Column]) -> tuple[Proposal, ...]:
    """Drop proposals, those to ignore a column first, that would leave no column to model."""
    modelled = {column.name for column in columns if column.kind != "ignore"}
    for kept in (proposals, [each for each in proposals if each.role != "ignore"]):
        if modelled - {proposal.column for proposal in kept}:
            return tuple(kept)
    return ()


def _split_line(draft: Draft, choice: Choice) -> str:
    """Return the line with the last partition to learn from; a comment if all are learned from."""
    if choice.train_to:
        return f"to = {_quoted(choice.train_to)}  # last partition to learn from; later ones are only scored"
    if draft.split is None:
        return '# to = "..."               # last partition to learn from; default: all'
    last, count, of = draft.split
    return f"# to = {_quoted(last)}  # learn from the first {count} of {of} partitions only; default: all"


def _text(
    name: str,
    data: Path,
    schema: Schema,
    proposals: Sequence[Proposal],
    series: SeriesProposal | None,
    *,
    entity: Sequence[str],
    split: str,
) -> str:
    lengths = [len(_key(column.name)) for column in schema.columns]
    width = max((length for length in lengths if length <= _WIDEST), default=0)
    roles = {proposal.column: proposal for proposal in proposals}
    is_table = not any(column.kind in ("image", "series") for column in schema.columns)
    has_labels = is_table and series is None and any(proposal.role == "label" for proposal in proposals)
    structs = set(struct_of_field(schema.arrow).values())
    identify = series.entity if series is not None else ()
    listed = [
        f'# {_key(column.name):<{width}} = "key"   # see entity under [series]'
        if column.name in identify
        else _column_line(
            column,
            roles.get(column.name),
            width,
            is_struct=column.name in structs,
            notation=notation_of(schema.arrow.field(column.name)),
        )
        for column in (schema.columns if series is None else map(_without_text, schema.columns))
    ]
    return "\n".join(
        [
            f'name = "{name}"',
            "",
            "[data]",
            f"path = {_quoted(data.as_posix())}",
            *_role_lines(proposals, entity),
            "",
            "[columns]",
            "# Inferred kind of each column. Remove the # and edit to override:",
            "# number, category, boolean, datetime, vector, tags, items, text, waveform, image, series, label, key, "
            "ignore",
            *listed,
            *_series_lines(series),
            "",
            "[model]",
            '# family = "vae"' if series is None else '# family = "ae"            # default: a denoising autoencoder',
            "",
            "[train]",
            split,
            '# data = "clean"            # or "polluted" if some rows may be anomalies',
            "",
            "[calibration]",
            "# alpha = 0.01              # share of normal rows that may be flagged",
            "",
            "[samples]",
            f"{'' if has_labels else '# '}labels = true{'  ' if has_labels else ''}             # synthetic rows have "
            "labels too; scores never use them",
            "",
        ]
    )


def _without_text(column: Column) -> Column:
    """Return a column of a table of series, whose messages and waveforms are no channels."""
    return column.model_copy(update={"kind": "ignore"}) if column.kind in ("text", "waveform") else column


def _series_lines(series: SeriesProposal | None) -> Iterator[str]:
    """Yield the section of a table of series; nothing for other tables."""
    if series is None:
        return
    yield from ("", f"[series]  # {_one_line(series.why)}")
    yield f"entity = [{', '.join(_quoted(column) for column in series.entity)}]  # columns that identify a series"
    yield "# values = []               # columns of the channels; default: all numbers"
    yield '# step = "auto"             # or a duration such as "5min", or "row" for the order alone'
    yield '# window = "auto"           # steps of a window'


def _one_line(text: str) -> str:
    """Return text that fits into a comment of TOML, which takes no control characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _role_lines(proposals: Sequence[Proposal], entity: Sequence[str]) -> Iterator[str]:
    """Yield the keys, labels, event time and entity of `[data]`; as comments where there is none."""
    for key, role, meaning in (
        ("keys", "key", "columns that identify a row: passed through, never modelled"),
        ("labels", "label", "ground-truth columns: passed through, never modelled"),
    ):
        found = [proposal for proposal in proposals if proposal.role == role]
        yield f"{key} = [{'  # ' + meaning}" if found else f"# {key + ' = []':<25} # {meaning}"
        yield from (f"    {_quoted(proposal.column)},  # {_one_line(proposal.why)}" for proposal in found)
        yield from ["]"] if found else []
    times = [proposal for proposal in proposals if proposal.role == "event_time"]
    meaning = "orders rows for the split into train, dev, calibration"
    yield from (
        f"event_time = {_quoted(proposal.column)}  # {meaning}: {_one_line(proposal.why)}" for proposal in times
    )
    yield from [] if times else [f'# event_time = "..."        # {meaning}']
    listed = f"entity = [{', '.join(map(_quoted, entity))}]" if entity else '# entity = "..."'
    yield f"{listed:<27} # what a row is about, such as a device: alarms are also counted per entity"


def _column_line(
    column: Column, proposal: Proposal | None, width: int, *, is_struct: bool, notation: str | None
) -> str:
    """Return the line of a column: a comment, unless it is ignored, read word by word, or text is parsed."""
    name = f"{_key(column.name):<{width}}"
    if proposal is not None and proposal.role == "event_time" and notation:
        return f"{name} = {{format = {_quoted(notation)}}}   # see event_time under [data]: {_one_line(column.why)}"
    if proposal is None:
        is_proposed = column.kind in ("text", "waveform") or notation
        mark = "" if (column.kind == "ignore" and not is_struct) or is_proposed else "# "
        kind = _quoted(column.kind) if column.kind != "waveform" else "{waveform = {rate = 1.0}}"
        if notation not in (None, PLAIN_NUMBER, ISO):
            kind = f"{{kind = {kind}, format = {_quoted(notation)}}}"
        return f"{mark}{name} = {kind}   # {_one_line(column.why)}"
    if proposal.role == "ignore":
        return f'{name} = "ignore"   # {_one_line(proposal.why)}'
    kind, place = ("ignore", "event_time") if proposal.role == "event_time" else (proposal.role, f"{proposal.role}s")
    return f'# {name} = "{kind}"   # see {place} under [data]'


def _key(name: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_-]+", name):
        return name
    return _quoted(name)


def _quoted(text: str) -> str:
    """Quote as a TOML basic string, which is a JSON string except for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
