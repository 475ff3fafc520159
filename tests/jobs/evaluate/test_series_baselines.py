"""Baselines of a series job that cannot be fitted."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aepipe.jobs.evaluate.evaluate import evaluate


def _diverge(*_: Any, **__: Any) -> None:
    raise np.linalg.LinAlgError("SVD did not converge")


@pytest.mark.slow
def test_baselines_that_cannot_be_had_are_a_line_each_and_the_others_are_compared(
    machines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np.linalg, "svd", _diverge)
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)

    found = evaluate(machines)

    assert [each.name for each in found.contenders][1:] == ["random", "max |z|", "moving variance"]
    lines = [warning for warning in found.warnings if "is left out" in warning]
    assert [line.split("'")[1] for line in lines] == ["PCA", "isolation forest"]
    assert lines[0].endswith("SVD did not converge")
