"""Names and values from data stay text: in pages, on the terminal and in Prefect artifacts."""

import base64
import hashlib
import re
from collections import Counter
from pathlib import Path

import pytest

import aepipe.report
from aepipe.cli.console import print_table
from aepipe.report.render import content_policy, render
from aepipe.report.what_if import SCRIPT
from tests.report.conftest import everything
from tests.report.test_render import PAGES, Page
from tests.support.payloads import PAYLOADS

TEMPLATES = Path(aepipe.report.__file__).parent / "templates"
HARMLESS_URL = re.compile(r"#[\w-]*|data:image/png;base64,[A-Za-z0-9+/=]*")


def tags_of(page: Page) -> Counter[tuple[str, tuple[str, ...]]]:
    return Counter((tag, tuple(sorted(attributes))) for tag, attributes in page.tags)


def policy_of(page: str) -> str:
    (found,) = [a["content"] for tag, a in Page(page).tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert found is not None
    return found


def sha256(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@pytest.mark.parametrize("name", PAGES)
def test_the_policy_allows_the_style_sheet_and_script_of_the_page_and_nothing_to_be_fetched(pages, name):
    page = pages[name]

    policy = policy_of(page)

    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.S)
    assert f"style-src-elem {sha256(style)}" in policy
    for script in re.findall(r"<script>(.*?)</script>", page, re.S):
        assert f"script-src {sha256(script)}" in policy
    assert "unsafe" not in policy.split("script-src")[1].split(";")[0]
    assert page.index("Content-Security-Policy") < page.index("<title>")


def test_every_template_of_a_page_has_the_policy():
    pages = [path for path in TEMPLATES.glob("*.html") if "{% block main %}" in path.read_text()]

    assert {path.name for path in pages} >= {"report.html", "samples.html", "augment.html", "base.html"}
    for path in pages:
        assert path.name == "base.html" or '{% extends "base.html" %}' in path.read_text(), path.name
    sources = [path for path in Path(aepipe.__path__[0]).rglob("*.py") if "<html" in path.read_text().lower()]
    assert sources == []


def test_the_policy_follows_the_script():
    assert content_policy("a", SCRIPT) != content_policy("a", f"{SCRIPT} ")


@pytest.mark.slow
@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_in_every_field_adds_no_tag_to_the_page(payload: str, plain_tags) -> None:
    page = Page(render(everything(payload)))

    assert page.open == []
    assert set(tags_of(page)) <= plain_tags
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href"):
            assert HARMLESS_URL.fullmatch(attributes.get(name) or "#"), (tag, name)


@pytest.fixture(scope="module")
def plain_tags() -> set[tuple[str, tuple[str, ...]]]:
    """Return the tags, with their attributes, on pages of harmless texts."""
    return {key for text in ("x", "a longer text, " * 40) for key in tags_of(Page(render(everything(text))))}


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_on_the_terminal_is_text(payload: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(payload.replace("\x1b", ""), ("column",), [(payload,), ("other",)])

    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert all(word in shown for word in re.findall(r"[A-Za-z]{5,}", payload))
