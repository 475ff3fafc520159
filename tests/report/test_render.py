"""The page as a whole: well formed, self-contained, escaped, the same each time."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from aepipe.report import sections
from aepipe.report.render import render

NIGHTS = ("table", "images", "hostile", "bare")
VOID = {"meta", "img", "br", "link", "input", "hr"}
FETCHING = {"src", "href", "srcset", "data", "action", "poster", "background", "xlink:href", "formaction"}
ROOT = Path(__file__).parents[2]


class Page(HTMLParser):
    """What a browser would see: tags, attributes and visible text, checked for balance on the way."""

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
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.visible.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.visible))


@pytest.mark.parametrize("name", NIGHTS)
def test_every_tag_is_closed_in_its_turn(pages, name):
    assert Page(pages[name]).open == []


@pytest.mark.parametrize("name", NIGHTS)
def test_nothing_is_run_and_nothing_is_fetched(pages, name):
    page = Page(pages[name])

    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "form", "base"}
    for tag, attributes in page.tags:
        for key, value in attributes.items():
            assert not key.startswith("on"), f"<{tag} {key}>"
            assert key not in FETCHING or (value or "").startswith(("#", "data:image/")), f"<{tag} {key}={value}>"
            assert key not in {"style", "clip-path"} or set(re.findall(r"url\((.)", value or "")) <= {"#"}
    for sheet in re.findall(r"<style>.*?</style>", pages[name], re.S):
        assert "url(" not in sheet
        assert "@import" not in sheet


@pytest.mark.parametrize("name", ("table", "images", "bare"))
def test_no_address_stands_anywhere_in_a_page(pages, name):
    without_pictures = re.sub(r"data:image/\w+;base64,[\w+/=\s]+", "", pages[name])

    assert not re.search(r"https?:|//[a-z]", without_pictures)


@pytest.mark.parametrize("name", NIGHTS)
def test_ids_are_unique_and_every_reference_has_its_target(pages, name):
    page = Page(pages[name])
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    links = [value[1:] for _, a in page.tags for key, value in a.items() if key == "href" and value.startswith("#")]
    links += re.findall(r"url\(#([^)]+)\)", pages[name])

    assert len(ids) == len(set(ids))
    assert set(links) <= set(ids)


def test_hostile_text_is_shown_as_text_wherever_it_stands(pages, hostile_text):
    page = Page(pages["hostile"])
    beginning = hostile_text[:40]

    assert page.text.count(beginning) > 30
    assert "<script" not in pages["hostile"]
    assert "<img src=http" not in pages["hostile"]
    assert {tag for tag, _ in page.tags} <= {tag for name in ("table", "images") for tag, _ in Page(pages[name]).tags}


def test_page_has_every_section_that_has_something_to_show(pages):
    page = Page(pages["table"])
    shown = {attributes["id"] for tag, attributes in page.tags if tag == "section" and "class" not in attributes}

    assert shown == set(sections.TITLES)


def test_absent_sections_say_why(pages):
    page = Page(pages["bare"])
    shown = {attributes["id"] for tag, attributes in page.tags if tag == "section" and "class" not in attributes}

    assert shown == {"glossary"}
    assert "No row was scored." in page.text
    assert "The rows have no label" in page.text


@pytest.mark.parametrize("section", sorted(set(sections.TITLES) - {"glossary"}))
def test_each_section_may_be_left_out_with_a_reason_of_the_callers(make_night, section):
    nothing = {"partitions": (), "comparisons": (), "files": ()}.get(section)
    alone = {name: () if name in ("partitions", "comparisons", "files") else None for name in sections.TITLES}
    kept = {name: value for name, value in alone.items() if name not in ("glossary", section)}
    kept |= {section: nothing, "absent": {section: "because <b>I</b> say so"}, "notices": (), "reasons": {}}

    page = render(make_night(**kept))

    assert "because &lt;b&gt;I&lt;/b&gt; say so" in page
    assert Page(page).open == []


def test_numbers_are_told_as_a_reader_expects_them(pages):
    text = Page(pages["table"]).text.replace("\N{NO-BREAK SPACE}", " ")

    assert "4 of 58 rows flagged at alpha 5 % (6.9 %)" in text
    assert "45,679" in text
    assert "12.3 kB" in text
    assert "With 80 rows the smallest possible value is 0.0123." in text


def test_images_stand_beside_what_the_model_expected(pages):
    page = Page(pages["images"])
    found = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]

    assert found[:3] == ["read", "expected", "difference"]
    assert sum(alt.startswith("synthetic") for alt in found) == sum(alt.startswith("real") for alt in found) == 60


def test_the_page_of_judged_samples_is_named(pages):
    assert "checked in <b>samples-a.html</b>" in pages["images"]


def test_same_night_gives_the_same_bytes_in_another_process(pages):
    code = (
        "import sys; sys.path.insert(0, 'tests/report'); import conftest; print(conftest.render(conftest.everything()))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}

    other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True)

    assert other.stdout.decode() == pages["table"] + "\n"


@pytest.mark.parametrize("name", NIGHTS)
def test_page_is_small_enough_to_be_mailed(pages, name):
    assert len(pages[name].encode()) < 400_000


def test_report_is_imported_without_matplotlib():
    code = "import sys, aepipe.report.render; sys.exit('matplotlib' in sys.modules or 'torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
