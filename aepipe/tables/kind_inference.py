"""Infer the kind of each column of a Parquet file by fixed rules; the job overrides them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from aepipe.config.data import ContextPart
from aepipe.config.job import ColumnSpec, Job, Kind
from aepipe.errors import SchemaMismatch, did_you_mean
from aepipe.tables import image_codec as image_bytes
from aepipe.tables.arrow_arrays import plain_values
from aepipe.tables.arrow_types import innermost, plain, sort_of
from aepipe.tables.list_inference import REMEDY as _REMEDY
from aepipe.tables.list_inference import ListsRefused, kind_of_lists, without_baskets
from aepipe.tables.message_text import find_messages
from aepipe.tables.roles.keys import is_identifier_text
from aepipe.tables.schema import Column, Schema
from aepipe.tables.struct_fields import struct_of_field
from aepipe.tables.text_values import (
    DATES,
    FEWEST,
    ISO,
    NUMBERS,
    PLAIN_NUMBER,
    TextGuess,
    guess_as,
    guess_notation,
    is_number_notation,
    joined_texts,
    shortened,
    text_field,
)
from aepipe.tables.waveforms import find_waveforms, is_samples

_PASSED = 'name it "key" or "label" to pass it through'
IGNORE = 'set it to "ignore" under [columns]'
_NOT_MODELLED = ("key", "label", "ignore")
_ENTITY_SORTS = ("text", "number", "boolean", "time")
_MIN_IDENTIFIER_ROWS = 100
"""Minimum number of sampled rows at which text without repetitions is taken for a row identifier."""
_SAMPLED_IMAGES = 64
_LEAST_PARSED = 0.5
"""Minimum share of sampled text that must parse if the job names the kind."""


class _Refused(Exception):
    """Fault of a column; the message continues the name of the file, `what` continues that of the column."""

    def __init__(self, field: pa.Field, what: str) -> None:
        self.what = what.removeprefix("which ")
        super().__init__(f"has column '{field.name}' ({field.type}), {what}")


class _Found(NamedTuple):
    kind: Kind
    why: str
    shape: tuple[int, ...] | None = None
    packed: bool = False
    text: TextGuess | None = None


def infer(
    arrow: pa.Schema,
    job: Job,
    sample: pa.Table | None,
    *,
    unreadable: Mapping[str, str] | None = None,
    to_train: bool = True,
    to_propose: bool = False,
) -> Schema:
    """Infer the schema of a table. A column of a type that cannot be modelled is ignored, with the reason.

    Args:
        arrow: Arrow schema of the files.
        job: settings that override the rules.
        sample: sampled rows, used to count distinct values and to read image headers; None for none.
        unreadable: columns to ignore, with the reason.
        to_train: refuse a table that no model can be trained on; False accepts one without a column to model, and
            ignores all but the first of several images or series.
        to_propose: take text as numbers or datetimes where nearly all of it parses, and ignore constants.

    Raises:
        SchemaMismatch: lists every fault.
    """
    faults = list(_unknown_names(arrow, job))
    columns: list[Column] = []
    fields: list[pa.Field] = []
    unreadable = unreadable or {}
    tops = struct_of_field(arrow)
    arrow = pa.schema(dict(zip(arrow.names, arrow, strict=True)).values())
    for field in arrow:
        try:
            reason = _reason_to_ignore(field, job, tops, unreadable)
            column, field = _column(field, job, sample, reason, to_propose=to_propose)
            columns.append(column)
        except _Refused as refused:
            faults.append(str(refused))
        fields.append(field)
    arrow = pa.schema(fields)
    if to_propose:
        columns = without_baskets(columns, arrow, sample)
    columns, more = _without_other_columns(columns, job, to_train=to_train)
    faults += more
    schema = Schema.of(columns, arrow, event_time=job.data.event_time, entity=job.data.entity)
    if not faults and not schema.described and to_train:
        faults.append(_nothing_to_model(schema))
    if faults:
        raise SchemaMismatch(str(job.data_path), faults)
    return schema


def _nothing_to_model(schema: Schema) -> str:
    """Return the sentence for a table without a modelled column; it says why its first columns are ignored."""
    ignored = [f"'{column.name}' ({column.why})" for column in schema.columns if column.kind == "ignore"]
    examples = f", such as {', '.join(ignored[:3])}" if ignored else ""
    return (
        f"has no column to model: every column is a key, a label, a condition or ignored{examples}. "
        "Set a column to number, category, datetime or text under [columns]"
    )


def _reason_to_ignore(field: pa.Field, job: Job, tops: Mapping[str, str], unreadable: Mapping[str, str]) -> str | None:
    """Return why a column is not modelled whatever its values are; None if its type decides."""
    top = tops.get(field.name)
    if field.name in unreadable:
        return unreadable[field.name]
    if top in unreadable:
        return f"a field of the column '{top}', which is not used"
    if top is None or _named_kind(field.name, job, job.columns.get(field.name, ColumnSpec())) is not None:
        return None
    kind = _named_kind(top, job, job.columns.get(top, ColumnSpec()))
    return None if kind is None else f"a field of the column '{top}', which the job names as {kind}"


def _unknown_names(arrow: pa.Schema, job: Job) -> Iterator[str]:
    named = [(name, "data.keys") for name in job.data.keys] + [(name, "data.labels") for name in job.data.labels]
    named += [(name, "[columns]") for name in job.columns]
    named += [(name, "data.entity") for name in job.data.entity]
    if job.data.event_time is not None:
        named.append((job.data.event_time, "data.event_time"))
    for name, where in named:
        if name not in arrow.names:
            yield f"has no column '{name}', which {where} names{did_you_mean(name, arrow.names)}"
    for name in dict.fromkeys(name for name in arrow.names if arrow.names.count(name) > 1):
        if job.columns.get(name, ColumnSpec()).kind != "ignore":
            yield f"has {arrow.names.count(name)} columns '{name}': rename all but one, or {IGNORE}"


def _column(
    field: pa.Field, job: Job, sample: pa.Table | None, ignored: str | None, *, to_propose: bool
) -> tuple[Column, pa.Field]:
    """Return a column and its field, which is that of the parsed values where text is parsed."""
    spec = job.columns.get(field.name, ColumnSpec())
    kind = _named_kind(field.name, job, spec)
    if field.name in job.data.entity and sort_of(field.type) not in _ENTITY_SORTS:
        raise _Refused(field, "which data.entity names: expected text, a number, a boolean or a time")
    is_sampled = sample is not None and sample.schema.names.count(field.name) == 1
    values = sample.column(field.name) if sample is not None and is_sampled else None
    if kind is not None and field.name == job.data.event_time and job.data.context:
        raise _Refused(field, f"which is a {kind}, but data.context makes it a condition: leave one of them out")
    if ignored is not None:
        found = _Found("ignore", ignored)
    elif kind is not None:
        found = _checked(field, kind, spec, values)
        if kind in _NOT_MODELLED and field.name == job.data.event_time:
            found = found._replace(text=_text_of_times(field, spec, values))
    elif field.name == job.data.event_time:
        found = _event_time(field, spec, values, job.data.context)
    elif field.name in job.data.entity:
        why = "the entity: passed through; name it under [columns] to model it too"
        found = _Found("ignore", why)
    elif field.name == job.data.partition:
        found = _Found("ignore", "the partition key")
    elif field.name.startswith("__index_level_"):
        found = _Found("ignore", "index written by pandas; name it under [columns] to use it")
    elif spec == ColumnSpec():
        try:
            found = (_proposed(values) if to_propose else None) or _by_type(field, spec, values)
        except _Refused as refused:
            found = _Found("ignore", refused.what.replace(_REMEDY, _PASSED))
    elif spec.format is not None and sort_of(field.type) == "text":
        found = _parsed(field, "datetime" if spec.format in DATES else "number", spec, values)
    else:
        found = _by_type(field, spec, values)
    kind = found.kind
    if spec.format is not None and found.text is None:
        raise _Refused(field, f"a {kind}: format is an option of text that is a number or a datetime")
    _refuse_options(field, kind, spec)
    column = Column(
        name=field.name,
        kind=found.kind,
        type=str(field.type),
        nullable=field.nullable,
        why=found.why,
        shape=found.shape,
        resize=spec.resize,
        top=spec.top,
        packed=found.packed,
        transform=spec.transform,
        tokens=spec.tokens,
        length=spec.length,
        waveform=spec.waveform,
        catalogue=spec.catalogue,
        context=job.data.context if field.name == job.data.event_time else (),
    )
    return column, field if found.text is None else text_field(field, found.text)


def _refuse_options(field: pa.Field, kind: Kind, spec: ColumnSpec) -> None:
    """Raise _Refused for options of the job that the kind does not have."""
    if kind not in ("image", "target") and (
        spec.resize or spec.top is not None or (spec.shape is not None and kind not in ("vector", "series"))
    ):
        raise _Refused(field, f"a {kind}: shape, resize and top are options of an image")
    if kind == "items" and spec.tokens is not None:
        raise _Refused(field, "a list of items: tokens is an option of text")
    if kind not in ("text", "items") and (spec.tokens is not None or spec.length is not None):
        raise _Refused(field, f"a {kind}: tokens and length are options of text")
    if kind != "items" and spec.catalogue is not None:
        raise _Refused(field, f"a {kind}: catalogue is an option of items")
    if spec.waveform is not None and kind != "waveform":
        raise _Refused(field, f"a {kind}: waveform holds options of lists of samples; correct kind, or leave it out")
    if spec.transform != "auto" and kind not in ("number", "series", "condition"):
        raise _Refused(field, f"a {kind}: transform is an option of a number")


def _event_time(
    field: pa.Field, spec: ColumnSpec, values: pa.ChunkedArray | None, context: Sequence[ContextPart]
) -> _Found:
    """Return the event time as a column that is passed through; with a context it is a condition."""
    text = _text_of_times(field, spec, values)
    if not context:
        why = "the event time: orders the rows and is passed through; name its kind under [columns] to model it too"
        return _Found("ignore", why, text=text)
    own = plain(field.type) if text is None else text.type
    if not (pt.is_timestamp(own) or pt.is_date(own)):
        raise _Refused(field, "whose parts data.context names: expected a timestamp or a date, or text with its format")
    if pt.is_date(own) and "hour" in context:
        raise _Refused(field, "which has no hour, but data.context names it: leave hour out")
    return _Found("condition", f"the event time: the model is conditional on its {' and '.join(context)}", text=text)


def _text_of_times(field: pa.Field, spec: ColumnSpec, values: pa.ChunkedArray | None) -> TextGuess | None:
    """Return how text of an event time is parsed; None unless the job names its format."""
    if sort_of(field.type) not in ("time", "number", "text"):
        raise _Refused(field, "which data.event_time names: expected a timestamp, a date or a number")
    if spec.format is None or sort_of(field.type) != "text":
        return None
    return _parsed(field, "number" if is_number_notation(spec.format) else "datetime", spec, values).text


def _named_kind(name: str, job: Job, spec: ColumnSpec) -> Kind | None:
    if spec.kind is not None:
        return spec.kind
    if spec.waveform is not None:
        return "waveform"
    if name in job.data.keys:
        return "key"
    return "label" if name in job.data.labels else None


def _checked(field: pa.Field, kind: Kind, spec: ColumnSpec, values: pa.ChunkedArray | None) -> _Found:
    if kind in _NOT_MODELLED:
        return _Found(kind, "named in the job")
    if kind in ("image", "target"):
        return _image(field, spec, values)._replace(kind=kind)
    if kind in ("vector", "series"):
        return _lists(field, spec, values)
    if kind in ("number", "datetime") and sort_of(field.type) == "text":
        return _parsed(field, kind, spec, values)
    if kind == "waveform":
        if not is_samples(field.type):
            raise _Refused(field, f"which cannot be a waveform: expected lists of numbers, or {_REMEDY}")
        return _Found(kind, "named in the job")
    if kind == "tags":
        if not _is_tags(field.type):
            raise _Refused(field, f"which cannot be tags: expected lists of text of any length, or {_REMEDY}")
        return _Found(kind, "named in the job")
    if kind == "items":
        if not _is_items(field.type):
            raise _Refused(field, f"which cannot be items: expected lists of text or integers, or {_REMEDY}")
        return _Found(kind, "named in the job")
    allowed = _ALLOWED[kind]
    own = plain(field.type)
    loses_as_text = pt.is_timestamp(own) or pt.is_time(own) or pt.is_duration(own)  # the zone or the unit
    if sort_of(field.type) not in allowed or (kind == "category" and loses_as_text):
        raise _Refused(field, f"which cannot be a {kind}: {_INSTEAD.get(sort_of(field.type), _REMEDY)}")
    return _Found(kind, "named in the job")


def _parsed(field: pa.Field, kind: Kind, spec: ColumnSpec, values: pa.ChunkedArray | None) -> _Found:
    """Return text as numbers or datetimes of the job's notation, if at least half of the sampled values parse."""
    notation = spec.format or (PLAIN_NUMBER if kind == "number" else ISO)
    if not (is_number_notation(notation) if kind == "number" else notation in DATES):
        known = "one of " + ", ".join(NUMBERS if kind == "number" else DATES)
        known += ', with a currency or percent sign if the text has one, such as "$1,234.5"' if kind == "number" else ""
        raise _Refused(field, f"whose format '{notation}' is unknown: expected {known}")
    texts = pa.array([], pa.string()) if values is None else joined_texts(values)
    guess = guess_as(texts, notation)
    if guess.share < _LEAST_PARSED:
        other = guess_notation(texts, least=_LEAST_PARSED)
        remedy = f'set format = "{other.notation}"' if other and other.kind == kind else 'name it "category"'
        found = f"{guess.share:.0%} of the text is written as {notation}"
        raise _Refused(field, f"which cannot be a {kind}: {found}. Expected half: {remedy}, or correct it")
    return _Found(kind, f"named in the job; {guess.share:.2%} of the sampled text is written as {notation}", text=guess)


