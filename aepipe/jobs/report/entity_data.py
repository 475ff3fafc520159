"""Flagged rows per entity, for the report page."""

import pyarrow as pa

from aepipe.jobs.scored_partitions import ScoredPartitions
from aepipe.report.page_model import EntityLine
from aepipe.tables.entities import entity_texts

MOST_ENTITIES = 40


def build_entities(scored: ScoredPartitions) -> tuple[EntityLine, ...]:
    """Return the entities with the most flagged rows; none if the model reads no entity."""
    bundle = scored.model.bundle
    columns = bundle.source.schema.entity
    if not columns:
        return ()
    parts = []
    for manifest in scored.manifests:
        table = scored.read("scores", manifest, [*columns, "is_anomaly", "p_value"])
        rows = pa.table(
            {
                "entity": entity_texts([table[name] for name in columns]),
                "flagged": table["is_anomaly"].cast(pa.int64()),
                "p_value": table["p_value"],
            }
        )
        parts.append(_grouped(rows.append_column("rows", pa.repeat(1, len(rows)))))
    found = _grouped(pa.concat_tables(parts)).sort_by(
        [("flagged", "descending"), ("p_value", "ascending"), ("entity", "ascending")]
    )
    own = set(bundle.calibration.own_thresholds)
    return tuple(
        EntityLine(
            entity=row["entity"],
            rows=row["rows"],
            flagged=row["flagged"],
            p_value=row["p_value"],
            threshold=bundle.calibration.of_entity(row["entity"]).threshold,
            is_own=row["entity"] in own,
        )
        for row in found.slice(0, MOST_ENTITIES).to_pylist()
    )


def _grouped(rows: pa.Table) -> pa.Table:
    """Return one row per entity: number of rows and flagged rows, and the lowest p-value."""
    found = rows.group_by("entity").aggregate([("rows", "sum"), ("flagged", "sum"), ("p_value", "min")])
    return found.rename_columns({"rows_sum": "rows", "flagged_sum": "flagged", "p_value_min": "p_value"})
