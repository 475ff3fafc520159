"""The job file: one TOML file that says everything about a pipeline."""

import difflib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from aepipe.config.cost_table import Costs
from aepipe.config.device import Device as Device
from aepipe.config.sample_requirements import Constraint, Quality, check_shares
from aepipe.errors import JobInvalid
from aepipe.frozen import FrozenModel

Kind = Literal[
    "number",
    "category",
    "boolean",
    "datetime",
    "vector",
    "image",
    "series",
    "condition",
    "target",
    "label",
    "key",
    "ignore",
]


class Data(FrozenModel):
    """Where the table is and which columns are not features."""

    path: Path = Field(description="a folder of Parquet files, or one file; relative to the job file")
    partition: str | None = Field(None, description="key of the `key=value` folders; none: as found")
    keys: tuple[str, ...] = Field((), description="columns that name a row: carried through, never modelled")
    labels: tuple[str, ...] = Field((), description="columns that are the truth: carried through, never modelled")
    event_time: str | None = Field(None, description="column by which rows are split into train, dev and calibration")


class ColumnSpec(FrozenModel):
    """What the job says of one column, where the Parquet schema does not say it."""

    kind: Kind | None = Field(None, description="none: inferred from the Arrow type")
    shape: tuple[int, ...] | None = Field(
        None, description="of an image without a header: [channels, height, width]; of a series: [steps, channels]"
    )
    resize: bool = Field(False, description="resize images of other sizes; otherwise they are refused")
    top: int | None = Field(None, ge=1, le=255, description="greatest value of a pixel, where it is not 255")
    transform: Literal["auto", "linear", "log"] = Field("auto", description="of a number or a series, before scaling")


class Model(BaseModel):
    """Family and trunk; every other key is an option of one of them, validated when the model is built."""

    model_config = ConfigDict(frozen=True, extra="allow")

    family: str = Field("vae", description="ae, vae or pca: a file of aepipe/models/families")
    trunk: str | None = Field(None, description="mlp, conv or recurrent; none: the one that fits the data")

    @property
    def options(self) -> dict[str, Any]:
        """The keys that belong to the family or the trunk, as they stand in the file."""
        return dict(self.model_extra or {})


TRIM_OF_POLLUTED = 0.3


class Train(FrozenModel):
    """Which rows are learned from, and how long."""

    model_config = ConfigDict(populate_by_name=True)

    first: str | None = Field(None, alias="from", description="first partition, such as dt=2026-01-01; none: all")
    last: str | None = Field(None, alias="to", description="last partition, inclusive; none: all")
    where: str | None = Field(None, description="only rows for which this holds, such as diagnosis = 'benign'")
    data: Literal["clean", "polluted"] = Field("clean", description="whether the rows are known to be normal")
    trim: float | None = Field(
        None,
        ge=0,
        le=0.5,
        description="share of the rows, those rebuilt worst, that an epoch leaves out; none: 0.3 if polluted, else 0",
    )
    epochs: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="at most; early stopping usually ends before; none: what suits the family, 200 for most",
    )
    batch_rows: int = Field(256, ge=1, description="rows of a step at most; few rows take smaller steps")
    learning_rate: float | None = Field(
        None, gt=0, le=10, description="of AdamW at the start, halved on plateaus; none: what suits the network"
    )
    weight_decay: float = Field(0.0, ge=0, description="of AdamW")
    patience: int = Field(20, ge=1, description="epochs without a better dev loss before stopping")
    max_rows: int = Field(1_000_000, ge=10, description="more rows are sampled down to this many")
    memory_mb: int = Field(4_096, ge=1, description="what rows may take while they are learned from; more: as above")
    seed: int = Field(0, ge=0, description="of weights, batches and noise: the same seed gives the same model")
    alias: str = Field("champion", pattern=r"^[a-z][a-z0-9_-]*$", description="the name that a new bundle is given")

    @property
    def trimmed(self) -> float:
        """The share of the rows that an epoch leaves out."""
        if self.trim is None:
            return TRIM_OF_POLLUTED if self.data == "polluted" else 0.0
        return self.trim


