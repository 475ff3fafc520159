"""Report pages in a headless Chromium: layout at two widths and in print, and what the script does."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from aepipe.report.compare_page import render_comparison
from aepipe.report.render import render
from aepipe.report.sample_page import render_sample_page
from tests.support import wide_pages

ROOT = Path(__file__).parents[2]
AXE = next(
    (
        path
        for folder in (ROOT, Path("/usr/lib"), Path("/usr/local/lib"), Path.home())
        if (path := folder / "node_modules" / "axe-core" / "axe.min.js").is_file()
    ),
    None,
)
"""Accessibility checks of axe-core: `npm install --no-save axe-core` in the root of the repository."""

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MAKERS = {
    "wide": lambda: render(wide_pages.wide_page()),
    "month": lambda: render(wide_pages.month_page()),
    "series": lambda: render(wide_pages.series_page()),
    "images": lambda: render(wide_pages.image_page()),
    "samples": lambda: render_sample_page(wide_pages.sample_page()),
    "index": wide_pages.index_page,
    "compare": lambda: render_comparison(wide_pages.compare_page()),
}
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]

# Elements wider than their box that neither scroll nor are meant to be cut, texts outside the page, texts of a chart
# that lie on each other (slanted ones do not, but their boxes do), and short words or numbers of a table on two lines.
LAYOUT = """
  var page = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  var found = { page: page, cut: [], overlaid: [], broken: [] };
  document.querySelectorAll("body *").forEach(function (element) {
    var style = getComputedStyle(element);
    if (element.closest("svg") || !element.clientWidth || element.scrollWidth <= element.clientWidth + 1) { return; }
    var scrolls = style.overflowX === "auto" && element.tabIndex === 0;
    if (!scrolls && style.display !== "inline" && !element.classList.contains("digest")) {
      found.cut.push(element.tagName + "." + element.className + " " + element.textContent.trim().slice(0, 40));
    }
  });
  document.querySelectorAll("svg").forEach(function (chart) {
    var texts = Array.from(chart.querySelectorAll("text:not([transform])"));
    texts.forEach(function (text, at) {
      var box = text.getBoundingClientRect();
      texts.slice(at + 1).forEach(function (other) {
        var next = other.getBoundingClientRect();
        var width = Math.min(box.right, next.right) - Math.max(box.left, next.left);
        var height = Math.min(box.bottom, next.bottom) - Math.max(box.top, next.top);
        if (width > 2 && height > 3) { found.overlaid.push(text.textContent + " | " + other.textContent); }
      });
    });
  });
  document.querySelectorAll("th, td").forEach(function (cell) {
    var range = document.createRange();
    range.selectNodeContents(cell);
    var lines = new Set(Array.from(range.getClientRects()).map(function (box) { return Math.round(box.top / 8); }));
    if (/^[\\w.,%]{1,11}$/.test(cell.textContent.trim()) && lines.size > 1) { found.broken.push(cell.textContent); }
  });
"""
NOTHING = {"page": 0, "cut": [], "overlaid": [], "broken": []}
PRINTED_PX = 688
"""Width of A4 less the margins of the style sheet; that of Letter is larger."""
VIOLATIONS = """
  axe.run(document).then(function (result) {
    var found = document.createElement("pre");
    found.id = "violations";
    found.textContent = JSON.stringify(result.violations.map(function (rule) {
      return rule.impact + " " + rule.id + ": " + rule.nodes[0].html;
    }));
    document.body.appendChild(found);
  });
"""
POINTER = """
  var found = {}, tip = document.querySelector(".tip");
  function shown() { return tip.hidden ? null : tip.textContent; }
  function press(chart, key) { chart.dispatchEvent(new KeyboardEvent("keydown", { key: key })); return shown(); }
  function point(chart, at) {
    var box = chart.getBoundingClientRect(), view = chart.viewBox.baseVal;
    var mark = JSON.parse(chart.getAttribute("data-marks"))[at];
    chart.dispatchEvent(new PointerEvent("pointermove", {
      clientX: box.left + (mark[0] - view.x) / view.width * box.width,
      clientY: box.top + (mark[1] - view.y) / view.height * box.height
    }));
    return shown();
  }
"""
SERIES = (
    POINTER
    + """
  var chart = document.querySelector("svg.series"), marks = JSON.parse(chart.getAttribute("data-marks"));
  found.marks = marks.map(function (mark) { return mark[2]; });
  found.pointed = point(chart, 5);
  found.next = press(chart, "ArrowRight");
  found.focusable = chart.tabIndex;
  press(chart, "+");
  found.zoomed = chart.viewBox.baseVal.width;
  found.left = marks[6][0] >= chart.viewBox.baseVal.x && marks[6][0] <= chart.viewBox.baseVal.x + 500;
  for (var at = 0; at < marks.length; at += 1) { press(chart, "ArrowRight"); }
  found.inside = marks.filter(function (mark) { return mark[2] === tip.textContent; })[0][0] <= 500;
  press(chart, "0");
  found.reset = chart.viewBox.baseVal.width;
  found.hidden = press(chart, "Escape");
