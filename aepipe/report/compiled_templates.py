"""Compiled templates, kept where Python keeps compiled modules: to compile the templates of a report takes .1 s."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from importlib.util import cache_from_source
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket, BytecodeCache

from aepipe.storage import put_bytes


class CompiledTemplates(BytecodeCache):
    """Cache in `__pycache__` or below `PYTHONPYCACHEPREFIX`; `PYTHONDONTWRITEBYTECODE` keeps it from being written.

    Args:
        depends_on: modules with the filters and options: filters of constants are computed when a template is compiled.
    """

    def __init__(self, depends_on: Sequence[Path]) -> None:
        # size and time, as Python decides whether a compiled module is current
        stamps = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in depends_on if path.is_file()]
        self._basis = repr((jinja2.__version__, sys.version, stamps))

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        """Return the path of the compiled template; empty if the template is not a file."""
        return "" if filename is None else f"{cache_from_source(filename, optimization='')}.jinja"

    def get_source_checksum(self, source: str) -> str:
        """Return the digest of all that the compiled template depends on."""
        return sha256(f"{self._basis}\n{source}".encode()).hexdigest()

    def load_bytecode(self, bucket: Bucket) -> None:
        """Load a template unless it was compiled from something else."""
        if not bucket.key:
            return
        try:
            content = Path(bucket.key).read_bytes()
        except OSError:
            return
        bucket.bytecode_from_string(content)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep a compiled template. A folder that cannot be written costs compiling it again."""
        if sys.dont_write_bytecode or not bucket.key:
            return
        with suppress(OSError):
            put_bytes(Path(bucket.key), bucket.bytecode_to_string())
