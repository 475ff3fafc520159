"""scikit-learn estimators: an outlier detector, latent features and a sampler of synthetic rows."""

from aepipe.versions import named_extras

with named_extras():
    from aepipe.sklearn.detector import AutoencoderDetector
    from aepipe.sklearn.latent_features import LatentFeatures
    from aepipe.sklearn.synthetic_sampler import SyntheticSampler

__all__ = ["AutoencoderDetector", "LatentFeatures", "SyntheticSampler"]
