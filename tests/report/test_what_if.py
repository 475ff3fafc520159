"""The what-if section: texts of the page, and the script of its slider, run by node where it is installed."""

import html
import json
import re
import shutil
import subprocess

import pytest

from aepipe.report.what_if import SCRIPT

STUB = """
var texts = {}, bars = {}, listeners = [];
function element(id) {
  if (id === "what-if-data") { return {getAttribute: function () { return FOUND; }}; }
  if (id === "what-if-alpha") { return slider; }
  if (id.indexOf("what-if-bar-") === 0) { return bars[id] = bars[id] || {}; }
  return {set textContent(value) { texts[id] = value; }};
}
var slider = {value: "1", disabled: true, addEventListener: function (name, call) { listeners.push(call); }};
var document = {getElementById: element};
"""


def section(page: str) -> str:
    return page.partition('<section id="what_if">')[2].partition("</section>")[0]


def test_the_page_shows_the_current_alpha_without_the_script(pages) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<script>.*?</script>|<[^>]+>", " ", section(pages["table"]), flags=re.S))

    assert "alpha 0.05 alarms in 2 nights 1,004" in text
    assert "nights above the capacity of 10 1" in text
    assert "expected cost per night, estimated from plain 2.50" in text
    assert "precision on 50 labelled rows 0.500 recall of 4 anomalies 0.500" in text
    assert "Remove the costs and the capacity: they select alpha" in text


def test_the_content_is_small_and_survives_escaping(pages) -> None:
    found = json.loads(html.unescape(re.search(r'data-found="([^"]*)"', section(pages["hostile"]))[1]))

    assert found["alphas"] == ["0.01", "0.05", "0.2"]
    assert found["alarms"] == [[1, 3, 9], [0, 1001, 1005]]
    assert found["figures"]["precision"][0] == "\N{EN DASH}"


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_slider_shows_the_counts_of_the_chosen_alpha(pages) -> None:
    content = html.unescape(re.search(r'data-found="([^"]*)"', section(pages["table"]))[1])
    moved = 'slider.value = "2"; listeners[0](); console.log(JSON.stringify([texts, bars, slider.disabled]));'
    code = f"var FOUND = {json.dumps(content)};{STUB}{SCRIPT}{moved}"

    done = subprocess.run(["node", "-e", code], capture_output=True, text=True, check=True)

    texts, bars, disabled = json.loads(done.stdout)
    assert texts["what-if-line"] == "alpha = 0.2"
    assert (texts["what-if-total"], texts["what-if-over"]) == ("1,014", "1")
    assert (texts["what-if-cost"], texts["what-if-precision"], texts["what-if-recall"]) == ("4.00", "0.250", "1.00")
    assert texts["what-if-count-1"] == "1,005"
    assert bars == {"what-if-bar-0": {"max": 1005, "value": 9}, "what-if-bar-1": {"max": 1005, "value": 1005}}
    assert disabled is False


def test_the_script_has_no_way_out() -> None:
    for word in ("fetch", "XMLHttpRequest", "innerHTML", "eval", "import", "localStorage", "document.write", "http"):
        assert word not in SCRIPT
