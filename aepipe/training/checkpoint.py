"""Where training stands, in one file: written whole or not at all, read without running pickled code."""

import io
import logging
import pickle
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from aepipe.storage import put_bytes

log = logging.getLogger(__name__)


class Checkpointer:
    """A file that is written at most every so many seconds, under a key that says what it belongs to."""

    def __init__(self, path: Path, key: str, every_s: float) -> None:
        self.path = path
        self.key = key
        self.every_s = every_s
        self.written = time.monotonic()

    def keep(self, content: Callable[[], Mapping[str, object]]) -> None:
        """Write it, if it is time: tensors, numbers, text, and lists and dictionaries of them."""
        if time.monotonic() - self.written < self.every_s:
            return
        buffer = io.BytesIO()
        torch.save({"key": self.key, **content()}, buffer)
        put_bytes(self.path, buffer.getvalue())
        self.written = time.monotonic()

    def find(self, device: torch.device) -> dict[str, Any] | None:
        """What was written under this key; nothing, and a line in the log, where the file is broken or of another."""
        if not self.path.exists():
            return None
        try:
            found = torch.load(self.path, map_location=device, weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
            log.warning("%s cannot be read (%s): training begins anew", self.path, type(error).__name__)
            return None
        if not isinstance(found, dict) or found.get("key") != self.key:
            log.warning("%s is of another training: training begins anew", self.path)
            return None
        return dict(found)