class Calibration(FrozenModel):
    """What counts as an alarm."""

    alpha: float = Field(
        0.01,
        gt=0,
        lt=1,
        description="share of normal rows that may be flagged; of all rows, where [train] data is polluted",
    )
    false_alarm_cost: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="of looking at a normal row; with the next two it chooses alpha"
    )
    miss_cost: float | None = Field(None, ge=0, allow_inf_nan=False, description="of an anomaly that is not flagged")
    base_rate: float | None = Field(None, gt=0, lt=1, description="share of anomalies among all rows")
    capacity: int | None = Field(None, ge=1, description="alarms a night that can be looked at; none: any number")
    adaptive: bool = Field(
        False, description="is_anomaly keeps to a share of alpha on a stream that drifts, night after night"
    )

    @model_validator(mode="after")
    def _costs_are_complete(self) -> "Calibration":
        table = {"false_alarm_cost": self.false_alarm_cost, "miss_cost": self.miss_cost, "base_rate": self.base_rate}
        absent = [name for name, value in table.items() if value is None]
        if absent and len(absent) < len(table):
            raise ValueError(f"a cost table needs {' and '.join(absent)} too")
        if self.false_alarm_cost == 0 and self.miss_cost == 0:
            raise ValueError(
                "where neither a false alarm nor a miss costs anything, no threshold is better than another"
            )
        return self

    @property
    def costs(self) -> Costs | None:
        """The cost table, where there is one."""
        if self.false_alarm_cost is None or self.miss_cost is None or self.base_rate is None:
            return None
        return Costs(false_alarm=self.false_alarm_cost, miss=self.miss_cost, base_rate=self.base_rate)

    @property
    def selects_alpha(self) -> bool:
        """Whether alpha is chosen by what it brings, and not asked for alone."""
        return self.costs is not None or self.capacity is not None


LABELLED = "labelled"
"""What `[score] head` says where labels have to choose among the heads."""


class Score(FrozenModel):
    """Which partitions are scored, and what is written for each row."""

    model_config = ConfigDict(populate_by_name=True)

    first: str | None = Field(None, alias="from", description="first partition that is scored; none: all")
    last: str | None = Field(None, alias="to", description="last partition that is scored, inclusive; none: all")
    head: str = Field(
        "auto",
        description="a file of aepipe/heads; auto: knn_with_row if clean, else consensus; labelled: the best of all by "
        "[evaluate] anomaly, on rows kept from training",
    )
    reasons: int = Field(3, ge=0, le=20, description="how many columns are named as the reason of a score")
    classes: str | None = Field(
        None, description="a label whose classes are told apart by the latents; rows of none of them are unknown"
    )
    max_invalid_share: float = Field(0.1, ge=0, le=1, description="above it, the partition stops")
    features: bool = Field(True, description="write the latents too")
    clusters: bool = Field(
        False, description="features name each row's component of the latents' mixture, and the distance to its centre"
    )


