"""Formats of text files by their names."""

from collections.abc import Mapping
from pathlib import Path

FORMATS: Mapping[str, str] = {".csv": "csv", ".tsv": "csv", ".json": "json", ".ndjson": "json", ".jsonl": "json"}
"""Format by the end of a file's name; .gz may follow."""
SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods")


def format_of(path: Path) -> str | None:
    """Return csv or json by the name of a file; None for other names.

    >>> format_of(Path("a.csv.gz")), format_of(Path("a.parquet"))
    ('csv', None)
    """
    return FORMATS.get(Path(path.name.lower().removesuffix(".gz")).suffix)


def remedy_for(path: Path) -> str | None:
    """Return how to make Parquet of a file of another format; None if its name does not tell the format."""
    if path.suffix.lower() in SPREADSHEETS:
        return f"Save its sheet as CSV UTF-8, then run: aepipe convert {path.with_suffix('.csv').name} --out FOLDER"
    return None if format_of(path) is None else f"Run: aepipe convert {path} --out FOLDER"
