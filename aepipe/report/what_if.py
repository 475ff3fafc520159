"""Alarms at other values of alpha: counts per night, costs and measures, and the script of the slider."""

import json
from dataclasses import dataclass

import numpy as np

from aepipe.report import formatting

SCRIPT = """\
(function () {
  "use strict";
  var box = document.getElementById("what-if-data");
  var slider = document.getElementById("what-if-alpha");
  if (!box || !slider) { return; }
  var found = JSON.parse(box.getAttribute("data-found"));
  function text(id, value) {
    var element = document.getElementById(id);
    if (element) { element.textContent = value; }
  }
  function show() {
    var at = Number(slider.value), total = 0, over = 0, largest = 1;
    found.alarms.forEach(function (counts) { largest = Math.max(largest, counts[at]); });
    found.alarms.forEach(function (counts, night) {
      var bar = document.getElementById("what-if-bar-" + night);
      total += counts[at];
      over += found.capacity !== null && counts[at] > found.capacity ? 1 : 0;
      text("what-if-count-" + night, counts[at].toLocaleString("en"));
      if (bar) { bar.max = largest; bar.value = counts[at]; }
    });
    text("what-if-shown", found.alphas[at]);
    text("what-if-line", "alpha = " + found.alphas[at]);
    text("what-if-total", total.toLocaleString("en"));
    text("what-if-over", over.toLocaleString("en"));
    Object.keys(found.figures).forEach(function (name) { text("what-if-" + name, found.figures[name][at]); });
  }
  slider.disabled = false;
  slider.addEventListener("input", show);
  show();
}());
"""
"""The one script of a report page. It reads numbers from the page and writes texts: no network, no storage, no HTML."""


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    """Alarms of N nights at A values of alpha, with costs and measures where they are known.

    Attributes:
        alphas: (A,), ascending.
        current: index of the alpha that is nearest to the one in use.
        partitions: names of the nights.
        rows: rows with a score, per night.
        alarms: flagged rows, (N, A).
        capacity: alarms per night that can be reviewed; None: no limit.
        cost: expected cost per night, (A,); None without a cost table.
        cost_basis: what the cost is estimated from.
        precision: among labelled rows, (A,); NaN where none of them is flagged; None without labels of both classes.
        recall: as `precision`.
        labelled: number of labelled rows.
        anomalies: number of labelled rows that are anomalies.
        selects_alpha: the job has costs or a capacity, which select alpha.
        is_adaptive: the flags of the nights adapted; the slider shows a fixed alpha.
    """

    alphas: np.ndarray
    current: int
    partitions: tuple[str, ...]
    rows: tuple[int, ...]
    alarms: np.ndarray
    capacity: int | None = None
    cost: np.ndarray | None = None
    cost_basis: str = ""
    precision: np.ndarray | None = None
    recall: np.ndarray | None = None
    labelled: int = 0
    anomalies: int = 0
    selects_alpha: bool = False
    is_adaptive: bool = False

    @property
    def figures(self) -> dict[str, list[str]]:
        """Texts by figure, one per alpha."""
        known = {"cost": self.cost, "precision": self.precision, "recall": self.recall}
        return {
            name: [formatting.number(float(value)) for value in values]
            for name, values in known.items()
            if values is not None
        }

    @property
    def now(self) -> list[int]:
        """Flagged rows per night at the current alpha."""
        return [int(count) for count in self.alarms[:, self.current]]

    @property
    def names(self) -> list[str]:
        """Alphas as a job file holds them."""
        return [f"{alpha:.3g}" for alpha in self.alphas]

    @property
    def content(self) -> str:
        """JSON that the script reads."""
        found = {
            "alphas": self.names,
            "alarms": self.alarms.tolist(),
            "capacity": self.capacity,
            "figures": self.figures,
        }
        return json.dumps(found, separators=(",", ":"), ensure_ascii=False)