class Samples(FrozenModel):
    """Synthetic rows."""

    rows: int = Field(1_000, ge=0, description="how many; 0: none in a night")
    prior: Literal["mixture", "normal"] = Field("mixture", description="what latents are drawn from")
    where: str | None = Field(
        None, description="only at conditions for which this holds, such as kind = 'boot'; none: as in training"
    )
    components: int = Field(20, ge=1, le=256, description="of the mixture fitted on the training latents")
    seed: int = Field(0, ge=0, description="with the partition's name it makes the seed of a set of samples")
    shares: dict[str, dict[str, float]] = Field(
        default_factory=dict,
        description='of the values of one column, such as {income = {">50K" = 0.5}}; other values share the rest',
    )
    constraints: tuple[Constraint, ...] = Field((), description="what holds for every row")
    quality: Quality = Field(Quality(), description="what a set must be like to be published")

    @field_validator("shares")
    @classmethod
    def _shares_of_one_column(cls, value: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        return check_shares(value)


class Evaluate(FrozenModel):
    """What the labels say; used to judge the scores, never to train."""

    anomaly: str | None = Field(None, description="rows for which this holds are anomalies, such as digit = 9")


class Output(FrozenModel):
    """Where things go; relative to the job file."""

    path: Path | None = Field(
        None, description="scores/, features/, samples/ and reports/ lie below it; none: out/<name>"
    )
    exported: Path = Field(Path("exported"), description="bundles lie below it, as <name>/<version>")


class Run(FrozenModel):
    """The machine."""

    device: Device = Field("auto", description="where graphs run; cuda is refused where it cannot be had")
    engine: Literal["local"] = Field("local", description="who runs the partitions")
    workers: int | None = Field(None, ge=1, description="none: one a core")
    batch_rows: int = Field(2_048, ge=1, le=1_048_576, description="rows of one call of the graph on a CPU")
    memory_mb: int | None = Field(
        None, ge=128, description="how much a scoring process may hold; none: 300 and 150 a worker, 2000 at most"
    )
    gpu_memory_mb: int | None = Field(
        None,
        ge=64,
        description="what each of two sessions may take of a GPU in scoring, batches are halved to fit; none: all",
    )


class Job(FrozenModel):
    """A pipeline: what to read, what to learn, what to write."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", description="letters, digits, - and _")
    data: Data
    columns: dict[str, ColumnSpec] = Field(default_factory=dict)
    model: Model = Model()
    train: Train = Train()
    calibration: Calibration = Calibration()
    score: Score = Score()
    samples: Samples = Samples()
    evaluate: Evaluate = Evaluate()
    output: Output = Output()
    run: Run = Run()
    source: Path = Field(Path("job.toml"), exclude=True, description="the file that this job was read from")

    @field_validator("columns", mode="before")
    @classmethod
    def _kind_by_name(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {name: {"kind": spec} if isinstance(spec, str) else spec for name, spec in value.items()}

    @model_validator(mode="after")
    def _one_role_a_column(self) -> "Job":
        roles: dict[str, str] = {}
        named = [(name, "key") for name in self.data.keys] + [(name, "label") for name in self.data.labels]
        named += [(name, spec.kind) for name, spec in self.columns.items() if spec.kind is not None]
        for name, role in named:
            if roles.setdefault(name, role) != role:
                raise ValueError(f"column '{name}' is named both as {roles[name]} and as {role}")
        return self

    @property
    def uses_labels(self) -> bool:
        """Whether anything is asked for that labels choose: a threshold by its costs, or a head."""
        return self.calibration.costs is not None or self.score.head == LABELLED

    @property
    def data_path(self) -> Path:
        return self._from_job(self.data.path)

    @property
    def out_path(self) -> Path:
        return self._from_job(self.output.path or Path("out", self.name))

    @property
    def exported_path(self) -> Path:
        return self._from_job(self.output.exported)

    @property
    def bundle_path(self) -> Path:
        """The folder of this job's versions, `exported/<name>`."""
        return self.exported_path / self.name

    def _from_job(self, path: Path) -> Path:
        return Path(path) if path.is_absolute() else (self.source.parent / path).resolve()


def read_job(path: str | Path) -> Job:
    """The job of a TOML file.

    Raises JobInvalid with every fault of the file, each with its line or its key.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "job.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise JobInvalid(str(path), ["there is no such file; `aepipe init DATA` writes one"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise JobInvalid(str(path), [f"cannot be read as text: {error}"]) from None
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise JobInvalid(str(path), [f"is not TOML: {error}"]) from None
    return parse_job(raw, source=path.resolve(), text=text)


def parse_job(raw: dict[str, Any], *, source: Path, text: str = "") -> Job:
    """The job of a parsed TOML document; `text` lets faults name their line. Raises JobInvalid."""
    if "source" in raw:
        raise JobInvalid(str(source), [f"{_place(('source',), text)}unknown key 'source'"])
    try:
        return Job.model_validate({**raw, "source": source})
    except ValidationError as error:
        raise JobInvalid(str(source), list(_faults(error, text))) from None


def _faults(error: ValidationError, text: str) -> Iterator[str]:
    for fault in error.errors():
        path = tuple(str(part) for part in fault["loc"])
        place = _place(path, text)
        if fault["type"] == "extra_forbidden":
            yield f"{place}unknown key '{path[-1]}'{_did_you_mean(path)}"
        elif fault["type"] == "missing":
            yield f"{place}'{'.'.join(path)}' is needed and absent"
        else:
            message = fault["msg"].removeprefix("Value error, ")
            found = "" if isinstance(fault["input"], dict) or not path else f", found {fault['input']!r}"
            yield f"{place}{'.'.join(path) + ': ' if path else ''}{message}{found}"


def _did_you_mean(path: tuple[str, ...]) -> str:
    known = _known_keys(path[:-1])
    near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
    if near:
        return f", did you mean '{near[0]}'?"
    return f"; known are {', '.join(sorted(known))}" if known else ""


def _known_keys(path: tuple[str, ...]) -> list[str]:
    model: type[BaseModel] = Job
    for part in path:
        field = model.model_fields.get(part)
        if model is Job and part == "columns":
            model = ColumnSpec
        elif field is not None:
            kinds = (field.annotation, *get_args(field.annotation))  # of a section, or of each of several
            model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return [field.alias or name for name, field in model.model_fields.items() if name != "source"]


def _place(path: tuple[str, ...], text: str) -> str:
    """`line 7: ` where the key stands in the file, or nothing."""
    if not path:
        return ""
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            section = stripped.strip("[]").strip()
            if tuple(section.split(".")) == path:
                return f"line {number}: "
        elif "=" in stripped:
            key = stripped.split("=", 1)[0].strip().strip("\"'")
            dotted = tuple(part.strip("\"'") for part in f"{section}.{key}".strip(".").split("."))
            if dotted == path[: len(dotted)]:
                return f"line {number}: "
    return ""
