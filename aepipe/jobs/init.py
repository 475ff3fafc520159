"""Write a first job file for a table."""

import json
import os
import re
from pathlib import Path

from aepipe.config.job import parse_job, read_job
from aepipe.errors import JobInvalid
from aepipe.jobs.inspect import Inspection, infer_schema, inspect, read_footers
from aepipe.jobs.results import Result
from aepipe.storage import put_bytes
from aepipe.tables.partitions import discover
from aepipe.tables.schema_check import Schema
from aepipe.tables.struct_fields import struct_of_field


def init(data: str | Path, *, name: str | None, job_path: Path, force: bool = False) -> Path:
    """Write a job file that lists the inferred columns of a table as comments; return its path.

    Args:
        data: folder of Parquet files, or one file.
        name: name of the job; None for that of the data.
        job_path: file to write.
        force: replace an existing file.

    Raises:
        JobInvalid: the file exists already.
        DataUnreadable: there is no Parquet at `data`.
    """
    data = Path(data)
    if job_path.exists() and not force:
        raise JobInvalid(str(job_path), ["already exists. Choose another file, or replace it with force."])
    if not name:
        stem = data.resolve().stem if data.is_file() else data.resolve().name
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:64] or "table"
    relative = Path(os.path.relpath(data.resolve(), job_path.resolve().parent))
    job = parse_job({"name": name, "data": {"path": str(relative)}}, source=job_path.resolve())
    partitions = discover(job)
    schema = infer_schema(job, partitions, read_footers(partitions), to_train=False)
    put_bytes(job_path, _text(name, relative, schema).encode())
    return job_path


class InitResult(Result):
    """Job file that was written, and the table it describes."""

    job: Path
    name: str
    table: Inspection


def describe_job(job_path: Path) -> InitResult:
    """Return a job file with its partitions and inferred columns."""
    return InitResult(job=job_path, name=read_job(job_path).name, table=inspect(job_path))


def _text(name: str, data: Path, schema: Schema) -> str:
    columns, structs = schema.columns, set(struct_of_field(schema.arrow).values())
    width = max((len(_key(column.name)) for column in columns), default=0)
    listed = [
        f"{'' if column.kind == 'ignore' and column.name not in structs else '# '}"
        f"{_key(column.name):<{width}} = {_quoted(column.kind)}   # {_one_line(column.why)}"
        for column in columns
    ]
    return "\n".join(
        [
            f'name = "{name}"',
            "",
            "[data]",
            f"path = {_quoted(data.as_posix())}",
            "# keys = []                 # columns that identify a row: passed through, never modelled",
            "# labels = []               # ground-truth columns: passed through, never modelled",
            '# event_time = "..."        # orders rows for the split into train, dev, calibration',
            "",
            "[columns]",
            "# Inferred kind of each column. Remove the # and edit to override:",
            "# number, category, boolean, datetime, vector, image, label, key, ignore",
            *listed,
            "",
            "[model]",
            '# family = "vae"',
            "",
            "[train]",
            '# data = "clean"            # or "polluted" if some rows may be anomalies',
            "",
            "[calibration]",
            "# alpha = 0.01              # share of normal rows that may be flagged",
            "",
        ]
    )


def _one_line(text: str) -> str:
    """Return text that fits into a comment of TOML, which takes no control characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _key(name: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_-]+", name):
        return name
    return _quoted(name)


def _quoted(text: str) -> str:
    """Quote as a TOML basic string, which is a JSON string except for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
