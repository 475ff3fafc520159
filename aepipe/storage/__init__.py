"""Every write of the project: atomic files, digests, locks, Parquet with checksums, and the commit of a partition."""

from aepipe.storage.atomic_files import (
    append_line,
    append_lines,
    make_folder,
    naming,
    put_bytes,
    put_if_changed,
    put_json,
    refuse_unwritable,
    remove,
    replace,
)
from aepipe.storage.commit import Commit
from aepipe.storage.commit_group import CommitGroup
from aepipe.storage.digests import digest_bytes, digest_file, digest_of, sha256_bytes, source_digest
from aepipe.storage.locks import lock
from aepipe.storage.manifest import FileRecord, Manifest
from aepipe.storage.output_store import Outputs
from aepipe.storage.parquet_writer import ParquetSink, StagedFile, put_parquet, read_parquet
from aepipe.storage.partition_result import PartitionResult, Status
from aepipe.storage.paths import (
    HIDDEN,
    check_partition,
    is_comparison_of,
    model_comparison_page,
    night_comparison_page,
    page_of,
    samples_page_of,
)
from aepipe.storage.pieces import PieceFiles
from aepipe.storage.run_details import (
    ImputeDetails,
    RecommendDetails,
    SampleDetails,
    ScoreDetails,
    StreamDetails,
    TraversalDetails,
)
from aepipe.storage.run_kinds import IMPUTE, RECOMMEND, RUN_KINDS, SAMPLE, SCORE, TRAVERSE, RunKind

__all__ = [
    "HIDDEN",
    "IMPUTE",
    "RECOMMEND",
    "RUN_KINDS",
    "SAMPLE",
    "SCORE",
    "TRAVERSE",
    "Commit",
    "CommitGroup",
    "FileRecord",
    "ImputeDetails",
    "Manifest",
    "Outputs",
    "ParquetSink",
    "PartitionResult",
    "PieceFiles",
    "RecommendDetails",
    "RunKind",
    "SampleDetails",
    "ScoreDetails",
    "StagedFile",
    "Status",
    "StreamDetails",
    "TraversalDetails",
    "append_line",
    "append_lines",
    "check_partition",
    "digest_bytes",
    "digest_file",
    "digest_of",
    "is_comparison_of",
    "lock",
    "make_folder",
    "model_comparison_page",
    "naming",
    "night_comparison_page",
    "page_of",
    "put_bytes",
    "put_if_changed",
    "put_json",
    "put_parquet",
    "read_parquet",
    "refuse_unwritable",
    "remove",
    "replace",
    "samples_page_of",
    "sha256_bytes",
    "source_digest",
]
