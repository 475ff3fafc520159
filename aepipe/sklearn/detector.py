"""Outlier detector with the anomaly score of an autoencoder."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import OutlierMixin
from sklearn.utils.validation import check_is_fitted

from aepipe.sklearn.estimator import TableEstimator
from aepipe.sklearn.fitted_table import flagged_rows
from aepipe.sklearn.tables import to_table


class AutoencoderDetector(OutlierMixin, TableEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Outlier detector with the anomaly score of an autoencoder.

    X is a data frame with columns of any type, or an array of numbers, (B, F); missing values are fine.

    Args:
        family: model family, such as ae, vae, ensemble_ae or pca.
        contamination: share of the training rows that `predict` marks as outliers.
        latent: number of latents; None: chosen by the family.
        epochs: maximum epochs; early stopping usually ends sooner; None: chosen by the family.
        data: polluted if the training rows may be outliers themselves, clean if they are all normal.
        head: scoring head; auto: chosen by `data`.
        options: more options of the family, as the section [model] of a job file.
        columns: kind or settings by column, as the section [columns] of a job file.
        random_state: seed of the split, the weights and the batches; None: 0.

    Attributes:
        offset_: `decision_function` is `score_samples` less this; the highest `contamination` of the training scores
            lie below 0.
        fitted_: trained model; `export` writes its bundle.
        n_features_in_: number of columns in fit.
        feature_names_in_: names of the columns in fit, if they had names.
    """

    def __init__(
        self,
        family: str = "ae",
        *,
        contamination: float = 0.1,
        latent: int | None = None,
        epochs: int | None = 100,
        data: str = "polluted",
        head: str = "auto",
        options: Mapping[str, Any] | None = None,
        columns: Mapping[str, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        self.family = family
        self.contamination = contamination
        self.latent = latent
        self.epochs = epochs
        self.data = data
        self.head = head
        self.options = options
        self.columns = columns
        self.random_state = random_state

    def fit(self, X: Any, y: object = None) -> Self:
        """Train on X; y is ignored. Raises ValueError if X or a parameter is not fit for it."""
        self.fitted_ = self._fit_table(X, data=self.data, head=self.head, contamination=self.contamination)
        scores = np.sort(self.fitted_.training_scores)
        self.offset_ = -float(scores[len(scores) - flagged_rows(self.contamination, len(scores)) - 1])
        return self

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the anomaly score of each row with its sign changed, (B,); lower is more anomalous."""
        check_is_fitted(self)
        return -self.fitted_.score(to_table(self, X, reset=False))

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return `score_samples` less `offset_`, (B,); negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return -1 for outliers and 1 for other rows, (B,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)
