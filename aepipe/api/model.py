"""Python interface: run a bundle on data frames and return the same type."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from aepipe.api.arguments import MOST_SEED, one_of, positions, real_numbers, text, two_of, whole_number
from aepipe.api.frames import FORMATS, Frame, in_format, like, to_arrow
from aepipe.bundles.active_calibration import with_active_calibration
from aepipe.bundles.aliases import CHAMPION
from aepipe.bundles.bundle import Bundle, copy_bundle
from aepipe.bundles.job_bundle import open_bundle
from aepipe.bundles.registry import Registry, current_user
from aepipe.config.job import Device, read_job
from aepipe.config.text import TokenChoice
from aepipe.errors import ArgumentInvalid
from aepipe.inference.output_schema import FLAG
from aepipe.inference.recommendation import MOST_ITEMS
from aepipe.inference.table_model import TableModel
from aepipe.jobs.explain import explain_rows
from aepipe.latent_math import How
from aepipe.stores import as_path

_MOST_COLUMNS = 5
_WHERE = "\"kind = 'boot'\""


class Model:
    """Model from a bundle; returns the type of data frame that it is given.

    Rows are a pandas or Polars data frame, an Arrow table, or an object that Arrow reads as one (`__arrow_c_stream__`,
    `__dataframe__`); the last are answered in Arrow. Columns are found by name; other columns are ignored. The result
    has one row per input row, in order, with the index of the pandas frame. A row that cannot be scored has nulls, and
    the reason in `invalid_reason`. Raises SchemaMismatch for a frame without the model's columns, TableInvalid, which
    is a TypeError, for what is not a table, and ArgumentInvalid for another argument that is wrong.
    """

    def __init__(self, tables: TableModel) -> None:
        self._tables = tables
        bundle = tables.bundle
        schema = bundle.encoding.schema.without_keys() if bundle.series is None else bundle.source.schema
        self._columns = frozenset(column.name for column in schema.columns)

    @property
    def bundle(self) -> Bundle:
        """Bundle of the model: manifest, calibration, encoding."""
        return self._tables.bundle

    @property
    def version(self) -> str:
        """Name and version, such as cells/20261121T130501Z-1a2b3c4d."""
        return self._tables.version

    def encode(self, rows: Frame) -> Frame:
        """Return the latents of each row, in columns z_000 ..."""
        return like(rows, self._of_rows("encode").encode(self._read(rows)), with_index=True)

    def score(self, rows: Frame) -> Frame:
        """Return score, p_value, p_extrapolated, is_anomaly, the attributed columns, and invalid_reason.

        `is_anomaly` is null where the score is null.
        """
        scored = self._tables.score(self._read(rows))
        flags = pc.if_else(pc.is_valid(scored["score"]), scored[FLAG], pa.scalar(None, pa.bool_()))
        scored = scored.set_column(scored.schema.get_field_index(FLAG), FLAG, flags)
        return like(rows, scored, with_index=True)

    def reconstruct(self, rows: Frame) -> Frame:
        """Return the model's reconstruction of each row, in the source's columns and types."""
        return like(rows, self._of_rows("reconstruct").reconstruct(self._read(rows)), with_index=True)

    def explain(self, rows: Frame, *, at: Sequence[int] | None = None) -> Frame:
        """Return one line per row and column: its value, its reconstruction and its attribution, the highest first.

        `row` is the position of the row; `read` and `expected` are text, empty for images and windows of series; `z`
        tells how far the attribution is above its typical value; `reason` is the rank among the reasons of `score`,
        null for others. The rows of a series job are points, their columns the channels, and the others are context.

        Args:
            rows: the rows.
            at: positions of the rows to explain; None: all, or of a series job the flagged points.
        """
        table = self._read(rows)
        chosen = None if at is None else positions("at", at, rows=table.num_rows)
        found = explain_rows(self._tables, table, chosen)
        lines = [(int(row.row), line) for row in found for line in row.columns]
        columns = {
            "row": pa.array([at for at, _ in lines], pa.int64()),
            "column": pa.array([line.name for _, line in lines], pa.string()),
            "read": pa.array([line.read for _, line in lines], pa.string()),
            "expected": pa.array([line.expected for _, line in lines], pa.string()),
            "z": pa.array([line.z for _, line in lines], pa.float64()),
            "reason": pa.array([line.rank for _, line in lines], pa.int64()),
        }
        return like(rows, pa.table(columns))

    def step_losses(self, rows: Frame) -> Frame:
        """Return the loss of each step of a series, in nats. Only recurrent families have step losses."""
        return like(rows, self._of_rows("step_losses").step_losses(self._read(rows)), with_index=True)

    def sample(
        self,
        rows: int,
        *,
        seed: int = 0,
        prior: Literal["mixture", "normal"] = "mixture",
        where: str | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        format: Literal["pandas", "arrow", "polars"] = "pandas",
    ) -> Any:
        """Draw synthetic rows. The same seed gives the same rows; a larger number of rows extends them.

        Args:
            rows: number of rows.
            seed: seed of all random draws.
            prior: distribution of the latents: the Gaussian mixture fitted on the training rows, or the standard
                normal.
            where: condition that every row satisfies, such as "kind = 'boot'", on any columns that the model draws. The
                values of condition columns come from training rows. Raises JobInvalid if no sample can satisfy it.
            temperature: divisor of the logits of the tokens of texts; below 1, likely tokens become likelier.
            top_k: number of tokens, the likeliest ones, that each token is drawn from.
            top_p: each token is drawn from the fewest tokens whose probabilities sum to at least this.
            format: type of the data frame that is returned.
        """
        rows = whole_number("rows", rows)
        seed = whole_number("seed", seed, most=MOST_SEED)
        one_of("prior", prior, ("mixture", "normal"))
        one_of("format", format, FORMATS)
        condition = None if where is None else text("where", where, such_as=_WHERE)
        tokens, model = (
            TokenChoice(temperature, top_k, top_p),
            self._of_rows("sample", remedy="Use aepipe sample, which draws series of its entities"),
        )
        return in_format(model.sample(rows, seed=seed, prior=prior, where=condition, tokens=tokens), format)

    def fill(self, rows: Frame, *, seed: int = 0) -> Frame:
        """Impute the missing cells of all modelled columns given the other cells, which stay as they are.

        Each seed gives one of many imputations. Raises OptionInvalid if the family does not support imputation.
        """
        seed = whole_number("seed", seed, most=MOST_SEED)
        return like(rows, self._of_rows("fill").fill(to_arrow(rows), seed=seed), with_index=True)

    def recommend(self, rows: Frame, items: int = 20) -> Frame:
        """Return the likeliest items that each row does not have, and their probabilities, as lists.

        `recommended` holds items, the likeliest first, `probability` their probabilities under the model. Rows need not
        be known from training. Raises OptionInvalid if the model has no list of items.

        Args:
            rows: rows with the list of items.
            items: maximum number of items of a row, at most 100.
        """
        items = whole_number("items", items, least=1, most=MOST_ITEMS)
        return like(rows, self._tables.recommend(self._read(rows), items), with_index=True)

    def interpolate(self, first: Frame, last: Frame, *, steps: int = 8, how: How = "slerp") -> Frame:
        """Return the rows between each row of `first` and the same row of `last`.

        `walk_row` is the index of the pair, `walk_step` the step, `walk_share` the share of the last row. Conditions
        are taken from the first row. Raises OptionInvalid if the latents of the family are not real vectors.

        Args:
            first: rows where the paths start.
            last: rows where the paths end, one per row of `first`.
            steps: rows per path, both ends included.
            how: "slerp" follows the arc, "lerp" the straight line.
        """
        steps = whole_number("steps", steps, least=2)
        one_of("how", how, get_args(How))
        model = self._of_rows("interpolate")
        return like(first, model.interpolate(self._read(first), self._read(last), steps=steps, how=how))

    def shift(
        self,
        rows: Frame,
        attribute: str | tuple[Frame, Frame],
        amount: float | Sequence[float] = 1.0,
        *,
        among: Frame | None = None,
    ) -> Frame:
        """Return each row decoded after adding `amount` times an attribute vector to its latents.

        `walk_row` is the index of the row, `walk_amount` the amount; an amount of 0 gives the reconstruction.

        Args:
            rows: rows to shift.
            attribute: a condition on the columns of `among`, or a frame of rows with the attribute and one of rows
                without it.
            amount: one amount, or several.
            among: rows that the condition is evaluated on. Default: `rows`.
        """
        if isinstance(attribute, str):
            named: str | tuple[pa.Table, pa.Table] = attribute
        else:
            having, lacking = two_of("attribute", attribute, such_as=f"a condition such as {_WHERE}, or two tables")
            named = self._read(having), self._read(lacking)
        amounts = real_numbers("amount", amount)
        others = None if among is None else to_arrow(among)
        return like(rows, self._of_rows("shift").shift(to_arrow(rows), named, amounts, among=others))

    def traverse(self, rows: Frame, dimensions: Sequence[str] | None = None, *, steps: int = 7) -> Frame:
        """Return each row decoded with one latent at a time set to values from the training distribution.

        `walk_row` is the index of the row, `walk_dimension` the latent, `walk_value` its value.

        Args:
            rows: rows to traverse.
            dimensions: names of latents, such as ["z_000", "z_003"]. Default: all.
            steps: values per latent.
        """
        steps = whole_number("steps", steps, least=2)
        if isinstance(dimensions, str):
            dimensions = [dimensions]
        if dimensions is not None:
            dimensions = [text("dimensions", name, such_as='"z_000"') for name in dimensions]
        return like(rows, self._of_rows("traverse").traverse(self._read(rows), dimensions, steps=steps))

    def export(self, folder: str | Path) -> Path:
        """Write the bundle to `folder`, as exported/<name> of a job: `aepipe.load(folder)` loads it as champion.

        Returns the folder of the version. Equal bundles are written once.
        """
        registry = Registry(as_path(folder).resolve())
        written = copy_bundle(self.bundle, registry.folder)
        registry.set_alias(CHAMPION, written.name, who=current_user(), why="exported")
        return written

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the files of the bundle; unpickling checks their digests."""
        return _of_bundle, (self.bundle, self._tables.device)

    def __repr__(self) -> str:
        facts = "; ".join(f"{name} {value}" for name, value in _facts(self.bundle))
        return f"<aepipe.Model {self.version}: {facts}>"

    def _repr_html_(self) -> str:
        lines = [("model", self.version), *_facts(self.bundle)]
        cells = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in lines)
        return f"<table><tbody>{cells}</tbody></table>"

    def _of_rows(self, method: str, *, remedy: str = "Use score or explain") -> TableModel:
        """Return the model for a method that the points of a series job do not have."""
        self.bundle.refuse_points(method, remedy=remedy)
        return self._tables

    def _read(self, rows: object) -> pa.Table:
        return to_arrow(rows, self._columns)


