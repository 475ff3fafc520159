"""Parameters that the estimators share, and what a fitted one can do besides its own methods."""

from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar

from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from aepipe.api.model import Model
from aepipe.inference.table_model import TableModel
from aepipe.sklearn.fitted_table import FittedTable, fit_table
from aepipe.sklearn.tables import kinds_of, to_table


class TableEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Base of the estimators: parameters of the model and of the training, and the exported bundle."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "family": [str],
        "latent": [Interval(Integral, 1, None, closed="left"), None],
        "options": [Mapping, None],
        "columns": [Mapping, None],
        "epochs": [Interval(Integral, 1, None, closed="left"), None],
        "data": [StrOptions({"clean", "polluted"})],
        "contamination": [Interval(Real, 0, 0.5, closed="right")],
        "head": [str],
        "random_state": ["random_state"],
    }

    def export(self, folder: str | Path) -> Path:
        """Write the bundle to `folder`, so that `aepipe.load(folder)` loads it; return the version's folder."""
        return self.to_model().export(folder)

    def to_model(self) -> Model:
        """Return the fitted model as `aepipe.Model`, which also samples, reconstructs and explains."""
        check_is_fitted(self)
        return Model(TableModel(self.fitted_.bundle, device="cpu"))

    def _fit_table(self, x: Any, *, data: str, head: str, contamination: float) -> FittedTable:
        """Check X and train."""
        self._validate_params()
        table = to_table(self, x, reset=True)
        parameters = self.get_params(deep=False)
        seed = int(check_random_state(parameters["random_state"] or 0).randint(2**31 - 1))
        model: dict[str, Any] = {"family": parameters["family"], **(parameters["options"] or {})}
        if parameters["latent"] is not None:
            model["latent"] = int(parameters["latent"])
        train: dict[str, Any] = {"seed": seed, "data": data}
        if parameters["epochs"] is not None:
            train["epochs"] = int(parameters["epochs"])
        settings = {"model": model, "train": train, "score": {"head": head}}
        kinds = kinds_of(x, table, parameters["columns"])
        return fit_table(table, settings, kinds=kinds, contamination=contamination, seed=seed)

    def __sklearn_tags__(self) -> Tags:
        """Tell scikit-learn that missing values are fine, and X may have columns of any type."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
