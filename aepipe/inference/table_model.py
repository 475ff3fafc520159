"""A bundle that answers about Arrow tables in memory: what the batch job does, without files."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Device
from aepipe.encoding import Encoded
from aepipe.errors import SchemaMismatch
from aepipe.expressions.condition import Condition
from aepipe.inference.attribution_output import ATTRIBUTIONS, with_attributions
from aepipe.inference.batch_runner import Runner, outputs_of
from aepipe.inference.golden_check import check_golden
from aepipe.inference.imputation import Filler
from aepipe.inference.output_schema import to_table
from aepipe.inference.predictions import PostProcessor
from aepipe.inference.reconstruct import rebuild
from aepipe.inference.sampler import draw
from aepipe.inference.session import Session
from aepipe.inference.traversal import Attribute, Walker
from aepipe.latent_math import How
from aepipe.tables.parquet_reader import READ_ROWS
from aepipe.tables.schema_check import faults

Arrays = Mapping[str, np.ndarray]


class TableModel:
    """The parts of a bundle, each opened when it is first needed. Tables may have other columns and any order.

    Raises SchemaMismatch, on a table, with every column that is missing or of another type.
    """

    def __init__(self, bundle: Bundle, *, device: Device = "auto") -> None:
        self.bundle = bundle
        self.device: Device = device
        self._runners: dict[str, Runner[Session]] = {}
        check_golden(bundle, self._runner("scorer"))

    @classmethod
    def open(cls, path: str | Path, *, device: Device = "auto") -> "TableModel":
        """The model at exported/<name>, exported/<name>@<alias> or exported/<name>/<version>."""
        return cls(Bundle.open(path), device=device)

    @property
    def version(self) -> str:
        """Name and version."""
        return self.bundle.version

    def arrays(self, table: pa.Table) -> Arrays:
        """The encoded rows, by the names of the graph's inputs."""
        return self._encoded(table).arrays

    def encode(self, table: pa.Table) -> pa.Table:
        """The features of each row, in columns z_000 ...; null where a row cannot be scored."""
        encoded = self._encoded(table)
        predictions = self._post.predict(self._run("scorer", encoded.arrays), encoded.invalid)
        return to_table(self._post.feature_columns, predictions)

    def score(self, table: pa.Table) -> pa.Table:
        """score, p_value, p_extrapolated, is_anomaly, reason_1 ..., invalid_reason of each row; its class, if any."""
        encoded = self._encoded(table)
        predictions = self._post.predict(self._run("scorer", encoded.arrays), encoded.invalid)
        return to_table(self._post.score_columns, predictions)

    def reconstruct(self, table: pa.Table) -> pa.Table:
        """What the model expected of each row, in the source's columns and types; null where it cannot be scored."""
        encoded = self._encoded(table)
        layout = self.bundle.encoding.layout
        z = self._run("encoder", {port.name: encoded.arrays[port.name] for port in layout.encoded_ports})["z"]
        given = {port.name: encoded.arrays[port.name] for port in layout.given_ports}
        return rebuild(self.bundle.encoding, self._run, z, given, invalid=encoded.invalid != 0)

    def step_losses(self, table: pa.Table) -> pa.Table:
        """What each step of a series, or each row of an image, costs a recurrent family, in nats: step_000 ...

        Null beyond a row's end, and where a row cannot be scored. Raises BundleNotFound for other families.
        """
        encoded = self._encoded(table)
        arrays = {port.name: encoded.arrays[port.name] for port in self.bundle.encoding.layout.encoded_ports}
        (losses,) = self._run("steps", arrays).values()
        losses[encoded.invalid != 0] = np.nan
        names = [f"step_{step:03d}" for step in range(losses.shape[1])]
        return pa.table([pa.array(column, mask=np.isnan(column)) for column in losses.T], names=names)

    def blame(self, table: pa.Table) -> pa.Table:
        """How far every column, region or step is above the usual, not the strongest alone; reasons name the columns.

        Null where a row cannot be scored; without columns where the job asks for no reasons.
        """
        encoded = self._encoded(table)
        onnx, _ = self.bundle.part("scorer")
        names = self.bundle.manifest.reason_names
        session = Session(with_attributions(onnx, reasons=len(names)), device=self.device)
        if ATTRIBUTIONS not in {port.name for port in session.outputs}:
            return pa.table({})
        blame = session.run(encoded.arrays)[ATTRIBUTIONS]
        columns = [pa.array(column, mask=encoded.invalid != 0) for column in blame.T]
        return pa.Table.from_arrays(columns, names=list(names))

    def sample(
        self,
        rows: int,
        *,
        seed: int = 0,
        prior: Literal["mixture", "normal"] | None = None,
        where: str | None = None,
    ) -> pa.Table:
        """Synthetic rows. The same seed gives the same rows, and more of them when more are asked for.

        where: a condition on condition columns, for which it then holds. Raises JobInvalid where no sample could.
        """
        chosen = prior or "mixture"
        condition = None if where is None else Condition.parse(where)
        batches = list(draw(self.bundle, rows, seed=seed, prior=chosen, where=condition, device=self.device))
        return pa.Table.from_batches(batches)

    def fill(self, table: pa.Table, *, seed: int = 0) -> pa.Table:
        """The rows with every modelled cell that is missing drawn given the others; all other cells as they are.

        A seed is one imputation of many. Raises OptionInvalid where the family cannot draw some cells given others.
        """
        filler = Filler(self.bundle, seed=seed, device=self.device)
        batches = table.combine_chunks().to_batches(filler.rows)
        filled = [filler.block(index, batch).rows for index, batch in enumerate(batches)]
        return pa.Table.from_batches(filled, filled[0].schema) if filled else table

    def interpolate(self, first: pa.Table, last: pa.Table, *, steps: int = 8, how: How = "slerp") -> pa.Table:
        """The rows between each row of `first` and the same one of `last`; conditions are the first row's.

        `walk_row` says which pair, `walk_step` which step, `walk_share` how much of the last row is in it. Walks raise
        OptionInvalid where the family's latents are no real vectors.
        """
        return self.walker.interpolate(first, last, steps=steps, how=how)

    def shift(
        self,
        table: pa.Table,
        attribute: Attribute,
        amount: float | Sequence[float] = 1.0,
        *,
        among: pa.Table | None = None,
    ) -> pa.Table:
        """Each row with `amount` times an attribute added to its latents; 0 is the row as it is rebuilt.

        attribute: a condition judged `among` a table, by default these rows; or a table of rows with the attribute and
        one of rows without it. `walk_row` says which row, `walk_amount` how much.
        """
        vector = self.walker.attribute_vector(attribute, table if among is None else among)
        amounts = [amount] if isinstance(amount, int | float) else amount
        return self.walker.shift(table, vector, amounts=amounts)

    def traverse(self, table: pa.Table, dimensions: Sequence[str] | None = None, *, steps: int = 7) -> pa.Table:
        """Each row with one latent at a time moved over the spread of the training rows' latents.

        dimensions: such as ["z_000", "z_003"], all by default. `walk_row` says which row, `walk_dimension` and
        `walk_value` which latent has which value.
        """
        return self.walker.traverse(table, dimensions=dimensions, steps=steps)

    @cached_property
    def walker(self) -> Walker:
        """For walks through the latents. Raises OptionInvalid where they are no real vectors."""
        return Walker(self.bundle, encode=self._encoded, run=self._run)

    @cached_property
    def _post(self) -> PostProcessor:
        return PostProcessor(self.bundle)

    def _encoded(self, table: pa.Table) -> Encoded:
        encoding = self.bundle.encoding
        schema = encoding.schema.without_keys()
        found = faults(schema, table.schema)
        if found:
            raise SchemaMismatch("the table", found)
        return encoding.encode_table(table.select([column.name for column in schema.columns]), rows=READ_ROWS)

    def _run(self, part: str, arrays: Arrays) -> dict[str, np.ndarray]:
        return outputs_of(self._runner(part), arrays)

    def _runner(self, part: str) -> Runner[Session]:
        if part not in self._runners:
            onnx, _ = self.bundle.part(part)
            self._runners[part] = Runner(lambda: Session(onnx, device=self.device))
        return self._runners[part]
