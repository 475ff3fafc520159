"""Example data: two real tables from scikit-learn, written as seven nights of Parquet each."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from aepipe.storage import put_parquet

NIGHTS = tuple(f"dt=2026-01-{day:02d}" for day in range(1, 8))
TRAINING_NIGHTS = 4


def write_digits(folder: Path) -> tuple[Path, ...]:
    """Write 1,797 scans of 8 x 8, values 0 to 16; the first four nights hold no nine. Optdigits, UCI, CC BY 4.0."""
    from sklearn.datasets import load_digits

    scans, digit = load_digits(return_X_y=True)
    table = pa.table(
        {
            "scan_id": pa.array([f"scan-{index:04d}" for index in range(len(digit))]),
            "digit": pa.array(digit.astype(np.int8)),
            "scan": pa.array([row.tobytes() for row in scans.astype(np.uint8)], pa.binary(64)),
        }
    )
    return _write_nights(folder, table, is_anomaly=digit == 9, rows_per_training_night=300)


def write_cells(folder: Path) -> tuple[Path, ...]:
    """Write 569 cases of 30 measurements; the first four nights are benign. Breast cancer Wisconsin, CC BY 4.0."""
    from sklearn.datasets import load_breast_cancer

    cases = load_breast_cancer()
    diagnosis = cases.target_names[cases.target]
    columns = {name.replace(" ", "_"): cases.data[:, index] for index, name in enumerate(cases.feature_names)}
    case_id = pa.array([f"case-{index:03d}" for index in range(len(diagnosis))])
    table = pa.table({"case_id": case_id, "diagnosis": pa.array(diagnosis.tolist()), **columns})
    return _write_nights(folder, table, is_anomaly=diagnosis == "malignant", rows_per_training_night=60)


def _write_nights(
    folder: Path, table: pa.Table, *, is_anomaly: np.ndarray, rows_per_training_night: int
) -> tuple[Path, ...]:
    """Split the rows into nights: only normal rows in the training nights, the rest evenly in the later ones."""
    shuffled = np.random.default_rng(2026).permutation(len(is_anomaly))
    normal, anomalous = shuffled[~is_anomaly[shuffled]], shuffled[is_anomaly[shuffled]]
    learned = TRAINING_NIGHTS * rows_per_training_night
    nights = np.split(normal[:learned], TRAINING_NIGHTS)
    later = len(NIGHTS) - TRAINING_NIGHTS
    for usual, unusual in zip(np.array_split(normal[learned:], later), np.array_split(anomalous, later), strict=True):
        nights.append(np.concatenate([usual, unusual]))
    paths = tuple(folder / name / "part-0.parquet" for name in NIGHTS)
    for path, rows in zip(paths, nights, strict=True):
        put_parquet(path, table.take(np.sort(rows)))
    return paths
