"""Fit a peer and write its rows; runs in the peer's own environment, so that nothing here is imported from elsewhere.

python peer_script.py PEER FOLDER, with train.parquet and asked.json in FOLDER. Writes rows-0.parquet, ... and CPU
seconds into costs.json.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

Draw = Callable[[int], pd.DataFrame]
"""number of rows, or of sequences, to rows"""


def tvae(frame: pd.DataFrame, asked: dict[str, Any]) -> Draw:
    """Fit SDV's TVAE at its defaults; it takes no missing values."""
    from ctgan import TVAE

    np.random.seed(asked["seed"])  # noqa: NPY002  # it has no seed of its own
    model = TVAE(enable_gpu=False)
    known = frame.dropna()
    model.fit(known, discrete_columns=list(known.select_dtypes(exclude="number")))
    return lambda rows: model.sample(rows)


def tabular_argn(frame: pd.DataFrame, asked: dict[str, Any]) -> Draw:
    """Fit mostlyai's TabularARGN at its defaults."""
    from mostlyai.engine import TabularARGN

    model = TabularARGN(device="cpu", random_state=asked["seed"])
    model.fit(frame)
    return lambda rows: model.sample(rows)


def par(frame: pd.DataFrame, asked: dict[str, Any]) -> Draw:
    """Fit SDV's PAR 2.0 to the rows of entities in order, at its defaults but for the number of epochs."""
    from sdv.metadata import Metadata
    from sdv.sequential import PARSynthesizer

    entity, order = asked["entity"], asked["order"]
    metadata = Metadata.detect_from_dataframes({"rows": frame}, infer_keys=None)
    metadata.update_column(entity, sdtype="id")
    metadata.update_column(order, sdtype="datetime")
    metadata.set_sequence_key(entity)
    metadata.set_sequence_index(order)
    frame[order] = frame[order].astype("datetime64[ns]")  # it reads microseconds as nanoseconds
    model = PARSynthesizer(metadata, epochs=asked["epochs"], cuda=False)
    model.fit({"rows": frame})
    return lambda sequences: model.sample_sequences(sequences)["rows"]


PEERS = {"TVAE": tvae, "TabularARGN": tabular_argn, "PAR": par}


def main(name: str, folder: Path) -> None:
    """Fit, draw as many rows as asked, and write CPU seconds."""
    import torch

    torch.set_num_threads(1)
    asked = json.loads((folder / "asked.json").read_text())
    torch.manual_seed(asked["seed"])
    frame = pq.read_table(folder / "train.parquet").to_pandas()
    begun = time.process_time()
    draw = PEERS[name](frame, asked)
    costs = [time.process_time() - begun]
    for at, rows in enumerate(asked["rows"]):
        begun = time.process_time()
        drawn = draw(rows)
        costs.append(time.process_time() - begun)
        drawn.to_parquet(folder / f"rows-{at}.parquet", index=False)
    (folder / "costs.json").write_text(json.dumps(costs))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
