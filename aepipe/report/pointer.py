"""Marks of a figure that answer to the pointer, and the script that shows them and filters the cards of rows."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from aepipe.report.figures.panel import Panel

SCRIPT = """\
document.addEventListener("DOMContentLoaded", function () {
  "use strict";
  var tip = document.createElement("div"), shown = null;
  tip.className = "tip";
  tip.setAttribute("role", "status");
  tip.hidden = true;
  document.body.appendChild(tip);
  function hide() { tip.hidden = true; shown = null; }
  document.querySelectorAll("svg[data-marks]").forEach(function (chart) {
    var marks = JSON.parse(chart.getAttribute("data-marks")), across = chart.getAttribute("data-nearest") === "x";
    function isSeen(mark) {
      var view = chart.viewBox.baseVal;
      return mark[0] >= view.x && mark[0] <= view.x + view.width;
    }
    function place(mark) {
      var box = chart.getBoundingClientRect(), view = chart.viewBox.baseVal;
      return {
        x: box.left + (mark[0] - view.x) / view.width * box.width,
        y: box.top + (mark[1] - view.y) / view.height * box.height
      };
    }
    function show(at) {
      var spot = place(marks[at]);
      shown = { chart: chart, at: at };
      chart.shownX = marks[at][0];
      tip.textContent = marks[at][2] + (marks[at][3] ? " (click: its card)" : "");
      tip.hidden = false;
      tip.style.left = Math.max(4, Math.min(spot.x + 10, window.innerWidth - tip.offsetWidth - 4)) + "px";
      tip.style.top = Math.max(4, spot.y - tip.offsetHeight - 10) + "px";
      chart.style.cursor = marks[at][3] ? "pointer" : "";
    }
    function follow() {
      if (shown && shown.chart === chart && marks[shown.at][3]) { location.hash = marks[shown.at][3]; hide(); }
    }
    chart.addEventListener("pointermove", function (event) {
      var best = -1, least = across ? Infinity : 196;
      marks.forEach(function (mark, at) {
        var spot = place(mark), dx = spot.x - event.clientX, dy = spot.y - event.clientY;
        var distance = across ? dx * dx + dy * dy / 1e4 : dx * dx + dy * dy;
        if (distance < least && isSeen(mark)) { least = distance; best = at; }
      });
      if (best < 0) { hide(); } else { show(best); }
    });
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("click", follow);
    chart.setAttribute("tabindex", "0");
    chart.addEventListener("blur", hide);
    chart.addEventListener("keydown", function (event) {
      var step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], at = shown && shown.chart === chart ? shown.at : -1;
      if (event.key === "Enter") { follow(); }
      if (event.key === "Escape") { hide(); }
      if (step && marks.some(isSeen)) {
        event.preventDefault();
        if (at < 0 && step < 0) { at = 0; }
        do { at = (at + step + marks.length) % marks.length; } while (!isSeen(marks[at]));
        show(at);
      }
    });
  });
  window.addEventListener("scroll", hide, { passive: true });
  function reveal() {
    var aim = location.hash ? document.getElementById(location.hash.slice(1)) : null;
    var fold = aim && aim.closest("details");
    if (aim && aim.hidden) { aim.hidden = false; }
    if (fold) { fold.open = true; aim.scrollIntoView(); }
  }
  window.addEventListener("hashchange", reveal);
  reveal();
  var box = document.getElementById("filter");
  if (!box) { return; }
  var cards = document.querySelectorAll("article[data-partition]");
  var reason = document.getElementById("filter-reason"), partition = document.getElementById("filter-partition");
  function filter() {
    var count = 0;
    cards.forEach(function (card) {
      var fits = (!partition.value || card.getAttribute("data-partition") === partition.value) &&
        (!reason.value || JSON.parse(card.getAttribute("data-reasons")).indexOf(reason.value) >= 0);
      card.hidden = !fits;
      count += fits ? 1 : 0;
      if (fits && (reason.value || partition.value) && card.closest("details")) { card.closest("details").open = true; }
    });
    document.getElementById("filter-count").textContent = count + " of " + cards.length + " rows";
  }
  reason.addEventListener("change", filter);
  partition.addEventListener("change", filter);
  box.hidden = false;
  filter();
});
"""
"""It reads texts of the page and writes texts: no network, no storage, no HTML."""


class Mark(NamedTuple):
    """Point of a figure by its values, with the text that the pointer shows and a link within the page."""

    panel: "Panel"
    x: float
    y: float
    text: str
    link: str = ""


def place_marks(marks: Sequence[Mark]) -> str:
    """Return the marks as JSON, each as x, y, text and link, with x and y in the coordinates of the `viewBox`."""
    found = []
    for mark in marks:
        x, y = mark.panel.at(mark.x, mark.y).tolist()
        found.append([round(x, 1), round(y, 1), mark.text, mark.link])
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False)
