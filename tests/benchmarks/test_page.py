"""Tables are written to their places in the page."""

from pathlib import Path

from benchmarks.page import put_into

BEGIN, END = "<!-- zoo:begin -->", "<!-- zoo:end -->"


def test_only_what_stands_between_the_markers_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")

    put_into(page, "new\n", name="zoo")

    assert page.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


def test_a_page_without_markers_gets_them_at_its_end(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"

    put_into(page, "first\n", name="zoo")
    put_into(page, "second\n", name="zoo")

    assert page.read_text() == f"# Benchmarks\n\n{BEGIN}\nsecond\n{END}\n"


def test_two_benchmarks_share_a_page(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"

    put_into(page, "one\n", name="zoo")
    put_into(page, "two\n", name="detection")
    put_into(page, "three\n", name="zoo")

    other = "<!-- detection:begin -->\ntwo\n<!-- detection:end -->"
    assert page.read_text() == f"# Benchmarks\n\n{BEGIN}\nthree\n{END}\n\n{other}\n"
