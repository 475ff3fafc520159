"""Sections of a job about its outputs and the machines that it runs on: [output], [run], [[publish]]."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from aepipe.config.any_path import AnyPath
from aepipe.config.device import Device
from aepipe.config.retention import Retention, parse_retention
from aepipe.frozen import FrozenModel


class Output(FrozenModel):
    """Output folders, relative to the job file."""

    path: AnyPath | None = Field(
        None, description="folder of scores/, features/, samples/ and reports/; default: out/<name>"
    )
    exported: AnyPath = Field(Path("exported"), description="folder of bundles, <name>/<version>")
    keep: int | str | None = Field(
        None,
        description="outputs to keep: an age such as '90 days', or a number of partitions; `run` removes older "
        "outputs, manifests, pages and unused bundles; default: all",
    )

    @field_validator("keep", mode="before")
    @classmethod
    def _is_retention(cls, value: object) -> object:
        if isinstance(value, int | str):
            parse_retention(value)
        return value

    @property
    def retention(self) -> Retention | None:
        """Retention of the outputs; None: keep all."""
        return None if self.keep is None else parse_retention(self.keep)


class Ray(FrozenModel):
    """Ray cluster, for engine = "ray"."""

    address: str | None = Field(
        None, description="host:port of the cluster; default: RAY_ADDRESS, or Ray started on this machine"
    )
    num_cpus: float = Field(1, gt=0, description="CPU cores of a worker, which is also its number of threads")
    num_gpus: float = Field(0, ge=0, description="GPUs of a worker; .5: two workers share one")
    max_restarts: int = Field(3, ge=0, description="how often a worker that died is started again")
    max_task_retries: int = Field(3, ge=0, description="how often a partition whose worker died is scored again")


class Run(FrozenModel):
    """Compute resources."""

    device: Device = Field("auto", description="device that runs the ONNX graphs; cuda fails if no GPU is usable")
    engine: Literal["local", "processes", "ray"] = Field(
        "local", description="threads of one process, processes of this machine, or workers of a Ray cluster"
    )
    ray: Ray = Field(Ray(), description="Ray cluster, for engine = ray")
    workers: int | None = Field(None, ge=1, le=1_024, description="number of workers; default: one per core")
    batch_rows: int = Field(512, ge=1, le=1_048_576, description="rows per ONNX call on a CPU")
    memory_mb: int | None = Field(
        None,
        ge=128,
        description="memory limit of a scoring process, in MB; default: 300 plus 150 per worker, at most 2000",
    )
    public_key: Path | None = Field(
        None,
        description="PEM file of an ed25519 public key: a bundle without a valid signature by it is refused; default: "
        "every bundle is used",
    )
    gpu_memory_mb: int | None = Field(
        None,
        ge=64,
        description="GPU memory of each of two scoring sessions, in MB; batches are halved to fit; default: no limit",
    )


class Iceberg(FrozenModel):
    """Table of an Iceberg catalog."""

    catalog: str = Field("default", description="name of the catalog, as in the configuration of pyiceberg")
    table: str = Field(pattern=r"^[^.]+(\.[^.]+)+$", description="namespace and name, such as fraud.scores")
    properties: dict[str, str] = Field(
        default_factory=dict, description="properties of the catalog, such as uri and warehouse; default: pyiceberg's"
    )


class Publish(FrozenModel):
    """Table that an output is published to after its commit."""

    output: Literal["scores", "features", "samples"] = Field("scores", description="output to publish")
    delta: str | None = Field(None, description="path or URL of a Delta table; relative to the job file")
    iceberg: Iceberg | None = Field(None, description="table of an Iceberg catalog")

    @model_validator(mode="after")
    def _one_table(self) -> "Publish":
        if (self.delta is None) == (self.iceberg is None):
            raise ValueError("expected one of delta and iceberg")
        return self

    @property
    def table(self) -> str:
        """Name of the table, for messages."""
        return str(self.delta) if self.iceberg is None else self.iceberg.table
