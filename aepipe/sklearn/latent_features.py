"""Transformer from rows to the latents of an autoencoder."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from aepipe.sklearn.estimator import TableEstimator
from aepipe.sklearn.fitted_table import CONTAMINATION
from aepipe.sklearn.tables import to_table


class LatentFeatures(TransformerMixin, TableEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Transformer from rows to the latents of an autoencoder, for a classifier or a plot.

    X is a data frame with columns of any type, or an array of numbers, (B, F); missing values are fine.

    Args:
        family: model family, such as ae, vae or pca.
        latent: number of latents; None: chosen by the family.
        epochs: maximum epochs; early stopping usually ends sooner; None: chosen by the family.
        data: clean, or polluted if some training rows are to be left out as outliers.
        options: more options of the family, as the section [model] of a job file.
        columns: kind or settings by column, as the section [columns] of a job file.
        random_state: seed of the split, the weights and the batches; None: 0.

    Attributes:
        fitted_: trained model; `export` writes its bundle.
        n_features_in_: number of columns in fit.
        feature_names_in_: names of the columns in fit, if they had names.
    """

    def __init__(
        self,
        family: str = "ae",
        *,
        latent: int | None = None,
        epochs: int | None = 100,
        data: str = "clean",
        options: Mapping[str, Any] | None = None,
        columns: Mapping[str, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        self.family = family
        self.latent = latent
        self.epochs = epochs
        self.data = data
        self.options = options
        self.columns = columns
        self.random_state = random_state

    def fit(self, X: Any, y: object = None) -> Self:
        """Train on X; y is ignored. Raises ValueError if X or a parameter is not fit for it."""
        self.fitted_ = self._fit_table(X, data=self.data, head="auto", contamination=CONTAMINATION)
        self._n_features_out = len(self.fitted_.feature_names)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the latents of each row, (B, Z)."""
        check_is_fitted(self)
        return self.fitted_.encode(to_table(self, X, reset=False))

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Return the names of the latents, z_000 ..., (Z,); `input_features` is ignored."""
        check_is_fitted(self)
        return np.asarray(self.fitted_.feature_names, dtype=object)

    def __sklearn_tags__(self) -> Tags:
        """Tell scikit-learn that the latents are float32."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags
