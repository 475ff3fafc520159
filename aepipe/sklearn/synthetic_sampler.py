"""Sampler of synthetic rows."""

from collections.abc import Mapping
from typing import Any, Self

from sklearn.utils.validation import check_is_fitted

from aepipe.api.arguments import MOST_SEED, whole_number
from aepipe.sklearn.estimator import TableEstimator
from aepipe.sklearn.fitted_table import CONTAMINATION
from aepipe.sklearn.tables import empty_like, like_input


class SyntheticSampler(TableEstimator):
    """Sampler of synthetic rows that look like the rows it was fitted on.

    X is a data frame with columns of any type, or an array of numbers, (B, F); missing values are fine.

    Args:
        family: model family; tabular_vae is made for tables, vae is faster.
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
        family: str = "tabular_vae",
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
        self._empty = empty_like(X)
        return self

    def sample(self, n_samples: int = 1, *, random_state: int = 0, where: str | None = None) -> Any:
        """Draw synthetic rows, of the type of X in fit. The same `random_state` gives the same rows.

        Args:
            n_samples: number of rows.
            random_state: seed of the draws.
            where: condition that every row must satisfy, such as "kind = 'boot'"; any columns with tabular_vae.

        Raises:
            ArgumentInvalid: An argument is not of its kind.
            OptionInvalid: No sample can satisfy the condition.
        """
        check_is_fitted(self)
        rows = whole_number("n_samples", n_samples)
        seed = whole_number("random_state", random_state, most=MOST_SEED)
        drawn = self.to_model().sample(rows, seed=seed, where=where, format="arrow")
        return like_input(self._empty, drawn)
