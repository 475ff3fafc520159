"""Contenders that score a night: aepipe, and scripts with pandas, onnxruntime, torch, Ray Data and PyOD.

Everyone but PyOD does the same work: reads the files, runs the same network, and writes latents, scores, p-values and
three reasons a row. PyOD's decision function gives scores alone. Each is given the batch size that suits it best, but
for one script that runs a file's rows in one call, as people write it who do not measure.
"""

import functools
import importlib
import os
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.encoding.category import CategoryCodec
from aepipe.layout import FIRST_VALUE
from benchmarks.throughput_tables import LEARNED_ROWS, SIDE, Night

Work = Callable[[], Mapping[str, float] | None]
Arrays = dict[str, NDArray[np.generic]]
Scorer = Callable[[Arrays], Arrays]
"""Encoded rows -> z, score, reason, reason_z"""

OURS, TORCH, RAY, PYOD = "aepipe", "pandas + torch", "Ray Data + onnxruntime", "PyOD"
WHOLE = "pandas + onnxruntime, one call per file"
ONLY_ON = {WHOLE: ("numbers", "mixed"), TORCH: ("numbers", "images"), RAY: ("numbers",), PYOD: ("numbers",)}
"""Kinds of tables for scripts in torch: with categories, a script would need another network."""

BATCHES = (1_024, 2_048, 4_096, 16_384, 65_536)
"""Batch sizes that are tried for a peer; the fastest counts."""
_TRIED_ROWS = 65_536


def ours(night: Night) -> Work:
    """Return a function that runs `aepipe score` with all of its features."""
    from aepipe.jobs.score import score

    def work() -> Mapping[str, float]:
        result = score(night.job_path)
        if result.failed:
            raise RuntimeError("; ".join(each.reason for each in result.nights))
        stages: dict[str, float] = {}
        for each in result.nights:
            for stage, seconds in each.seconds.items():
                stages[stage] = stages.get(stage, 0.0) + seconds
        return {f"{stage}_s": seconds for stage, seconds in stages.items()}

    return work


class _Frames:
    """Steps of a pandas script before and after the network."""

    def __init__(self, night: Night) -> None:
        self.bundle = Bundle.open(night.bundle)
        self.out = night.out
        self.numbers = [number.name for number in self.bundle.encoding.layout.numbers]
        codecs = self.bundle.encoding.codecs
        self.values = {codec.name: codec.values for codec in codecs if isinstance(codec, CategoryCodec)}
        self.reasons = list(self.bundle.manifest.reason_names)

    def encoded(self, frame: Any) -> Arrays:
        """Return the arrays that the network takes."""
        import pandas as pd

        if not self.numbers:
            image = np.frombuffer(b"".join(frame["image"]), np.uint8)
            return {"image": image.reshape(-1, 1, SIDE, SIDE)}
        arrays: Arrays = {"num": np.ascontiguousarray(frame[self.numbers].to_numpy(np.float32))}
        if self.values:
            codes = [pd.Categorical(frame[name], known).codes + FIRST_VALUE for name, known in self.values.items()]
            arrays["cat"] = np.stack(codes, axis=1).astype(np.int32)
        return arrays

    def write(self, frame: Any, found: Arrays, name: str) -> None:
        """Write scores and features as Parquet."""
        import pandas as pd

        scores = self.scores(found, lambda codes: pd.Categorical.from_codes(codes, pd.Index(self.reasons)))
        self.out.mkdir(parents=True, exist_ok=True)
        for sheet, columns in (("scores", scores), ("features", latents(found))):
            written = pd.DataFrame({"id": frame["id"], **columns})
            written.to_parquet(self.out / f"{sheet}-{name}.parquet", index=False)

    def scores(self, found: Arrays, named: Callable[[Any], Any]) -> dict[str, Any]:
        """Return columns of scores, p-values, alarms and reasons; `named` maps codes of reasons to their names."""
        calibration = self.bundle.calibration
        ordered, n = np.asarray(calibration.scores), calibration.n
        p_values = (1 + n - np.searchsorted(ordered, found["score"])) / (n + 1)
        columns = {"score": found["score"], "p_value": p_values, "is_anomaly": p_values <= calibration.alpha}
        for rank in range(found["reason"].shape[1]):
            columns[f"reason_{rank + 1}"] = named(found["reason"][:, rank])
            columns[f"reason_{rank + 1}_z"] = found["reason_z"][:, rank]
        return columns


def latents(found: Arrays) -> dict[str, Any]:
    """Return a column for each latent."""
    return {f"z_{at:03d}": values for at, values in enumerate(found["z"].T)}


def _in_batches(scorer: Scorer, arrays: Arrays, rows: int) -> Arrays:
    length = len(next(iter(arrays.values())))
    answers = [scorer({k: v[at : at + rows] for k, v in arrays.items()}) for at in range(0, length, rows)]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def _some(night: Night) -> Any:
    """Return the rows on which batch sizes are tried."""
    import pandas as pd
    import pyarrow.parquet as pq

    batch = next(pq.ParquetFile(night.files[0]).iter_batches(_TRIED_ROWS))
    return pd.DataFrame(batch.to_pandas())


def _best_batch(scorer: Scorer, arrays: Arrays) -> int:
    _in_batches(scorer, {name: values[:1_024] for name, values in arrays.items()}, 1_024)
    return _fastest(lambda rows: _in_batches(scorer, arrays, rows))


def _fastest(scores: Callable[[int], object]) -> int:
    """Return the batch size with which a call takes the least time."""

    def seconds(rows: int) -> float:
        began = time.perf_counter()
        scores(rows)
        return time.perf_counter() - began

    return min(BATCHES, key=seconds)