def load(path: str | Path, *, device: Device = "auto", outputs: str | Path | None = None) -> Model:
    """Load the model at exported/<name> (its champion), exported/<name>@<alias> or exported/<name>/<version>.

    A job file, or the folder that holds job.toml, stands for the champion of the job and its latest calibration.

    Args:
        path: path of the model or the job.
        device: where the graphs run.
        outputs: output folder of a job, whose latest calibration replaces that of the bundle. None: keep the bundle's
            own, or use the job's outputs.

    Raises:
        ArgumentInvalid: an argument is not a path, or there is no such device.
        BundleNotFound: no such model, version or alias.
        BundleCorrupt: a file differs from the exported one.
        DeviceUnavailable: the device cannot be used.
        CalibrationInvalid: the calibration in `outputs` is missing or changed.
        JobInvalid: the job file does not exist, or has a fault.
    """
    for name, value in {"path": path, "outputs": outputs}.items():
        if not isinstance(value, str | Path | None) or (name == "path" and value is None):
            raise ArgumentInvalid(name, [f'expected a path such as "exported/fraud" or "job.toml", got {value!r}'])
    one_of("device", device, get_args(Device))
    place = as_path(path)
    if place.suffix == ".toml" or (place / "job.toml").is_file():
        job = read_job(place)
        bundle, outputs = open_bundle(job), job.out_path if outputs is None else outputs
    else:
        bundle = Bundle.open(place)
    return Model(
        TableModel(bundle if outputs is None else with_active_calibration(as_path(outputs), bundle), device=device)
    )


def _of_bundle(bundle: Bundle, device: Device) -> Model:
    return Model(TableModel(bundle, device=device))


def _facts(bundle: Bundle) -> list[tuple[str, str]]:
    """Return what a model is: names and values for people."""
    manifest, layout = bundle.manifest, bundle.encoding.layout
    backbone = f" ({manifest.trunk})" if manifest.trunk else ""
    columns = ", ".join(layout.columns[:_MOST_COLUMNS])
    more = len(layout.columns) - _MOST_COLUMNS
    facts = [
        ("family", f"{manifest.family}{backbone}"),
        (layout.kind, f"{columns} and {more} more columns" if more > 0 else columns),
        ("latents", str(len(manifest.latent.names))),
        (
            "score",
            f"{manifest.head}, flagged above {bundle.calibration.threshold:.6g} at alpha {bundle.calibration.alpha:g}",
        ),
        ("trained on", f"{manifest.rows.get('train', 0):,} rows"),
        ("created", manifest.created_at),
    ]
    return [(name, value) for name, value in facts if value]
