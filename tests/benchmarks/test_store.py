"""Stored measurements survive a crash."""

from pathlib import Path

from benchmarks.store import Store


def test_a_line_that_a_crash_cut_short_is_passed_over(tmp_path: Path) -> None:
    store = Store(tmp_path, "zoo")
    store.add("vae", 0, "first", {"mse": 0.5})
    with store.path.open("a") as file:
        file.write('{"experiment": "vae", "se')

    assert list(store.read()) == ["first/0"]


def test_benchmarks_keep_their_results_apart(tmp_path: Path) -> None:
    Store(tmp_path, "zoo").add("vae", 0, "key", {"mse": 0.5})

    assert Store(tmp_path, "detection").read() == {}
