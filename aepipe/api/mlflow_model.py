"""Loader of bundles that MLflow logged: `mlflow.pyfunc.load_model` gives an object whose `predict` scores rows."""

import pandas as pd

from aepipe.api.model import Model, load


class ScoringModel:
    """Bundle behind MLflow's interface."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(self, model_input: pd.DataFrame, params: dict[str, object] | None = None) -> pd.DataFrame:
        """Return the scores of rows: score, p-value, flag and attributions, with the index of the rows."""
        scored = self.model.score(model_input)
        assert isinstance(scored, pd.DataFrame)
        return scored


def _load_pyfunc(path: str) -> ScoringModel:
    """Return the bundle in a folder; MLflow calls this by name."""
    return ScoringModel(load(path))