def _proposed(values: pa.ChunkedArray | None) -> _Found | None:
    """Propose a kind for constants, messages, waveforms and text that is written as values; None for others."""
    if values is not None and sort_of(values.type) == "list":
        waves = find_waveforms(values)
        return None if waves is None else _Found("waveform", waves.why)
    if values is None or len(values) < FEWEST or sort_of(values.type) not in ("number", "text", "boolean", "time"):
        return None
    plains = _plain(values)
    if plains.null_count == len(plains):
        return _Found("ignore", f"missing: all {len(values):,} sampled values are null")
    if plains.null_count == 0 and pc.count_distinct(plains).as_py() == 1:
        return _Found("ignore", f"constant: all {len(values):,} sampled values are {shortened(plains[0].as_py())}")
    guess = guess_notation(joined_texts(values)) if sort_of(values.type) == "text" else None
    if guess is None:
        messages = find_messages(plains) if sort_of(values.type) == "text" else None
        if messages is None:
            return None
        found = f"{messages.distinct:,} distinct values of {messages.words:g} words in {messages.texts:,} sampled rows"
        return _Found("text", f"messages: {found}, read word by word")
    example = shortened(next(text for text in plains.to_pylist() if text and text.strip()))
    return _Found(
        guess.kind, f"text; {guess.share:.2%} of it is written as {guess.notation}, such as {example}", text=guess
    )