"""
)
BEHAVIOUR = (
    POINTER
    + """
  var shares = document.querySelector("#partitions svg");
  found.share = point(shares, 2);
  shares.dispatchEvent(new MouseEvent("click"));
  found.hash = location.hash;
  found.scores = point(document.querySelector("#scores svg"), 3);
  found.latents = point(document.querySelector("#latents svg"), 0);
  var partition = document.getElementById("filter-partition"), reason = document.getElementById("filter-reason");
  function visible() { return document.querySelectorAll("article.card:not([hidden])").length; }
  found.all = visible();
  partition.value = "dt=2026-01-02";
  partition.dispatchEvent(new Event("change"));
  found.filtered = visible();
  found.count = document.getElementById("filter-count").textContent;
  reason.value = "amount";
  reason.dispatchEvent(new Event("change"));
  found.both = visible();
"""
)


def _opened(path: Path, *options: str) -> str:
    """Return the document after its scripts ran."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--window-size=1280,900", *options]
    command += ["--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


def _probe(page: str, path: Path, script: str, *, width: int = 1280) -> dict[str, object]:
    """Run a script in the page, without its policy, which forbids other scripts than its own."""
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    frame = f"width: {width}px; height: 900px; border: 0"
    inner = path.with_suffix(".inner.html")
    inner.write_text(
        page.replace(
            "</body>",
            f'<script>window.addEventListener("load", function () {{ {script}'
            ' parent.postMessage(JSON.stringify(found), "*"); });</script></body>',
        )
    )
    # a frame, since a window of Chromium is at least 500 pixels wide
    path.write_text(
        '<!DOCTYPE html><pre id="found"></pre><script>window.addEventListener("message", function (event) {'
        ' document.getElementById("found").textContent = event.data; });</script>'
        f'<iframe src="{inner.name}" style="{frame}"></iframe>'
    )
    found = re.search(r'<pre id="found">(.*?)</pre>', _opened(path), re.DOTALL)
    assert found is not None
    answer: dict[str, object] = json.loads(unescape(found[1]))
    return answer


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return {name: make() for name, make in MAKERS.items()}


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", MAKERS)
def test_nothing_is_cut_and_the_page_does_not_scroll_sideways(texts, tmp_path, name, width):
    found = _probe(texts[name], tmp_path / "page.html", LAYOUT, width=width)

    assert found == NOTHING


@pytest.mark.skipif(AXE is None, reason="axe-core is not installed")
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", MAKERS)
def test_axe_finds_nothing(texts, tmp_path, name, is_dark):
    assert AXE is not None
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", texts[name])
    if is_dark:
        page = page.replace("@media screen and (prefers-color-scheme: dark)", "@media screen")
    path = tmp_path / "page.html"
    path.write_text(page.replace("</body>", f"<script>{AXE.read_text()}</script><script>{VIOLATIONS}</script></body>"))

    opened = _opened(path, "--virtual-time-budget=60000")

    found = re.search(r'<pre id="violations">(.*?)</pre>', opened, re.DOTALL)
    assert found is not None
    assert json.loads(unescape(found[1])) == []


@pytest.mark.parametrize("name", MAKERS)
def test_print_cuts_nothing(texts, tmp_path, name):
    printed = texts[name].replace("@media print", "@media all")

    found = _probe(printed, tmp_path / "page.html", LAYOUT, width=PRINTED_PX)

    assert found == NOTHING


def test_charts_answer_to_the_pointer_and_rows_can_be_filtered(texts, tmp_path):
    found = _probe(texts["month"], tmp_path / "page.html", BEHAVIOUR)

    assert found["share"].startswith("dt=2026-01-03: ")
    assert "(click: its card)" in found["share"]
    assert found["hash"] == "#row-3"
    assert re.match(r"score .* to .*: [\d,]+ rows \(.*%\), [\d,]+ of calibration", found["scores"])
    assert re.match(r"score [\d.]+, dt=2026-01-0\d, row [\d,]+", found["latents"])
    assert found["all"] == 24
    assert found["count"] == f"{found['filtered']} of 24 rows"
    assert 0 < found["both"] < found["filtered"] < 24


def test_charts_of_series_answer_to_pointer_and_keyboard(texts, tmp_path):
    found = _probe(texts["series"], tmp_path / "page.html", SERIES)

    time = r"2026-01-\d\d \d\d:\d\d:00\.123456789"
    assert re.fullmatch(time + r", dt=2026-01-01: score [\d.]+(, alarm)?", found["pointed"])
    assert (found["pointed"], found["next"]) == (found["marks"][5], found["marks"][6])
    assert found["focusable"] == 0
    assert (found["zoomed"], found["reset"]) == (500, 1000)
    assert found["left"] is True
    assert found["inside"] is True
    assert found["hidden"] is None


def test_the_policy_of_the_page_allows_its_script(texts, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(texts["month"])

    opened = _opened(path)

    assert re.search(r'<p id="filter" class="controls">', opened)
    assert 'class="tip"' in opened


def test_a_month_stays_below_a_megabyte(texts):
    assert len(texts["month"].encode()) < 1_000_000


def test_rows_without_a_key_are_named_by_partition_and_position(texts):
    assert "<b>dt=2026-01-02, row 1,205</b>" in texts["month"]
