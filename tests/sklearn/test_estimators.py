"""The estimators in scikit-learn's own tools, on tables with columns of several types."""

import io
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

import aepipe
from aepipe.errors import AepipeError, ArgumentInvalid
from aepipe.sklearn import AutoencoderDetector, LatentFeatures, SyntheticSampler
from aepipe.sklearn.fitted_table import BLOCK_ROWS

ROWS, OUTLIERS = 200, 20


def shop(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """Generate orders whose total depends on price and count; a few prices are missing."""
    generator = np.random.default_rng(seed)
    price, count = generator.gamma(4, 2, rows), generator.integers(1, 9, rows)
    frame = pd.DataFrame(
        {
            "price": price,
            "count": count,
            "kind": np.where(price > 8, "boot", "sock"),
            "total": price * count + generator.normal(0, 0.1, rows),
        }
    )
    frame.loc[frame.index % 17 == 3, "price"] = np.nan
    return frame


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    found = shop()
    found.loc[ROWS - OUTLIERS :, "total"] += 60
    return found


@pytest.fixture(scope="module")
def detector(frame: pd.DataFrame) -> AutoencoderDetector:
    return AutoencoderDetector(epochs=10).fit(frame)


def test_outliers_have_the_lowest_scores(detector: AutoencoderDetector, frame: pd.DataFrame) -> None:
    scores = detector.score_samples(frame)

    assert roc_auc_score(np.arange(ROWS) >= ROWS - OUTLIERS, -scores) > 0.9
    np.testing.assert_allclose(detector.decision_function(frame), scores - detector.offset_)
    assert (detector.predict(frame) == -1).sum() == round(0.1 * ROWS)


@pytest.mark.slow
def test_the_exported_model_flags_the_rows_that_predict_marks(
    detector: AutoencoderDetector, frame: pd.DataFrame, tmp_path: Path
) -> None:
    detector.export(tmp_path / "exported" / "shop")

    scored = aepipe.load(tmp_path / "exported" / "shop").score(frame)

    np.testing.assert_allclose(scored["score"], -detector.score_samples(frame), rtol=1e-5)
    assert scored["is_anomaly"].tolist() == (detector.predict(frame) == -1).tolist()


class NoTorch(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        assert not module.startswith("torch"), name
        return super().find_class(module, name)


def test_a_pickle_holds_the_bundle_and_answers_bit_for_bit(detector: AutoencoderDetector, frame: pd.DataFrame) -> None:
    again = NoTorch(io.BytesIO(pickle.dumps(detector))).load()

    np.testing.assert_array_equal(again.score_samples(frame), detector.score_samples(frame))
    assert again.offset_ == detector.offset_
    assert again.to_model().version == detector.to_model().version


def test_rows_are_scored_the_same_alone_and_among_others(detector: AutoencoderDetector, frame: pd.DataFrame) -> None:
    assert len(frame) > BLOCK_ROWS
    alone = np.concatenate([detector.score_samples(frame.iloc[[row]]) for row in range(5)])

    np.testing.assert_array_equal(alone, detector.score_samples(frame)[:5])


@pytest.mark.slow
def test_arrow_and_arrays_are_accepted_like_pandas(detector: AutoencoderDetector, frame: pd.DataFrame) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False)

    np.testing.assert_array_equal(detector.score_samples(table), detector.score_samples(frame))
    numbers = frame[["price", "count", "total"]]
    by_array = AutoencoderDetector("pca", random_state=3).fit(numbers.to_numpy())
    by_list = AutoencoderDetector("pca", random_state=3).fit(numbers.to_numpy().tolist())
    np.testing.assert_array_equal(by_array.predict(numbers.to_numpy()), by_list.predict(numbers.to_numpy()))
    assert by_array.n_features_in_ == 3


@pytest.mark.slow
def test_polars_is_accepted_like_pandas(detector: AutoencoderDetector, frame: pd.DataFrame) -> None:
    polars = pytest.importorskip("polars")

    scores = detector.score_samples(polars.from_pandas(frame))

    np.testing.assert_array_equal(scores, detector.score_samples(frame))
    drawn = SyntheticSampler("pca").fit(polars.from_pandas(frame)).sample(3)
    assert isinstance(drawn, polars.DataFrame)


@pytest.mark.slow
def test_a_grid_search_chooses_by_the_label(frame: pd.DataFrame) -> None:
    labels = np.where(np.arange(ROWS) >= ROWS - OUTLIERS, -1, 1)
    order = np.random.default_rng(0).permutation(ROWS)
    rows, labels = frame.iloc[order], labels[order]

    def auroc(model: AutoencoderDetector, x: pd.DataFrame, y: np.ndarray) -> float:
        return float(roc_auc_score(y == -1, -model.score_samples(x)))

    search = GridSearchCV(AutoencoderDetector(epochs=10), {"family": ["ae", "pca"]}, scoring=auroc, cv=2)
    search.fit(rows, labels)

    assert search.best_score_ > 0.8
    assert search.best_params_["family"] in {"ae", "pca"}


@pytest.mark.slow
def test_latents_feed_a_classifier(frame: pd.DataFrame) -> None:
    pipeline = make_pipeline(LatentFeatures(epochs=20, columns={"kind": "ignore"}), LogisticRegression())

    accuracy = cross_val_score(pipeline, frame, frame["kind"], cv=3)

    assert accuracy.mean() > 0.7


@pytest.mark.slow
def test_latents_have_names_and_a_frame(frame: pd.DataFrame) -> None:
    features = LatentFeatures("pca", latent=2).set_output(transform="pandas")

    found = features.fit_transform(frame)

    assert found.columns.tolist() == ["z_000", "z_001"] == features.get_feature_names_out().tolist()
    assert found.index.equals(frame.index)


@pytest.mark.slow
def test_samples_have_the_columns_and_types_of_the_table(frame: pd.DataFrame) -> None:
    sampler = SyntheticSampler("vae", epochs=5).fit(frame)

    drawn, again = sampler.sample(40, random_state=1), sampler.sample(40, random_state=1)

    assert drawn.dtypes.equals(frame.dtypes)
    pd.testing.assert_frame_equal(drawn, again)
    assert not drawn.equals(sampler.sample(40, random_state=2))
    assert sampler.sample(0).shape == (0, 4)
    array = SyntheticSampler("pca").fit(frame[["count", "total"]].to_numpy()).sample(3)
    assert isinstance(array, np.ndarray)
    assert array.shape == (3, 2)
    with pytest.raises(ArgumentInvalid, match="n_samples: expected a whole number of at least 0, got -1"):
        sampler.sample(-1)


def test_parameters_survive_a_clone() -> None:
    detector = AutoencoderDetector("vae", contamination=0.2, latent=3, options={"beta": 2.0}, random_state=5)

    assert clone(detector).get_params() == detector.get_params()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"family": "aee"}, "aee"),
        ({"contamination": 0.9}, "contamination"),
        ({"epochs": 0}, "epochs"),
        ({"options": {"hiden": [3]}}, "hiden"),
        ({"columns": {"prise": "number"}}, "prise"),
        ({"head": "nearest"}, "nearest"),
    ],
)
def test_a_wrong_parameter_is_a_value_error_that_names_it(
    frame: pd.DataFrame, parameters: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        AutoencoderDetector(**parameters).fit(frame)  # type: ignore[arg-type]


def test_other_columns_are_named_as_scikit_learn_does(detector: AutoencoderDetector, frame: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="feature names should match"):
        detector.predict(frame.rename(columns={"total": "sum"}))
    with pytest.raises(ValueError, match="contains infinity in column 'total'"):
        detector.predict(frame.assign(total=np.inf))


@pytest.mark.slow
def test_a_model_is_fitted_on_a_frame_in_one_line(frame: pd.DataFrame, tmp_path: Path) -> None:
    model = aepipe.fit(frame, family="pca", calibration={"alpha": 0.1})

    scored = model.score(frame)

    assert scored["score"].notna().all()
    assert roc_auc_score(np.arange(ROWS) >= ROWS - OUTLIERS, scored["score"]) > 0.7
    again = pickle.loads(pickle.dumps(model))
    pd.testing.assert_frame_equal(again.score(frame), scored)
    model.export(tmp_path / "exported" / "shop")
    pd.testing.assert_frame_equal(aepipe.load(tmp_path / "exported" / "shop").score(frame), scored)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "aee"}, "aee"),
        ({"train": {"epoch": 3}}, "unknown key 'epoch'; did you mean 'epochs'"),
        ({"keys": 3}, "keys: expected column names, got 3"),
        ({"keys": ["idd"]}, "idd"),
        ({"name": "a b"}, "name"),
    ],
)
def test_a_wrong_argument_of_fit_is_one_sentence_without_a_path(
    frame: pd.DataFrame, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(AepipeError) as caught:
        aepipe.fit(frame, **arguments)  # type: ignore[arg-type]

    assert message in str(caught.value)
    assert "/" not in str(caught.value).replace("aepipe/models/families", "")


def test_fit_needs_a_table_of_twenty_rows(frame: pd.DataFrame) -> None:
    with pytest.raises(TypeError, match="rows are not a table"):
        aepipe.fit({"a": [1.0]})
    with pytest.raises(AepipeError, match="the table is too small: expected at least 20 rows, got 5"):
        aepipe.fit(frame.head(5))