_ALLOWED: dict[Kind, tuple[str, ...]] = {
    "number": ("number", "boolean"),
    "category": ("text", "number", "boolean", "time", "null"),
    "text": ("text",),
    "boolean": ("boolean",),
    "datetime": ("time",),
    "condition": ("text", "number", "boolean", "time"),
}
_INSTEAD = {
    "text": 'name it "category", or write it in the wanted type',
    "boolean": 'name it "boolean", "category" or "number"',
    "time": 'name it "datetime"',
    "number": 'name it "number" or "category"',
}


def _by_type(field: pa.Field, spec: ColumnSpec, values: pa.ChunkedArray | None) -> _Found:
    sort = sort_of(field.type)
    if pt.is_dictionary(field.type) and sort in ("text", "number", "boolean"):
        return _category(field, values)
    if sort == "number":
        return _Found("number", f"{field.type}")
    if sort == "boolean":
        return _Found("boolean", f"{field.type}")
    if sort == "time":
        return _Found("datetime", f"{field.type}")
    if sort == "text":
        return _category(field, values)
    if sort == "null":
        return _Found("ignore", "all values are null")
    if pt.is_struct(field.type) and field.type.num_fields:
        return _Found("ignore", "a struct: its fields are columns of their own")
    if isinstance(field.type, pa.UuidType) and spec.shape is None:
        return _Found("ignore", f"UUIDs identify rows: {_PASSED}")
    if sort == "bytes" or (sort == "list" and spec.shape is not None):
        return _image(field, spec, values)
    if sort == "list" and _is_tags(field.type):
        return _Found("tags", "lists of text: one feature for each frequent member")
    if sort == "list":
        return _lists(field, spec, values)
    raise _Refused(field, f"which no kind can model: {_REMEDY}")


