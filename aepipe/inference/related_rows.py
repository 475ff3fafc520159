"""Relations of a bundle between columns, which its sampled rows hold."""

import json
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from aepipe.bundles.bundle import Bundle
from aepipe.encoding.relations.apply import RelatedRows
from aepipe.encoding.relations.find import FoundRelations
from aepipe.encoding.relations.relation import Relation

FILE = "relations.json"
"""File of a bundle: its relations; the maps among them name a file each."""


def related_rows(bundle: Bundle) -> RelatedRows:
    """Return the relations of a bundle; none for bundles of families without tables, and of earlier versions."""
    listed = json.loads(bundle.files[FILE]) if FILE in bundle.files else []
    relations = [Relation.model_validate(each) for each in listed]
    maps = {
        each.file: pq.ParquetFile(pa.BufferReader(bundle.files[each.file])).read(use_threads=False)
        for each in relations
        if each.file
    }
    return RelatedRows(relations, maps, bundle.encoding)


def relation_files(found: FoundRelations) -> Mapping[str, bytes]:
    """Return the files of relations for a bundle; none if there are no relations."""
    if not found.relations:
        return {}
    files = {FILE: json.dumps([each.model_dump(mode="json") for each in found.relations], indent=1).encode()}
    for name, table in found.maps.items():
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)  # into memory: write_bundle writes the bytes
        files[name] = bytes(sink.getvalue())
    return files
