"""Augmentation of a rare class through the real job."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aepipe.cli.main import app
from aepipe.errors import AepipeError, ArgumentInvalid, EvaluationInvalid, JobInvalid
from aepipe.jobs.sample.augment import augment
from tests.support.shop import shop_job


@pytest.mark.slow
def test_page_compares_synthetic_rows_with_class_weights_and_copies(shared_folder: Path, tmp_path: Path) -> None:
    job = shop_job(shared_folder, tmp_path, "")

    done = CliRunner().invoke(app, ["augment", str(job), "--rare", "kind=boot", "--rows", "50", "--json"])

    found = json.loads(done.stdout)
    assert [arm["name"] for arm in found["arms"]] == [
        "real rows alone",
        "class weights",
        "copies of real rows",
        "synthetic rows",
    ]
    assert found["arms"][3]["rows"] == found["arms"][2]["rows"] == found["arms"][0]["rows"] + 50
    assert found["arms"][3]["auroc"][0] > 0.9
    page = Path(found["path"]).read_text()
    for arm in found["arms"]:
        assert arm["name"] in page
    assert "no privacy guarantee" in page
    assert "--where &#39;&#34;kind&#34; = &#39;&#34;&#39;&#34;&#39;boot" in page
    assert not (tmp_path / "out" / "samples").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rare", "error", "message"),
    [
        ("kind", ArgumentInvalid, "rare: expected column=value, such as income=>50K, got 'kind'"),
        ("size=3", ArgumentInvalid, r"'size' is not a category of shop/\S+: expected one of colour, kind"),
        ("kind=hat", JobInvalid, "'kind' never has the value 'hat' in the training rows of shop/"),
    ],
)
def test_invalid_class_is_rejected_before_writing(
    rare: str, error: type[AepipeError], message: str, shared_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        augment(shop_job(shared_folder, tmp_path, ""), rare)

    assert not (tmp_path / "out").exists()


def test_images_are_rejected(digits: Path) -> None:
    with pytest.raises(JobInvalid, match="is a model of images or series: expected a table"):
        augment(digits, "digit=1")


@pytest.mark.slow
def test_class_with_few_held_out_rows_is_rejected(
    shared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aepipe.quality.augmentation.FEWEST_HELD_OUT", 100)

    with pytest.raises(
        EvaluationInvalid,
        match=r"held-out rows are too few: expected 100 with this value of 'kind' and 100 without, got \d+ and \d+",
    ):
        augment(shop_job(shared_folder, tmp_path, ""), "kind=boot", rows=20)