def _is_tags(kind: pa.DataType) -> bool:
    """Return True for lists of text of varying length."""
    kind = plain(kind)
    return pt.is_list(kind) and sort_of(kind.value_type) == "text"


def _is_items(kind: pa.DataType) -> bool:
    """Return True for lists of text or integers of varying length."""
    kind = plain(kind)
    return pt.is_list(kind) and (sort_of(kind.value_type) == "text" or pt.is_integer(plain(kind.value_type)))


def _category(field: pa.Field, values: pa.ChunkedArray | None) -> _Found:
    if values is None:
        return _Found("category", f"{field.type}")
    texts = _plain(values)
    rows = len(texts) - texts.null_count
    distinct = pc.count_distinct(texts).as_py()
    if distinct == rows >= _MIN_IDENTIFIER_ROWS:
        why = f"all {rows:,} sampled values differ, so it seems to identify rows"
        return _Found("ignore", f'{why}; name it "key" to pass it through, or "category"')
    if 2 * distinct > rows > 1 and is_identifier_text(texts):
        return _Found("ignore", 'UUIDs or hashes, which identify; name it "key" to pass it through, or "category"')
    return _Found("category", f"{field.type} with {distinct:,} distinct values in {len(texts):,} sampled rows")


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([plain_values(chunk) for chunk in values.chunks], plain(values.type))


