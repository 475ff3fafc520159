"""The documentation site builds without a broken link, and its pages and examples agree with the code."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.support.scripts import DOCS, docs_script

ROOT = DOCS.parent


def _pages(node: object) -> list[str]:
    if isinstance(node, str):
        return [node]
    return [page for value in (node.values() if isinstance(node, dict) else node) for page in _pages(value)]  # type: ignore[attr-defined]


def test_every_page_is_in_the_navigation_and_says_what_it_is_for() -> None:
    pages = _pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])

    assert sorted(pages) == sorted(path.name for path in DOCS.glob("*.md"))
    for page in pages:
        assert re.search(r"^# .*\n\nAfter this page you ", (DOCS / page).read_text()), page


BUILDERS = {"material": ["mkdocs", "build", "--strict", "--quiet"], "zensical": ["zensical", "build", "--strict"]}
"""Package, and the command that builds the site from mkdocs.yml."""


@pytest.mark.slow
@pytest.mark.parametrize("builder", BUILDERS)
def test_site_builds_offline_without_a_broken_link(tmp_path: Path, builder: str) -> None:
    pytest.importorskip(builder, reason="the extra docs is not installed")
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")

    done = subprocess.run(
        [sys.executable, "-m", *BUILDERS[builder]],
        cwd=tmp_path, env=os.environ | proxies, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "build" / "site"
    assert {path.stem for path in site.glob("*.html")} >= {path.stem for path in DOCS.glob("*.md")}
    for page in site.glob("*.html"):
        loaded = re.findall(r'<(?:script|link|img)\b[^>]*?(?:src|href)="([^"#?]+)', page.read_text())
        files = [address for address in loaded if not address.startswith("data:")]
        assert files
        if page.stem != "404":  # its addresses begin at the root of a server
            assert [address for address in files if not (site / address).exists()] == [], page.name


@pytest.mark.slow
def test_only_the_autoencoder_finds_the_row_off_the_parabola() -> None:
    explanation = docs_script("explanation")
    train, unusual = explanation.parabola(), explanation.UNUSUAL

    shares = []
    for reconstruct in (explanation.pca_reconstruction, explanation.autoencoder_reconstruction):
        error = np.linalg.norm(train - reconstruct(train, train), axis=1)
        shares.append((error >= np.linalg.norm(unusual - reconstruct(train, unusual))).mean())

    assert shares[0] == pytest.approx(0.36, abs=0.005)  # docs/why_autoencoders.md
    assert shares[1] == 0
