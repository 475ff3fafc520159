import numpy as np
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis

from aepipe.heads import class_discriminant as classes
from aepipe.heads.class_discriminant import Classes, fit_classes


def _points(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw points of three classes that differ in size and shape."""
    generator = np.random.default_rng(seed)
    codes = generator.choice(3, rows, p=[0.5, 0.3, 0.2])
    means, spreads = np.array([[0, 0], [4, 1], [-1, 5]]), np.array([[1, 0.3], [0.5, 1], [1, 1]])
    return means[codes] + spreads[codes] * generator.normal(size=(rows, 2)), codes


def _classify(fitted: Classes, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        found, confidence = fitted(torch.from_numpy(z).float())
    assert found.dtype == torch.int32
    return found[:, 0].numpy(), confidence[:, 0].numpy()


def test_confidence_is_the_probability_among_all_classes_and_a_wide_gaussian() -> None:
    train, fresh = _points(2_000, 0), _points(100, 1)[0]

    fitted = fit_classes(train, (np.zeros((0, 2)), np.zeros(0, int)), classes=3)
    found, confidence = _classify(fitted, fresh)

    floor = 0.01 * np.diag(train[0].var(axis=0))
    of_class = [train[0][train[1] == code] for code in range(3)]
    shares = [len(rows) / len(train[0]) for rows in of_class]
    common = sum(share * np.cov(rows.T, bias=True) for share, rows in zip(shares, of_class, strict=True))
    drawn = classes.SHRINKAGE[len(classes.SHRINKAGE) // 2]
    spreads = [(1 - drawn) * np.cov(rows.T, bias=True) + drawn * common + floor for rows in of_class]
    density = [
        share * multivariate_normal(rows.mean(0), spread).pdf(fresh)
        for share, rows, spread in zip(shares, of_class, spreads, strict=True)
    ]
    wide = multivariate_normal(train[0].mean(0), classes.OTHERS * (np.cov(train[0].T, bias=True) + floor))
    joint = np.stack([*density, classes.OTHERS_SHARE * wide.pdf(fresh)], 1)
    np.testing.assert_array_equal(found, joint[:, :3].argmax(1))
    np.testing.assert_allclose(confidence, joint[:, :3].max(1) / joint.sum(1), rtol=1e-3)


def test_dev_rows_choose_the_shrinkage_under_which_they_are_likeliest() -> None:
    few, many = _points(60, 2), _points(3_000, 3)

    chosen = fit_classes(few, many, classes=3)

    fitted = [classes._fitted(*few, 3, shrinkage) for shrinkage in classes.SHRINKAGE]
    likelihoods = [classes.log_likelihood(each, *many) for each in fitted]
    assert classes.log_likelihood(chosen, *many) == max(likelihoods)
    assert len(set(likelihoods)) > 1


def test_digits_are_classified_like_by_scikit_learn_and_the_unknown_one_less_confidently() -> None:
    table = load_digits()
    z, digit = PCA(16).fit_transform(table.data), table.target
    order = np.random.default_rng(0).permutation(len(z))
    train, dev, test = (order[at] for at in (slice(0, 900), slice(900, 1_100), slice(1_100, None)))
    train, dev = (rows[digit[rows] != 9] for rows in (train, dev))

    fitted = fit_classes((z[train], digit[train]), (z[dev], digit[dev]), classes=9)
    found, confidence = _classify(fitted, z[test])

    known = digit[test] != 9
    theirs = QuadraticDiscriminantAnalysis(reg_param=0.1).fit(z[train], digit[train]).predict(z[test])
    assert np.mean(found[known] == digit[test][known]) >= np.mean(theirs[known] == digit[test][known]) - 0.005
    assert np.mean(confidence[known][:, None] > confidence[~known][None]) > 0.95
