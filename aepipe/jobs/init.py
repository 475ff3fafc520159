"""Writes a first job file for a table."""

import json
import os
import re
from pathlib import Path

from aepipe.config.job import parse_job
from aepipe.errors import JobInvalid
from aepipe.jobs.inspect import infer_schema
from aepipe.storage import put_bytes
from aepipe.tables.partitions import discover
from aepipe.tables.schema_check import Column


def init(data: str | Path, *, name: str | None, job_path: Path, force: bool = False) -> Path:
    """A job file whose columns are inferred from the Parquet at `data`, and listed in it as comments.

    Raises JobInvalid where a job file is there already, DataUnreadable where there is no Parquet.
    """
    data = Path(data)
    if job_path.exists() and not force:
        raise JobInvalid(str(job_path), ["is there already; choose another with --job, or replace it with --force"])
    name = name or _name_of(data)
    relative = Path(os.path.relpath(data.resolve(), job_path.resolve().parent))
    job = parse_job({"name": name, "data": {"path": str(relative)}}, source=job_path.resolve())
    partitions = discover(job)
    schema = infer_schema(job, partitions)
    put_bytes(job_path, _text(name, relative, schema.columns).encode())
    return job_path


def _name_of(data: Path) -> str:
    stem = data.resolve().stem if data.is_file() else data.resolve().name
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:64] or "table"


def _text(name: str, data: Path, columns: tuple[Column, ...]) -> str:
    width = max(len(_key(column.name)) for column in columns)
    listed = [
        f'# {_key(column.name):<{width}} = "{column.kind}"   # {" ".join(column.why.split())}' for column in columns
    ]
    return "\n".join(
        [
            f'name = "{name}"',
            "",
            "[data]",
            f"path = {_quoted(data.as_posix())}",
            "# keys = []                 # columns that name a row: carried through, never modelled",
            "# labels = []               # columns that are the truth: carried through, never modelled",
            '# event_time = "..."        # rows are split into train, dev and calibration by it',
            "",
            "[columns]",
            "# What each column was taken for; take away the # to say otherwise:",
            "# number, category, boolean, datetime, vector, image, label, key, ignore",
            *listed,
            "",
            "[model]",
            '# family = "vae"',
            "",
            "[train]",
            '# data = "clean"            # or "polluted", where anomalies may be among the rows',
            "",
            "[calibration]",
            "# alpha = 0.01              # the share of normal rows that may be flagged",
            "",
        ]
    )


def _key(name: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_-]+", name):
        return name
    return _quoted(name)


def _quoted(text: str) -> str:
    """A TOML basic string, which is a JSON string but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
