"""Log lines from training to explanation: a new kind of line is flagged, and its tokens are the reason."""

import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.config.job import Model as Section
from aepipe.config.text import TokenChoice
from aepipe.errors import JobInvalid, OptionInvalid
from aepipe.jobs.explain import explain
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.sample.traverse import interpolate
from aepipe.jobs.score import score
from aepipe.jobs.train.fitting import collapse_warnings
from aepipe.jobs.train.train import train
from aepipe.models.families import plan
from tests.support.layouts import LAYOUTS, with_conditions

USUAL = ["opened session for user {}", "closed session for user {}", "disk sda is {} C warm", "query took {} ms"]
NOVEL = "kernel panic: not syncing after {} s"


def lines(rows: int, seed: int, *, novel: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    texts = [USUAL[rng.integers(4)].format(rng.integers(100)) for _ in range(rows - novel)]
    texts += [NOVEL.format(at) for at in range(novel)]
    return pa.table({"id": [f"{seed}-{at}" for at in range(rows)], "load": rng.normal(size=rows), "line": texts})


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    for night, table in (("dt=2026-01-01", lines(1_200, 0)), ("dt=2026-01-02", lines(200, 1, novel=4))):
        (folder / "rows" / night).mkdir(parents=True)
        pq.write_table(table, folder / "rows" / night / "part-0.parquet")
    path = folder / "job.toml"
    path.write_text(
        'name = "lines"\n[data]\npath = "rows"\nkeys = ["id"]\n[columns]\nline = "text"\n'
        '[train]\nto = "dt=2026-01-01"\nepochs = 6\n[samples]\nrows = 50\n[model]\nstate = 32\n'
    )
    train(path)
    score(path)
    return path


@pytest.mark.slow
def test_novel_lines_score_above_usual_ones_and_explain_names_their_tokens(job: Path) -> None:
    scores = pq.read_table(job.parent / "out" / "lines" / "scores" / "dt=2026-01-02" / "part-0.parquet")
    by_key = dict(zip(scores["id"].to_pylist(), scores["score"].to_pylist(), strict=True))
    novel = [by_key[f"1-{at}"] for at in range(196, 200)]
    usual = np.array([by_key[f"1-{at}"] for at in range(196)])

    assert min(novel) > np.quantile(usual, 0.95)
    cells = dict(zip(scores["id"].to_pylist(), scores["cell_column"].to_pylist(), strict=True))
    assert {cells[f"1-{at}"] for at in range(196, 200)} == {"line"}
    (found,) = explain(job, ["1-197"])
    (line,) = [each for each in found.columns if each.name == "line"]
    assert found.kind == "table"
    assert line.rank == 1
    assert line.why.startswith("unlikely: ")
    assert any(word in line.why for word in ("kernel", "panic", "syncing"))


@pytest.mark.slow
def test_texts_without_a_token_train_and_the_first_token_stands_out(tmp_path: Path) -> None:
    rows = lines(240, 0)
    column = rows.column_names.index("line")
    for night, texts in (("dt=2026-01-01", [""] * 240), ("dt=2026-01-02", [""] * 239 + ["disk"])):
        (tmp_path / "rows" / night).mkdir(parents=True)
        pq.write_table(rows.set_column(column, "line", pa.array(texts)), tmp_path / "rows" / night / "part-0.parquet")
    job = tmp_path / "job.toml"
    job.write_text(
        'name = "empty"\n[data]\npath = "rows"\nkeys = ["id"]\n[columns]\nline = "text"\n'
        '[train]\nto = "dt=2026-01-01"\nepochs = 20\n[model]\nstate = 32\n'
    )

    train(job)  # the losses of certain tokens are rounding, and no difference between the graph and torch
    score(job)

    scores = pq.read_table(tmp_path / "out" / "empty" / "scores" / "dt=2026-01-02" / "part-0.parquet")
    assert scores["score"].to_numpy().argmax() == 239
    assert scores["cell_column"].to_pylist()[239] == "line"


@pytest.mark.slow
def test_sampled_lines_are_made_of_known_words(job: Path) -> None:
    sample(job, seed=1)

    (path,) = (job.parent / "out" / "lines" / "samples").rglob("*.parquet")
    drawn = pq.read_table(path)
    words = {word for usual in USUAL for word in usual.format("").split()}
    assert drawn.num_rows == 50
    assert len(set(drawn["line"].to_pylist())) > 10
    for text in drawn["line"].to_pylist():
        assert re.fullmatch(f"(?: ?(?:{'|'.join(words)}|[0-9]+))*", text), text


@pytest.mark.slow
def test_a_temperature_and_a_truncation_change_the_texts_alone_and_leave_less_variety(job: Path) -> None:
    drawn, sharp = (
        pq.read_table(sample(job, rows=200, seed=3, name=name, tokens=tokens).path)
        for name, tokens in (("drawn", TokenChoice()), ("sharp", TokenChoice(temperature=0.5, top_p=0.5)))
    )

    assert sharp["load"].equals(drawn["load"])
    assert not sharp["line"].equals(drawn["line"])
    distinct = [len(set(table["line"].to_pylist())) for table in (drawn, sharp)]
    assert 1 < distinct[1] < distinct[0]
    greedy = pq.read_table(sample(job, rows=50, seed=3, name="greedy", tokens=TokenChoice(top_k=1)).path)
    again = pq.read_table(sample(job, rows=50, seed=3, name="again", tokens=TokenChoice(top_k=1, temperature=5.0)).path)
    assert greedy["line"].equals(again["line"])


@pytest.mark.slow
def test_rows_with_texts_are_sampled_given_their_other_columns(job: Path) -> None:
    drawn = pq.read_table(sample(job, rows=40, name="high", where="load > 0.5").path)

    assert drawn.num_rows == 40
    assert min(drawn["load"].to_pylist()) > 0.5
    assert len(set(drawn["line"].to_pylist())) > 5
    with pytest.raises(JobInvalid, match=r"'load' is never > 50 in the training rows of .* expected a value from"):
        sample(job, rows=40, name="none", where="load > 50")


@pytest.mark.parametrize("family", ["pca", "vrnn", "tabular_vae", "factor_vae"])
def test_a_family_without_texts_says_which_have_them(family: str) -> None:
    with pytest.raises(OptionInvalid, match=r"has no texts, but 'line' is one: use ae or "):
        plan(LAYOUTS["text"], Section(family=family))


def test_a_conditional_vae_takes_texts() -> None:
    planned = plan(with_conditions(LAYOUTS["text"]), Section(family="cvae"))

    assert planned.backbone.name == "recurrent"


def test_a_model_of_texts_that_ignores_its_latents_is_named() -> None:
    collapsed, used = {"mutual_information": 0.02}, {"mutual_information": 2.0}

    (warning,) = collapse_warnings(LAYOUTS["text"], collapsed)

    assert warning.startswith("the model has collapsed: its latents hold 0.02 nats of a row")
    assert "Raise free_bits under [model]" in warning
    assert collapse_warnings(LAYOUTS["text"], used) == ()
    assert collapse_warnings(LAYOUTS["text"], {}) == ()  # an autoencoder has no prior to collapse to
    assert collapse_warnings(LAYOUTS["mixed"], collapsed) == ()


@pytest.mark.slow
def test_a_collapsed_model_is_refused_by_samples_and_traversals(job: Path, tmp_path: Path) -> None:
    folder = tmp_path / "collapsed"
    shutil.copytree(job.parent / "rows", folder / "rows")
    other = folder / "job.toml"
    unused = "state = 32\nfree_bits = 0.0\nwarm_up = 0.0\nword_dropout = 0.0\nlatent = 1"
    text = job.read_text().replace("state = 32", unused)
    other.write_text(text.replace("epochs = 6", "epochs = 6\nlearning_rate = 1e-4"))

    trained = train(other)
    drawn = sample(other)

    assert any(warning.startswith("the model has collapsed") for warning in trained.warnings)
    assert any("mutual information of rows and latents is" in fault for fault in drawn.missed)
    assert not list((folder / "out" / "lines" / "samples").rglob("*.parquet"))
    with pytest.raises(OptionInvalid, match="cannot be traversed: the model has collapsed"):
        interpolate(other, "0-0", "0-1")
    assert not any("mutual information" in fault for fault in sample(job, name="used").missed)