def _lists(field: pa.Field, spec: ColumnSpec, values: pa.ChunkedArray | None) -> _Found:
    asked: Literal["vector", "series"] | None = spec.kind if spec.kind in ("vector", "series") else None
    try:
        found = kind_of_lists(field.type, values, asked=asked, shape=spec.shape)
    except ListsRefused as refused:
        raise _Refused(field, str(refused)) from None
    return _Found(found.kind, found.why, found.shape)


def _image(field: pa.Field, spec: ColumnSpec, values: pa.ChunkedArray | None) -> _Found:
    sort = sort_of(field.type)
    if sort not in ("bytes", "list") or (sort == "list" and not pt.is_integer(innermost(field.type))):
        raise _Refused(field, "which cannot be an image: expected raw bytes, lists of integers, or PNG or JPEG bytes")
    if spec.shape is not None and (len(spec.shape) != 3 or min(spec.shape) < 1):
        raise _Refused(field, f"whose shape is invalid: expected [channels, height, width], got {list(spec.shape)}")
    formats, shape = _pictures(values) if pt.is_binary(plain(field.type)) else ("", None)
    if spec.shape is not None:
        return _shaped_image(field, spec.shape, formats)
    if shape is None:
        example = f'{field.name} = {{kind = "image", shape = [1, 28, 28]}}'
        raise _Refused(field, f"raw bytes or numbers of unknown shape: write {example} under [columns], or {_REMEDY}")
    size = "x".join(map(str, shape))
    why = f"{formats} bytes; most of the first images are {size} (channels x height x width)"
    return _Found("image", why, shape, packed=True)


