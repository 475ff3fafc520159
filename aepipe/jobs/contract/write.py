"""Contract of the outputs of a job, or of the source that its model needs."""

import uuid
from pathlib import Path

import pyarrow as pa

from aepipe.batch.block_scorer import BlockScorer
from aepipe.bundles.bundle import Bundle
from aepipe.bundles.job_bundle import open_bundle
from aepipe.config.job import Job, read_job
from aepipe.jobs.contract.odcs import API_VERSION, Contract, Limits, Property, Table, logical_type
from aepipe.jobs.contract.yaml_text import to_yaml
from aepipe.jobs.results import Result
from aepipe.storage import put_bytes
from aepipe.stores import StorePath
from aepipe.stores.table_url import DeltaPath, IcebergName
from aepipe.tables.struct_fields import struct_of_field

_SHARE = Limits(minimum=0, maximum=1)
_KNOWN: dict[str, tuple[str, bool, Limits]] = {
    "score": ("anomaly score; higher is more anomalous; null for a row that cannot be scored", False, Limits()),
    "p_value": ("share of calibration rows with a score at least as high", False, _SHARE),
    "p_extrapolated": ("the p-value is lower than the calibration rows can resolve", False, Limits()),
    "is_anomaly": ("the row is flagged", True, Limits()),
    "invalid_reason": ("reason why the row cannot be scored", False, Limits()),
    "predicted_class": ("class of the row, or unknown", False, Limits()),
    "class_confidence": ("confidence of the class", False, _SHARE),
    "model_version": ("version of the model that wrote the row", True, Limits()),
    "seed": ("seed of the set", True, Limits()),
}
"""Description, whether there is always a value, and limits of the columns that aepipe adds."""


class ContractResult(Result):
    """Contract as YAML, and the file that it was written to, if any."""

    text: str
    path: Path | None


def contract(
    job_path: str | Path, *, model: str = "champion", of_source: bool = False, output: Path | None = None
) -> ContractResult:
    """Describe scores, features and samples of a model version in the Open Data Contract Standard.

    Args:
        job_path: job file, or the folder that holds job.toml.
        model: alias or version.
        of_source: describe the source that the version needs instead.
        output: file to write; None: none.

    Raises:
        BundleNotFound: there is no such version.
    """
    job = read_job(job_path)
    bundle = open_bundle(job, model)
    found = _of_source(job, bundle) if of_source else _of_outputs(job, bundle)
    text = to_yaml(found.document())
    if output is not None:
        put_bytes(output, text.encode())
    return ContractResult(text=text, path=output)


def _of_outputs(job: Job, bundle: Bundle) -> Contract:
    schema = bundle.encoding.schema
    carried = tuple(schema.arrow.field(name) for name in schema.carried)
    tables = BlockScorer(bundle, carried, features=job.score.features).tables
    found = [
        _table(job, "scores", "anomaly score, p-value and attributions per row", tables["scores"].schema),
    ]
    if job.score.features:
        found.append(_table(job, "features", "latents per row", tables["features"].schema))
    kinds, structs = {each.name: each.kind for each in schema.columns}, set(struct_of_field(schema.arrow).values())
    sampled = [field for field in schema.arrow if field.name not in structs or kinds[field.name] != "ignore"]
    own = [pa.field("seed", pa.int64()), pa.field("model_version", pa.string())]
    found.append(_table(job, "samples", "synthetic rows", pa.schema([*sampled, *own]), has_keys=False))
    return _contract(job, bundle, "outputs", job.out_path, tuple(found))


def _of_source(job: Job, bundle: Bundle) -> Contract:
    schema = bundle.encoding.schema
    needed = {column.name for column in schema.modelled} | set(schema.carried) - set(schema.labels)
    fields = [field for field in schema.arrow if field.name in needed]
    columns = tuple(_column(field, is_key=field.name in schema.keys) for field in fields)
    table = Table(
        name=job.data_path.name or job.name,
        physical_name=str(job.data_path),
        description=f"columns that {bundle.version} reads",
        properties=columns,
    )
    return _contract(job, bundle, "source", job.data_path, (table,))


def _contract(job: Job, bundle: Bundle, what: str, folder: Path, tables: tuple[Table, ...]) -> Contract:
    return Contract(
        api_version=API_VERSION,
        kind="DataContract",
        id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://pypi.org/project/aepipe/{job.name}/{what}")),
        name=f"{job.name} {what}",
        version=bundle.path.name,
        status="active",
        description={"purpose": f"{what} of the aepipe job {job.name}, model {bundle.version}"},
        servers=({"server": "files", **server_of(folder)},),
        tables=tables,
    )


def server_of(folder: Path) -> dict[str, str]:
    """Return where a folder or table lies, in the terms of the standard, which has no type for Google Cloud Storage."""
    if isinstance(folder, IcebergName):
        return {"type": "custom", "catalog": folder.catalog, "location": str(folder), "format": "iceberg"}
    form, place = ("delta", folder.location) if isinstance(folder, DeltaPath) else ("parquet", folder)
    if not isinstance(place, StorePath):
        return {"type": "local", "path": str(place), "format": form}
    kind = {"s3": "s3", "abfs": "azure"}.get(place.place.scheme, "custom")
    return {"type": kind, "location": str(place), "format": form}


def _table(job: Job, name: str, description: str, schema: pa.Schema, *, has_keys: bool = True) -> Table:
    keys = job.data.keys if has_keys else ()
    return Table(
        name=name,
        physical_name=str(job.out_path / name),
        description=description,
        properties=tuple(_column(field, is_key=field.name in keys) for field in schema),
    )


def _column(field: pa.Field, *, is_key: bool) -> Property:
    description, is_required, limits = _KNOWN.get(field.name, (None, False, Limits()))
    return Property(
        name=field.name,
        logical_type=logical_type(field.type),
        physical_type=str(field.type),
        description=description,
        required=is_required or is_key,
        primary_key=is_key,
        limits=limits,
    )