def _with_pandas(night: Night, make: Callable[[Bundle], Scorer], *, in_batches: bool = True) -> Work:
    """Return a function that scores file by file with `read_parquet`, a network and `to_parquet`."""
    import pandas as pd

    frames = _Frames(night)
    scorer = make(frames.bundle)
    rows = _best_batch(scorer, frames.encoded(_some(night))) if in_batches else night.rows

    def work() -> Mapping[str, float]:
        for path in night.files:
            frame = pd.read_parquet(path)
            frames.write(frame, _in_batches(scorer, frames.encoded(frame), rows), path.parent.name)
        return {"batch_rows": rows}

    return work


def _onnxruntime(bundle: Bundle, *, threads: int = 0) -> Scorer:
    """Return the exported scorer in a default onnxruntime session; 0 threads: one per core."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(bundle.part("scorer")[0], options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    inputs = [node.name for node in session.get_inputs()]
    return lambda arrays: dict(zip(names, session.run(names, {name: arrays[name] for name in inputs}), strict=True))


def _torch(bundle: Bundle) -> Scorer:
    """Return a torch network of the same widths, its squared errors and their three largest."""
    import torch
    from torch import nn

    layout = bundle.encoding.layout
    network = _images_network(nn) if layout.image is not None else _table_network(nn, layout.features)
    network.eval()

    @torch.inference_mode()
    def scorer(arrays: Arrays) -> Arrays:
        (values,) = arrays.values()
        x = torch.from_numpy(values).float() / 255 if layout.image is not None else torch.from_numpy(values)
        z = network[0](x)
        errors = (network[1](z) - x).square()
        score = errors.flatten(1).sum(1)
        if layout.image is not None:
            errors = nn.functional.avg_pool2d(errors, SIDE // 7)
        top = errors.flatten(1).topk(3)
        return {"z": z.numpy(), "score": score.numpy(), "reason": top.indices.numpy(), "reason_z": top.values.numpy()}

    return scorer


def _table_network(nn: Any, width: int) -> Any:
    def layers(*widths: int) -> Any:
        pairs = [each for a, b in pairwise(widths) for each in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(*pairs[:-1])

    return nn.ModuleList([layers(width, 128, 64, 16), layers(16, 64, 128, width)])


def _images_network(nn: Any) -> Any:
    """Return the layers of the backbone `conv` for images of 28 x 28."""
    encoder = [nn.Conv2d(1, 32, 3, 2, 1), nn.SiLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.SiLU()]
    grown = [nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.SiLU(), nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.SiLU()]
    decoder = [nn.Linear(16, 64 * 49), nn.SiLU(), nn.Unflatten(1, (64, 7, 7)), *grown, nn.Conv2d(16, 1, 3, 1, 1)]
    return nn.ModuleList([nn.Sequential(*encoder, nn.Flatten(), nn.Linear(64 * 49, 16)), nn.Sequential(*decoder)])


def ray(night: Night) -> Work:
    """Return a function that scores with Ray Data, with one actor per core that runs the exported scorer."""
    ray = importlib.import_module("ray")
    importlib.import_module("ray.data")
    cores = os.cpu_count() or 1
    ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False

    class Actor:
        def __init__(self) -> None:
            self.frames = _Frames(night)
            self.scorer = _onnxruntime(self.frames.bundle, threads=1)
            self.names = np.asarray(self.frames.reasons)

        def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
            num = np.stack([rows[name] for name in self.frames.numbers], axis=1)
            found = self.scorer({"num": num})
            return {"id": rows["id"], **self.frames.scores(found, self.names.__getitem__), **latents(found)}

    def work() -> None:
        rows = ray.data.read_parquet(str(night.data))
        # Half a core an actor: with whole ones nothing is left to read with, and nothing ever moves.
        scored = rows.map_batches(Actor, batch_format="numpy", batch_size=2_048 * 8, concurrency=cores, num_cpus=0.5)
        scored.write_parquet(str(night.out))

    return work


def pyod(night: Night) -> Work:
    """Return a function that scores with PyOD's AutoEncoder of the same widths and writes Parquet."""
    import pandas as pd
    from pyod.models.auto_encoder import AutoEncoder

    frames = _Frames(night)
    some = frames.encoded(_some(night))["num"]
    model = AutoEncoder(hidden_neuron_list=[128, 64, 16], epoch_num=1, verbose=0, random_state=0)
    model.fit(np.asarray(some[:LEARNED_ROWS]))
    rows = _fastest(lambda rows: model.decision_function(some, batch_size=rows))

    def work() -> Mapping[str, float]:
        for path in night.files:
            frame = pd.read_parquet(path)
            score = model.decision_function(frames.encoded(frame)["num"], batch_size=rows)
            night.out.mkdir(parents=True, exist_ok=True)
            written = pd.DataFrame({"id": frame["id"], "score": score})
            written.to_parquet(night.out / f"{path.parent.name}.parquet", index=False)
        return {"batch_rows": rows}

    return work


def on(kind: str) -> list[str]:
    """Return the contenders that score tables of this kind."""
    return [who for who in CONTENDERS if kind in ONLY_ON.get(who, (kind,))]


CONTENDERS: Mapping[str, Callable[[Night], Work]] = {
    OURS: ours,
    "pandas + onnxruntime": functools.partial(_with_pandas, make=_onnxruntime),
    WHOLE: functools.partial(_with_pandas, make=_onnxruntime, in_batches=False),
    TORCH: functools.partial(_with_pandas, make=_torch),
    RAY: ray,
    PYOD: pyod,
}
