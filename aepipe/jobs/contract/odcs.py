"""Data contract in the Open Data Contract Standard (ODCS) 3.0.1: the part of it that aepipe writes and checks."""

from typing import Any

import pyarrow as pa
import pyarrow.types as pt
from pydantic import BaseModel, ConfigDict, Field

from aepipe.tables.arrow_types import plain, sort_of

API_VERSION = "v3.0.1"


class _Part(BaseModel):
    """Part of a contract; keys that aepipe does not know are kept out, so that any contract can be read."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Limits(_Part):
    """Limits of the values of a column."""

    minimum: float | str | None = None
    maximum: float | str | None = None
    exclusive_minimum: bool = Field(False, alias="exclusiveMinimum")
    exclusive_maximum: bool = Field(False, alias="exclusiveMaximum")
    min_length: int | None = Field(None, alias="minLength")
    max_length: int | None = Field(None, alias="maxLength")
    pattern: str | None = None


class Property(_Part):
    """Column of a table."""

    name: str
    logical_type: str | None = Field(None, alias="logicalType")
    physical_type: str | None = Field(None, alias="physicalType")
    description: str | None = None
    required: bool = False
    unique: bool = False
    primary_key: bool = Field(False, alias="primaryKey")
    limits: Limits = Field(Limits(), alias="logicalTypeOptions")


class Table(_Part):
    """Table of a contract."""

    name: str
    physical_name: str | None = Field(None, alias="physicalName")
    description: str | None = None
    properties: tuple[Property, ...] = ()
    quality: tuple[dict[str, Any], ...] = ()


class Contract(_Part):
    """Contract with its tables."""

    api_version: str = Field(alias="apiVersion")
    kind: str
    id: str
    version: str
    status: str
    name: str | None = None
    description: dict[str, Any] = Field(default_factory=dict)
    servers: tuple[dict[str, Any], ...] = ()
    tables: tuple[Table, ...] = Field((), alias="schema")

    def document(self) -> dict[str, Any]:
        """Return the contract as ODCS writes it, without keys that have their default."""
        fixed = {"apiVersion": self.api_version, "kind": self.kind, "id": self.id, "name": self.name}
        shown = {"version": self.version, "status": self.status, "description": self.description}
        tables = [
            {
                **table.model_dump(by_alias=True, exclude_none=True, exclude={"properties", "quality"}),
                "logicalType": "object",
                "physicalType": "table",
                "properties": [column.model_dump(by_alias=True, exclude_defaults=True) for column in table.properties],
            }
            for table in self.tables
        ]
        return {**fixed, **shown, "servers": list(self.servers), "schema": tables}


def logical_type(kind: pa.DataType) -> str | None:
    """Return the ODCS type of an Arrow type; None for types that the standard does not name, such as binary.

    >>> logical_type(pa.int8()), logical_type(pa.timestamp("us")), logical_type(pa.list_(pa.int8()))
    ('integer', 'date', 'array')
    """
    kind = plain(kind)
    match sort_of(kind):
        case "text":
            return "string"
        case "number":
            return "integer" if pt.is_integer(kind) else None if pt.is_duration(kind) else "number"
        case "boolean":
            return "boolean"
        case "time":
            return None if pt.is_time(kind) else "date"
        case "list":
            return "array"
    return "object" if pt.is_struct(kind) else None
