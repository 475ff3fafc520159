"""Section [data] of a job: the source table and the roles of its columns."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from aepipe.config.any_path import SourcePath
from aepipe.frozen import FrozenModel
from aepipe.stores.table_url import IcebergName, TableUrl

ContextPart = Literal["hour", "weekday", "month"]
"""Part of the event time that a model is conditional on."""


class Data(FrozenModel):
    """Source table and the roles of its columns."""

    path: SourcePath = Field(
        description="folder of Parquet files, or one file; relative to the job file. delta://FOLDER: a Delta table; "
        "iceberg://CATALOG/NAMESPACE.TABLE: an Iceberg table"
    )
    version: int | None = Field(
        None,
        ge=0,
        exclude_if=lambda value: value is None,
        description="version of a Delta table, or snapshot of an Iceberg table; default: the newest",
    )
    catalog: dict[str, str] = Field(
        default_factory=dict,
        exclude_if=lambda value: not value,
        description="properties of the catalog of an Iceberg table, such as uri and warehouse; default: pyiceberg's",
    )
    partition: str | None = Field(None, description="key of the `key=value` partition folders; default: the keys found")
    keys: tuple[str, ...] = Field((), description="columns that identify a row: passed through, never modelled")
    labels: tuple[str, ...] = Field((), description="ground-truth columns: passed through, never modelled")
    event_time: str | None = Field(
        None, description="time column that orders rows for the split into training, dev and calibration rows"
    )
    context: tuple[ContextPart, ...] = Field(
        (),
        exclude_if=lambda value: not value,
        description="parts of the event time that the model and the score are conditional on: hour, weekday, month. A "
        "quiet Sunday is then compared with Sundays; families vae and cvae; default: none",
    )
    digests: Path | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="file of known sha256 sums of the source files, as sha256sum writes it, or Parquet or CSV with the "
        "columns path and sha256; relative to the job file. A partition with a file that differs or is not listed is "
        "quarantined; default: not compared",
    )
    entity: tuple[str, ...] = Field(
        (),
        exclude_if=lambda value: not value,
        description="column, or list of columns, that name what a row is about, such as a device: passed through, and "
        "modelled only if named under [columns]; alarms are also counted per entity",
    )

    @model_validator(mode="after")
    def _keys_of_tables(self) -> "Data":
        is_table = isinstance(self.path, TableUrl)
        if self.version is not None and not is_table:
            raise ValueError("version needs a table: expected path = delta://... or iceberg://..., got a plain path")
        if self.catalog and not isinstance(self.path, IcebergName):
            raise ValueError("catalog needs an Iceberg table: expected path = iceberg://..., got another path")
        if self.digests is not None and is_table:
            raise ValueError("digests cannot be compared with the files of a table, which it names itself. Remove it.")
        return self

    @model_validator(mode="after")
    def _context_has_a_time(self) -> "Data":
        if self.context and self.event_time is None:
            raise ValueError("context needs times: expected the column that holds them in event_time, got none")
        if len(set(self.context)) < len(self.context):
            raise ValueError(f"context has a part twice: expected each once, got {', '.join(self.context)}")
        return self

    @field_validator("entity", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @property
    def carried(self) -> tuple[str, ...]:
        """Columns that are copied to the outputs."""
        time = () if self.event_time is None else (self.event_time,)
        return tuple(dict.fromkeys((*self.keys, *self.labels, *time, *self.entity)))
