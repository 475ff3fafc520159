"""The documentation site builds without a broken link, and its pages and examples agree with the code."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def _pages(node: object) -> list[str]:
    if isinstance(node, str):
        return [node]
    return [page for value in (node.values() if isinstance(node, dict) else node) for page in _pages(value)]  # type: ignore[attr-defined]


def test_every_page_is_in_the_navigation_and_says_what_it_is_for() -> None:
    pages = _pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])

    assert sorted(pages) == sorted(path.name for path in DOCS.glob("*.md"))
    for page in set(pages) - {"families.md", "job.md"}:  # generated from the code
        assert re.search(r"^# .*\n\nAfter this page you ", (DOCS / page).read_text()), page


@pytest.mark.slow
def test_site_builds_offline_without_a_broken_link(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="the extra docs is not installed")
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]

    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | proxies, capture_output=True, text=True, check=False, timeout=300
    )

    assert done.returncode == 0, done.stderr
    built = {path.stem for path in (tmp_path / "site").glob("*.html")}
    assert built >= {path.stem for path in DOCS.glob("*.md")}
    for page in (tmp_path / "site").glob("*.html"):
        assert not re.findall(
            r'<(?:script|link|img)[^>]*(?:src|href)="(https?:)?//[^"]+\.(?:js|css|png|woff2?)"', page.read_text()
        )


@pytest.fixture(scope="module")
def explanation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_explanation", DOCS / "explanation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_only_the_autoencoder_tells_the_unusual_row_from_a_parabola(explanation: ModuleType) -> None:
    train, unusual = explanation.parabola(), explanation.UNUSUAL

    shares = []
    for reconstruct in (explanation.pca_reconstruction, explanation.autoencoder_reconstruction):
        error = np.linalg.norm(train - reconstruct(train, train), axis=1)
        shares.append((error >= np.linalg.norm(unusual - reconstruct(train, unusual))).mean())

    assert shares[0] == pytest.approx(0.36, abs=0.005)  # docs/why_autoencoders.md
    assert shares[1] == 0
