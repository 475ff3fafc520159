"""A bundle that answers about Arrow tables in memory: what the batch job does, without files."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from aepipe.arrow_arrays import texts_of
from aepipe.batch import sinks
from aepipe.batch.block import NOT_FINITE
from aepipe.batch.golden import check_golden
from aepipe.batch.reader import READ_ROWS
from aepipe.batch.runner import Runner
from aepipe.batch.sampler import draw
from aepipe.batch.session import Session
from aepipe.bundle import Bundle
from aepipe.config import Device
from aepipe.encoding import Encoded
from aepipe.errors import SchemaMismatch
from aepipe.schema import faults

Arrays = Mapping[str, np.ndarray]

BATCH_ROWS = 2_048


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
        """The latents of each row, in columns z_000 ...; null where a row cannot be scored."""
        encoded = self._encoded(table)
        z = self._run("scorer", encoded.arrays)["z"]
        return pa.table(dict(zip(self.bundle.manifest.latent.names, _nullable(z.T, encoded), strict=True)))

    def score(self, table: pa.Table) -> pa.Table:
        """score, p_value, is_anomaly, reason_1 ..., invalid_reason of each row."""
        encoded, calibration = self._encoded(table), self.bundle.calibration
        found = self._run("scorer", encoded.arrays)
        none = np.empty((len(found["score"]), 0))
        reasons = (*self.bundle.encoding.invalid_reasons, NOT_FINITE)
        lost = ~np.isfinite(found["score"]) & (encoded.invalid == 0)
        invalid = np.where(lost, len(reasons) - 1, encoded.invalid).astype(np.int16)
        p_value = calibration.p_values(found["score"].astype(np.float32))
        answers = sinks.Answers(
            z=found["z"],
            score=found["score"],
            reason=found.get("reason", none.astype(np.int32)),
            reason_z=found.get("reason_z", none.astype(np.float32)),
            p_value=p_value,
            is_anomaly=calibration.is_anomaly(p_value) & (invalid == 0),
            invalid=invalid,
        )
        columns = sinks.score_columns(
            answers,
            reason_names=texts_of(self.bundle.manifest.reason_names),
            invalid_reasons=texts_of(reasons),
        )
        return pa.Table.from_arrays(columns, schema=pa.schema(sinks.score_fields(answers.reason.shape[1])))

    def reconstruct(self, table: pa.Table) -> pa.Table:
        """What the model expected of each row, in the source's columns and types; null where it cannot be scored."""
        encoded = self._encoded(table)
        expected = self._run("decoder", {"z": self._run("encoder", encoded.arrays)["z"]})
        rows = pa.Table.from_batches([self.bundle.encoding.decode(expected)])
        if not encoded.invalid.any():
            return rows
        return rows.take(pa.array(np.arange(rows.num_rows), mask=encoded.invalid != 0))

    def sample(self, rows: int, *, seed: int = 0, prior: Literal["mixture", "normal"] | None = None) -> pa.Table:
        """Synthetic rows. The same seed gives the same rows, and more of them when more are asked for."""
        batches = list(draw(self.bundle, rows, seed=seed, prior=prior or "mixture", device=self.device))
        return pa.Table.from_batches(batches)

    @cached_property
    def _reads(self) -> list[str]:
        return list(self.bundle.encoding.layout.columns)

    def _encoded(self, table: pa.Table) -> Encoded:
        encoding = self.bundle.encoding
        found = faults(encoding.schema.without_keys(), table.schema)
        if found:
            raise SchemaMismatch("the table", found)
        rows = table.select(self._reads)
        batches = rows.to_batches(READ_ROWS) or [pa.RecordBatch.from_pylist([], rows.schema)]
        parts = [encoding.encode(batch) for batch in batches]
        arrays = {name: np.concatenate([part.arrays[name] for part in parts]) for name in parts[0].arrays}
        return Encoded(arrays, np.concatenate([part.invalid for part in parts]), {})

    def _run(self, part: str, arrays: Arrays) -> dict[str, np.ndarray]:
        runner = self._runner(part)
        rows = len(next(iter(arrays.values())))
        out = {port.name: np.empty((rows, *port.row_shape), port.dtype) for port in runner.graph.outputs}
        runner.run_into(arrays, out)
        return out

    def _runner(self, part: str) -> Runner[Session]:
        if part not in self._runners:
            onnx, _ = self.bundle.part(part)
            self._runners[part] = Runner(lambda: Session(onnx, device=self.device), batch_rows=BATCH_ROWS)
        return self._runners[part]


def _nullable(columns: np.ndarray, encoded: Encoded) -> list[pa.Array]:
    invalid = encoded.invalid != 0
    return [pa.array(np.ascontiguousarray(column), mask=invalid) for column in columns]
