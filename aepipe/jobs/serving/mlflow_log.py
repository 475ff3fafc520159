"""Record of a bundle in MLflow: parameters, metrics, model card, the bundle as a pyfunc model, and its aliases."""

import importlib
from pathlib import Path
from typing import Any

from aepipe.bundles.bundle import Bundle
from aepipe.bundles.job_bundle import open_bundle
from aepipe.bundles.registry import Registry
from aepipe.config.job import read_job
from aepipe.errors import AepipeError, ExportFailed
from aepipe.jobs.results import Result
from aepipe.versions import named_extras, version

LOADER = "aepipe.api.mlflow_model"
"""Module that opens the bundle for `mlflow.pyfunc`; nothing is pickled."""
_RUN_TAG = "aepipe.version"


class MlflowRecord(Result):
    """Version that was logged, MLflow's run and model version, and the aliases that it got."""

    version: str
    run: str
    model: str
    model_version: str
    aliases: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Describe the result, for a terminal."""
        names = f" as {', '.join(self.aliases)}" if self.aliases else ""
        return f"{self.version}: MLflow model {self.model}, version {self.model_version}{names}, run {self.run}"


def log_mlflow(job_path: str | Path, *, model: str = "champion") -> MlflowRecord:
    """Log a bundle to the MLflow server of the environment (MLFLOW_TRACKING_URI); a logged version is not logged again.

    The registered model has the name of the job and gets all aliases of the version.
    `mlflow.pyfunc.load_model("models:/<job>@champion")` scores data frames.

    Args:
        job_path: the job file.
        model: alias or version of the model.

    Raises:
        BundleNotFound: there is no model.
        ExtraMissing: MLflow is not installed.
        ExportFailed: MLflow refuses or does not answer.
    """
    job = read_job(job_path)
    bundle = open_bundle(job, model)
    aliases = tuple(
        sorted(alias for alias, name in Registry(job.bundle_path).aliases().items() if name == bundle.path.name)
    )
    with named_extras():
        mlflow: Any = importlib.import_module("mlflow")
        importlib.import_module("mlflow.pyfunc")
    try:
        return _log(mlflow, bundle, aliases)
    except AepipeError:
        raise
    except (mlflow.MlflowException, OSError) as error:
        why = (str(error).splitlines() or ["it gave no reason"])[0]
        raise ExportFailed(
            f"MLflow at {mlflow.get_tracking_uri()} did not take {bundle.version}: {why}. Check MLFLOW_TRACKING_URI."
        ) from None


def _log(mlflow: Any, bundle: Bundle, aliases: tuple[str, ...]) -> MlflowRecord:
    client, name = mlflow.MlflowClient(), bundle.manifest.name
    logged = [
        each for each in client.search_model_versions(f"name='{name}'") if each.tags.get(_RUN_TAG) == bundle.version
    ]
    found = logged[0] if logged else _log_run(mlflow, client, bundle)
    for alias in aliases:
        client.set_registered_model_alias(name, alias, found.version)
    return MlflowRecord(
        version=bundle.version, run=found.run_id or "", model=name, model_version=str(found.version), aliases=aliases
    )


def _log_run(mlflow: Any, client: Any, bundle: Bundle) -> Any:
    """Log a run with the bundle as its model and return the registered model version."""
    manifest = bundle.manifest
    options = manifest.job.get("model")
    mlflow.set_experiment(manifest.name)
    with mlflow.start_run(run_name=bundle.path.name):
        mlflow.log_params(
            {"family": manifest.family, "backbone": manifest.trunk, "head": manifest.head}
            | {
                f"model.{key}": str(value)[:500]
                for key, value in (options if isinstance(options, dict) else {}).items()
            }
        )
        mlflow.log_metrics({key: value for key, value in manifest.metrics.items() if value is not None})
        mlflow.log_metrics({f"rows.{split}": float(rows) for split, rows in manifest.rows.items()})
        if "card.md" in bundle.files:
            mlflow.log_text(bundle.files["card.md"].decode(), "card.md")
        logged = mlflow.pyfunc.log_model(
            name="bundle",
            loader_module=LOADER,
            data_path=str(bundle.path),
            pip_requirements=[f"aepipe=={version('aepipe')}", "pandas"],
        )
        registered = mlflow.register_model(logged.model_uri, manifest.name, tags={_RUN_TAG: bundle.version})
        mlflow.set_tag(_RUN_TAG, bundle.version)
    return client.get_model_version(manifest.name, registered.version)