def _shaped_image(field: pa.Field, shape: tuple[int, ...], formats: str) -> _Found:
    pixels = shape[0] * shape[1] * shape[2]
    kind = plain(field.type)
    size = (
        kind.byte_width if pt.is_fixed_size_binary(kind) else kind.list_size if pt.is_fixed_size_list(kind) else pixels
    )
    nested = pt.is_fixed_size_list(kind) and sort_of(kind.value_type) == "list"
    if not formats and not nested and size != pixels:
        raise _Refused(
            field, f"whose rows hold {size} pixels, but the job's shape {list(shape)} has {pixels}: correct the shape"
        )
    if formats and not image_bytes.can_decode(shape[0]):
        raise _Refused(
            field, f"{formats} bytes, which have 1, 2, 3 or 4 channels: the job's shape {list(shape)} has {shape[0]}"
        )
    why = "the job gives its shape" + (f"; {formats} bytes" if formats else "")
    return _Found("image", why, shape, packed=bool(formats))


def _pictures(values: pa.ChunkedArray | None) -> tuple[str, tuple[int, ...] | None]:
    """Return the formats of the first values if most of them are images, and their most frequent shape."""
    if values is None:
        return "", None
    contents = _plain(values).drop_null().slice(0, _SAMPLED_IMAGES).to_pylist()
    formats = [name for content in contents if (name := image_bytes.format_of(content))]
    if 2 * len(formats) <= len(contents):  # a bright row of raw pixels starts with the bytes of a JPEG header
        return "", None
    shapes = [shape for content in contents if (shape := image_bytes.shape_of(content))]
    return " and ".join(sorted(set(formats))), max(shapes, key=shapes.count, default=None)


def _without_other_columns(columns: list[Column], job: Job, *, to_train: bool) -> tuple[list[Column], list[str]]:
    """Ignore all other columns of an image or series; a column that the job names is a fault, as is a second image."""
    alone = [column for column in columns if column.kind in ("image", "series")]
    faults = list(_target_faults(columns))
    if not alone:
        return columns, faults
    reason = f"the {alone[0].kind} '{alone[0].name}' is modelled alone"
    if len(alone) > 1 and to_train:
        both = " and ".join(f"{column.kind} '{column.name}'" for column in alone[:2])
        return columns, [*faults, f"has {both}, but a model takes one: {_REMEDY} all but one"]
    kept = []
    for column in columns:
        is_other = column.kind not in ("image", "series", "target", "condition", "key", "label", "ignore")
        is_other |= column in alone[1:]
        if is_other and _named_kind(column.name, job, job.columns.get(column.name, ColumnSpec())):
            faults.append(f"has column '{column.name}', but {reason}: {_REMEDY}")
        ignored = {"kind": "ignore", "why": reason}
        kept.append(column.model_copy(update=ignored) if is_other else column)
    return kept, faults


def _target_faults(columns: list[Column]) -> Iterator[str]:
    targets, images = ([column for column in columns if column.kind == kind] for kind in ("target", "image"))
    if not targets:
        return
    if not images:
        yield f"has the target '{targets[0].name}' but no image: a target replaces the image as the output"
    elif (targets[0].shape or ())[1:] != (images[0].shape or ())[1:]:
        yield f"has the target '{targets[0].name}' whose height and width differ from the image '{images[0].name}'"
    if len(targets) > 1:
        clause = f"but an image has one target: {_REMEDY} all but one"
        yield f"has the targets '{targets[0].name}' and '{targets[1].name}', {clause}"
