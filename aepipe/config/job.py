"""Job file: one TOML file that configures a pipeline."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from aepipe.config.alerts import Alerts
from aepipe.config.calibration import Calibration as Calibration
from aepipe.config.data import Data as Data
from aepipe.config.device import Device as Device
from aepipe.config.drift import Drift
from aepipe.config.privacy import privacy_faults
from aepipe.config.promotion import Promotion
from aepipe.config.run_sections import Output, Publish, Run
from aepipe.config.samples import Samples as Samples
from aepipe.config.search import Search, search_faults
from aepipe.config.series import Series, series_faults, with_series_defaults
from aepipe.config.text import TokenKind
from aepipe.config.toml_file import read_toml
from aepipe.config.toml_lines import find_line
from aepipe.config.validation import describe_fault, infinite_numbers, parsed_condition
from aepipe.config.waveform import Waveform
from aepipe.errors import JobInvalid, did_you_mean
from aepipe.frozen import FrozenModel
from aepipe.stores import as_path
from aepipe.stores.table_url import DeltaPath, is_table

if TYPE_CHECKING:
    from aepipe.expressions.condition import Condition

Kind = Literal[
    "number",
    "category",
    "boolean",
    "datetime",
    "vector",
    "image",
    "series",
    "tags",
    "text",
    "waveform",
    "items",
    "condition",
    "target",
    "label",
    "key",
    "ignore",
]


class ColumnSpec(FrozenModel):
    """Settings of one column that the Parquet schema does not hold."""

    kind: Kind | None = Field(None, description="default: inferred from the Arrow type")
    shape: tuple[int, ...] | None = Field(
        None, description="image of raw pixels: [channels, height, width]; series: [steps, channels]"
    )
    resize: bool = Field(False, description="resize images of another size; false: reject them")
    top: int | None = Field(None, ge=1, le=255, description="maximum pixel value; default: 255")
    transform: Literal["auto", "linear", "log"] = Field(
        "auto", description="transform of a number or a series, applied before scaling"
    )
    format: str | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="text of kind number or datetime, or the event time as text: notation, such as 1.234,5, $1,234.5 "
        "or %d.%m.%Y; default: 1234.5, or ISO 8601",
    )
    tokens: TokenKind | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="text: the tokens that it is split into; smiles: atoms and bonds of a molecule; default: words",
    )
    length: int | None = Field(
        None,
        ge=1,
        le=1_024,
        exclude_if=lambda value: value is None,
        description="text: tokens that the model sees, later ones are cut; default: that of 99 % of the training "
        "texts, at most 128; items: items of a row, the most frequent ones; default: of 99 %, at most 512",
    )
    catalogue: int | None = Field(
        None,
        ge=2,
        le=100_000,
        exclude_if=lambda value: value is None,
        description="items: number of most frequent items that are modelled; default: 20,000, without items of one row",
    )
    waveform: Waveform | None = Field(
        None, exclude_if=lambda value: value is None, description="lists of samples: settings of kind waveform"
    )


class Model(BaseModel):
    """Model family and trunk. All other keys are options of the family or trunk."""

    model_config = ConfigDict(frozen=True, extra="allow")

    family: str = Field("vae", description="model family, such as ae, vae or pca; docs/families.md has their options")
    trunk: str | None = Field(
        None, description="mlp, conv, recurrent or transformer; default: chosen by the kind of data"
    )

    @property
    def options(self) -> dict[str, Any]:
        """Options of the family and the trunk, as written in the file."""
        return dict(self.model_extra or {})


TRIM_OF_POLLUTED = 0.3


class Train(FrozenModel):
    """Training rows and optimisation."""

    model_config = ConfigDict(populate_by_name=True)

    first: str | None = Field(None, alias="from", description="first partition, such as dt=2026-01-01; default: all")
    last: str | None = Field(None, alias="to", description="last partition, inclusive; default: all")
    where: str | None = Field(None, description="condition that training rows must meet, such as diagnosis = 'benign'")
    data: Literal["clean", "polluted"] = Field(
        "clean", description="clean: all rows are normal; polluted: some may be anomalies"
    )
    trim: float | None = Field(
        None,
        ge=0,
        le=0.5,
        description="share of rows with the largest loss that each epoch leaves out; default: 0.3 if polluted, else 0",
    )
    epochs: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="maximum epochs; early stopping usually ends sooner; default: depends on the family, 200 for most; "
        "an epoch of a large table has at most 65,536 rows then, drawn at random",
    )
    batch_rows: int | None = Field(
        None,
        ge=1,
        description="maximum rows per optimisation step; small training sets use smaller batches; default: 256, "
        "1,024 for a table with more than 32,768 training rows, 64 for images of more than 16 pixels in vae and cvae "
        "on a CPU",
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        le=10,
        description="highest AdamW learning rate, halved on plateaus or lowered by a schedule; default: depends on the "
        "network",
    )
    weight_decay: float = Field(0.0, ge=0, description="AdamW weight decay")
    patience: int = Field(
        20,
        ge=1,
        description="epochs without a lower dev loss before training stops; two fifths of it for vae and cvae with "
        "convolutions",
    )
    max_rows: int = Field(1_000_000, ge=10, description="maximum training rows; larger sets are subsampled")
    memory_mb: int = Field(
        4_096, ge=1, description="maximum memory of the training rows, in MB; larger sets are subsampled"
    )
    seed: int = Field(0, ge=0, description="seed of weights, batches and noise; the same seed gives the same model")
    epsilon: float | None = Field(
        None,
        gt=0,
        exclude_if=lambda value: value is None,
        description="privacy budget of the weights of tabular_vae (differential privacy); default: no privacy",
    )
    delta: float | None = Field(
        None,
        gt=0,
        lt=1,
        exclude_if=lambda value: value is None,
        description="probability that epsilon does not cover; default: 0.1 / training rows",
    )
    search: Search | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="options that are tried before the training; default: none",
    )
    alias: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9_-]*$",
        description="alias that points to the new bundle; default: champion for the first bundle, challenger for later "
        "ones; champion: each new bundle replaces the champion",
    )

    @property
    def trimmed(self) -> float:
        """Share of rows that each epoch leaves out."""
        if self.trim is None:
            return TRIM_OF_POLLUTED if self.data == "polluted" else 0.0
        return self.trim

    @property
    def condition(self) -> "Condition | None":
        """Condition that training rows must meet; None: all rows."""
        return parsed_condition(self.where)


LABELLED = "labelled"
"""Value of `[score] head` that selects the head by labelled rows."""


class Score(FrozenModel):
    """Partitions to score and columns to write."""

    model_config = ConfigDict(populate_by_name=True)

    first: str | None = Field(None, alias="from", description="first partition to score; default: all")
    last: str | None = Field(None, alias="to", description="last partition to score, inclusive; default: all")
    head: str = Field(
        "auto",
        description="scoring head (docs/families.md); auto: knn_with_quantiles if data is clean, else consensus; "
        "with conditions: knn_with_row, else consensus; "
        "with a text column: mahalanobis, else elbo; "
        "labelled: the best head by [evaluate] anomaly on held-out rows",
    )
    reasons: int = Field(3, ge=0, le=20, description="number of columns named as reasons of a score")
    classes: str | None = Field(
        None,
        description="label column whose classes are predicted from the latents; rows of no known class are unknown",
    )
    max_invalid_share: float = Field(
        0.1, ge=0, le=1, description="fail the partition if a larger share of its rows is invalid"
    )
    rescore: bool = Field(
        True,
        description="score partitions again after a promotion; false: scored partitions keep the scores of the "
        "earlier champion, unless their files change",
    )
    features: bool = Field(True, description="write the latents as features")
    clusters: bool = Field(
        False, description="add the mixture component of each row and the distance to its centre to the features"
    )


class Evaluate(FrozenModel):
    """Labels for evaluation; never used in training."""

    anomaly: str | None = Field(None, description="condition that marks anomalies, such as digit = 9")

    @property
    def anomaly_condition(self) -> "Condition | None":
        """Condition that marks anomalies; None: no labels."""
        return parsed_condition(self.anomaly)


class Job(FrozenModel):
    """Pipeline configuration: input, model and output."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", description="letters, digits, - and _")
    data: Data
    columns: dict[str, ColumnSpec] = Field(default_factory=dict)
    series: Series | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="long table of series; default: every row of the table is scored by itself",
    )
    model: Model = Model()
    train: Train = Train()
    calibration: Calibration = Calibration()
    score: Score = Score()
    samples: Samples = Samples()
    evaluate: Evaluate = Evaluate()
    promotion: Promotion = Promotion()
    drift: Drift = Drift()
    alerts: Alerts = Alerts()
    output: Output = Output()
    run: Run = Run()
    publish: tuple[Publish, ...] = Field((), description="tables that outputs are published to")
    source: Path = Field(Path("job.toml"), exclude=True, description="file that this job was read from")

    @field_validator("columns", mode="before")
    @classmethod
    def _kind_by_name(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {name: {"kind": spec} if isinstance(spec, str) else spec for name, spec in value.items()}

    @model_validator(mode="before")
    @classmethod
    def _series_defaults(cls, value: object) -> object:
        return with_series_defaults(value) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _series_fits_the_job(self) -> "Job":
        if self.series is None:
            return self
        data = self.data
        roles = {"[data] labels": data.labels, "[data] event_time": (data.event_time,) if data.event_time else ()}
        unfit = {
            "[score] classes": self.score.classes is not None,
            f'[score] head = "{LABELLED}"': self.score.head == LABELLED,
            "[samples] rows": self.samples.rows not in (0, Samples().rows),  # a night of series draws none
            "[samples] labels": self.samples.labels,
            "[calibration] per": self.calibration.per is not None,
            "a cost table under [calibration]": self.calibration.costs is not None,
        }
        kinds = {name: spec.kind for name, spec in self.columns.items()}
        faults = [*self.series.role_faults(roles, kinds, entity=data.entity), *series_faults(unfit)]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @model_validator(mode="after")
    def _search_has_labels(self) -> "Job":
        for fault in search_faults(self.train.search, head=self.score.head, labelled=LABELLED):
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _privacy_is_kept(self) -> "Job":
        train, samples, data = self.train, self.samples, self.data
        unfit = {
            "trimmed rows (polluted data, or trim)": train.trimmed > 0,
            "[train.search]": train.search is not None,
            "[samples] labels = true": samples.labels,
            "[samples] sequences = true": samples.sequences and bool(data.entity) and data.event_time is not None,
            "[[samples.constraints]] combination": any(each.combination for each in samples.constraints),
            "[score] clusters = true": self.score.clusters,
        }
        faults = list(privacy_faults(unfit, epsilon=train.epsilon, delta=train.delta))
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @model_validator(mode="after")
    def _one_role_a_column(self) -> "Job":
        roles: dict[str, str] = {}
        named = [(name, "key") for name in self.data.keys] + [(name, "label") for name in self.data.labels]
        named += [(name, spec.kind) for name, spec in self.columns.items() if spec.kind is not None]
        for name, role in named:
            if roles.setdefault(name, role) != role:
                found = f"{roles[name]} and {role}"
                raise ValueError(f"column '{name}' has two roles: expected one, got {found}. Remove one of them")
        return self

    @model_validator(mode="after")
    def _entity_is_in_the_outputs(self) -> "Job":
        if self.calibration.per is not None and not self.data.entity:
            raise ValueError(
                "calibration.per needs entities: expected the column that names them in data.entity, got none"
            )
        known = self.data.carried
        if self.alerts.entity is not None and self.alerts.entity not in known:
            found = ", ".join(known) or "none"
            raise ValueError(
                f"alerts.entity is not copied to the scores: expected a key, label, event-time or entity column "
                f"({found}), got '{self.alerts.entity}'"
            )
        return self

    @property
    def uses_labels(self) -> bool:
        """Labels select the threshold or the head."""
        return self.calibration.costs is not None or self.score.head == LABELLED

    @property
    def has_conditions(self) -> bool:
        """True if the job names a column that others are conditional on."""
        return any(column.kind == "condition" for column in self.columns.values())

    @property
    def has_texts(self) -> bool:
        """True if a column is modelled as text or items."""
        return any(spec.kind in ("text", "items") for spec in self.columns.values())

    @property
    def data_path(self) -> Path:
        """Absolute path of the table."""
        return self._from_job(self.data.path)

    @property
    def out_path(self) -> Path:
        """Absolute path of the outputs."""
        return self._from_job(self.output.path or Path("out", self.name))

    @property
    def exported_path(self) -> Path:
        """Absolute path of the bundles of all jobs."""
        return self._from_job(self.output.exported)

    @property
    def bundle_path(self) -> Path:
        """Folder of this job's bundle versions, `exported/<name>`."""
        return self.exported_path / self.name

    def resolve(self, path: str) -> str:
        """Return a path relative to the job file as an absolute one; URLs stay as they are."""
        return path if "://" in path else str(self._from_job(Path(path)))

    @property
    def public_key_path(self) -> Path | None:
        """Absolute path of the public key that bundles must be signed with; None if they need no signature."""
        return None if self.run.public_key is None else self._from_job(self.run.public_key)

    @property
    def digests_path(self) -> Path | None:
        """Absolute path of the known digests of the source; None if they are not compared."""
        return None if self.data.digests is None else self._from_job(self.data.digests)

    def _from_job(self, path: Path) -> Path:
        if isinstance(path, DeltaPath):
            return path.below(self.source.parent)
        return path if path.is_absolute() else (self.source.parent / path).resolve()


def read_job(path: str | Path) -> Job:
    """Read a job file.

    Args:
        path: the TOML file, or the folder that holds `job.toml`.

    Raises:
        JobInvalid: lists every fault of the file with its line or key.
    """
    if is_table(path):
        raise JobInvalid(str(path), ["is the address of a table: expected a job file. Run `aepipe init` to write one."])
    path = as_path(path)
    if path.is_dir():
        path = path / "job.toml"
    text, raw = read_toml(path)
    return parse_job(raw, source=path.resolve(), text=text)


def parse_job(raw: dict[str, Any], *, source: Path, text: str = "") -> Job:
    """Validate a parsed TOML document.

    Args:
        raw: the parsed document.
        source: path of the file, for messages and relative paths.
        text: text of the file, to give faults a line number.

    Raises:
        JobInvalid: lists every fault.
    """
    if "source" in raw:
        raise JobInvalid(str(source), [f"{_line(('source',), text)}unknown key 'source'"])
    infinite = {
        path: f"{_line(path, text)}{'.'.join(path)}: expected a finite number, got {value}"
        for path, value in infinite_numbers(raw)
    }
    try:
        job = Job.model_validate({**raw, "source": source})
    except ValidationError as error:
        raise JobInvalid(str(source), [*infinite.values(), *_faults(error, text, known=infinite)]) from None
    if infinite:
        raise JobInvalid(str(source), list(infinite.values()))
    if job.data_path.is_relative_to(job.out_path):
        place = _line(("output", "path"), text)
        raise JobInvalid(
            str(source), [f"{place}output.path is {job.out_path}, which holds the data. Name another folder."]
        )
    return job


def _faults(error: ValidationError, text: str, *, known: Collection[tuple[str, ...]]) -> Iterator[str]:
    for fault in error.errors():
        path = tuple(str(part) for part in fault["loc"])
        if path in known and fault["type"] != "extra_forbidden":
            continue
        place = _line(path, text)
        if fault["type"] == "extra_forbidden":
            yield f"{place}unknown key '{path[-1]}'{did_you_mean(path[-1], _known_keys(path[:-1]), listed=30)}"
        elif fault["type"] == "missing":
            yield f"{place}missing key '{'.'.join(path)}'"
        else:
            yield f"{place}{'.'.join(path) + ': ' if path else ''}{describe_fault(fault)}"


def _known_keys(path: tuple[str, ...]) -> list[str]:
    model: type[BaseModel] = Job
    for part in path:
        field = model.model_fields.get(part)
        if model is Job and part == "columns":
            model = ColumnSpec
        elif field is not None:
            kinds = (field.annotation, *get_args(field.annotation))  # a section, or the element of a tuple of sections
            model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return [field.alias or name for name, field in model.model_fields.items() if name != "source"]


def _line(path: tuple[str, ...], text: str) -> str:
    """Return `line 7: ` for a key of the file; empty if no line sets it."""
    number = find_line(path, text)
    return "" if number is None else f"line {number}: "
