"""Rendered page: well-formed, self-contained, escaped, deterministic."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from aepipe.report import pointer, sections, what_if
from aepipe.report.render import render

PAGES = ("table", "images", "hostile", "bare")
VOID = {"meta", "img", "br", "link", "input", "hr"}
FETCHING = {"src", "href", "srcset", "data", "action", "poster", "background", "xlink:href", "formaction"}
ROOT = Path(__file__).parents[2]


class Page(HTMLParser):
    """Parsed page: tags, attributes and visible text; checks that tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.visible: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> has no opening tag"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.visible.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.visible))


@pytest.mark.parametrize("name", PAGES)
def test_tags_are_balanced(pages, name):
    assert Page(pages[name]).open == []


@pytest.mark.parametrize("name", PAGES)
def test_page_has_one_known_script_at_most_and_no_external_resources(pages, name):
    page = Page(pages[name])

    assert not {tag for tag, _ in page.tags} & {"link", "iframe", "object", "embed", "form", "base"}
    scripts = re.findall(r"<script.*?</script>", pages[name], re.S | re.I)
    assert scripts == [f"<script>{pointer.SCRIPT + what_if.SCRIPT}</script>"]
    assert pages[name].count("<script") == len(scripts)
    for tag, attributes in page.tags:
        for key, value in attributes.items():
            assert not key.startswith("on"), f"<{tag} {key}>"
            assert key not in FETCHING or (value or "").startswith(("#", "data:image/")), f"<{tag} {key}={value}>"
            assert key not in {"style", "clip-path"} or set(re.findall(r"url\((.)", value or "")) <= {"#"}
    for sheet in re.findall(r"<style>.*?</style>", pages[name], re.S):
        assert "url(" not in sheet
        assert "@import" not in sheet


@pytest.mark.parametrize("name", ("table", "images", "bare"))
def test_page_contains_no_urls(pages, name):
    without_pictures = re.sub(r"data:image/\w+;base64,[\w+/=\s]+", "", pages[name])

    assert not re.search(r"https?:|//[a-z]", without_pictures)


@pytest.mark.parametrize("name", PAGES)
def test_ids_are_unique_and_references_resolve(pages, name):
    page = Page(pages[name])
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    links = [value[1:] for _, a in page.tags for key, value in a.items() if key == "href" and value.startswith("#")]
    links += re.findall(r"url\(#([^)]+)\)", pages[name])

    assert len(ids) == len(set(ids))
    assert set(links) <= set(ids)


def test_hostile_text_is_escaped_everywhere(pages, hostile_text):
    page = Page(pages["hostile"])
    beginning = hostile_text[:40]

    assert page.text.count(beginning) > 30
    assert pages["hostile"].count("<script") == 1
    assert "<img src=http" not in pages["hostile"]
    assert {tag for tag, _ in page.tags} <= {tag for name in ("table", "images") for tag, _ in Page(pages[name]).tags}


def test_page_has_every_section_with_content(pages):
    page = Page(pages["table"])
    shown = {attributes["id"] for tag, attributes in page.tags if tag == "section" and "class" not in attributes}

    assert shown == set(sections.TITLES) - {"series"}


def test_missing_sections_give_a_reason(pages):
    page = Page(pages["bare"])
    shown = {attributes["id"] for tag, attributes in page.tags if tag == "section" and "class" not in attributes}

    assert shown == {"glossary"}
    assert "No row was scored." in page.text
    assert "The rows have no label" in page.text


@pytest.mark.parametrize("section", sorted(set(sections.TITLES) - {"glossary"}))
def test_each_section_can_be_omitted_with_the_callers_reason(make_page, section):
    nothing = {"partitions": (), "comparisons": (), "files": ()}.get(section)
    alone = {name: () if name in ("partitions", "comparisons", "files") else None for name in sections.TITLES}
    kept = {name: value for name, value in alone.items() if name not in ("glossary", section)}
    kept |= {section: nothing, "absent": {section: "because <b>I</b> say so"}, "notices": (), "reasons": {}}

    page = render(make_page(**kept))

    assert "because &lt;b&gt;I&lt;/b&gt; say so" in page
    assert Page(page).open == []


def test_numbers_are_formatted_for_readers(pages):
    text = Page(pages["table"]).text.replace("\N{NO-BREAK SPACE}", " ")

    assert "4 of 58 rows flagged at alpha 5 % (6.9 %)" in text
    assert "45,679" in text
    assert "12.3 kB" in text
    assert "With 80 rows the smallest possible value is 0.0123." in text


def test_images_are_shown_with_their_reconstruction(pages):
    page = Page(pages["images"])
    found = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]

    assert found[:3] == ["read", "expected", "difference"]
    assert sum(alt.startswith("synthetic") for alt in found) == sum(alt.startswith("real") for alt in found) == 60


def test_page_names_the_page_of_checked_samples(pages):
    assert "checked in <b>samples-a.html</b>" in pages["images"]


@pytest.mark.slow
def test_equal_pages_give_equal_bytes_in_another_process(pages):
    code = (
        "import sys; sys.path.insert(0, 'tests/report'); import conftest; print(conftest.render(conftest.everything()))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}

    other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True)

    assert other.stdout.decode() == pages["table"] + "\n"


@pytest.mark.parametrize("name", PAGES)
def test_page_size_is_bounded(pages, name):
    assert len(pages[name].encode()) < 400_000


def test_report_is_imported_without_matplotlib():
    code = "import sys, aepipe.report.render; sys.exit('matplotlib' in sys.modules or 'torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_drift_of_a_window_says_how_many_partitions_it_has(pages):
    assert "dt=2026-01-02, the last 28 partitions together" in pages["table"]
    assert pages["table"].count("partitions together") == 1
