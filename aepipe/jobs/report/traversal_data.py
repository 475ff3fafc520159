"""Latest latent traversals of a model, for the report page."""

import numpy as np

from aepipe.inference.table_model import TableModel
from aepipe.jobs.report.page_state import latest_traversals
from aepipe.jobs.sample.traversal_changes import changes, split_paths
from aepipe.report import page_model
from aepipe.storage import Manifest, Outputs, TraversalDetails, read_parquet

_UNITS = {
    "interpolation": "share of the second row",
    "traversal": "value of the latent",
    "shift": "amount of the attribute",
}
_LINES = 12


def build_traversals(outputs: Outputs, model: TableModel) -> tuple[page_model.Traversal, ...]:
    """Return the latest traversal of each kind made with this model version."""
    latest = {manifest.details.kind: manifest for manifest in latest_traversals(outputs, model.version)}
    return tuple(_build_traversal(outputs, model, latest[kind]) for kind in _UNITS if kind in latest)


def _build_traversal(outputs: Outputs, model: TableModel, manifest: Manifest[TraversalDetails]) -> page_model.Traversal:
    table, details = read_parquet(outputs.root / manifest.files["walks"].path), manifest.details
    layout = model.bundle.encoding.layout
    keys, unit = details.keys, _UNITS[details.kind]
    match details.kind:
        case "interpolation":
            title = f"From {keys[0]} to {keys[1]}, {details.how}"
        case "traversal":
            title = f"{keys[0]}, one latent varied at a time"
        case _:
            title = f"Towards {details.condition}"
    if layout.rebuilt is None:
        lines = changes(model, table, details.keys, most=_LINES)
        shown = tuple(page_model.TraversalLine(line.path, line.column, line.places, line.values) for line in lines)
        return page_model.Traversal(title=title, unit=unit, lines=shown)
    strips = split_paths(table, details.keys)
    pixels = model.arrays(table)["image" if layout.target is None else "target"]
    return page_model.Traversal(
        title=title,
        unit=unit,
        strips=tuple(strip.name for strip in strips),
        positions=np.asarray([strip.places for strip in strips]),
        images=np.stack([pixels[strip.rows] for strip in strips]),
        top=layout.rebuilt.top,
    )
