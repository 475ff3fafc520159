# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Augmentation of a rare class
#
# Do synthetic rows of a rare class help a classifier? It has to be measured against doing nothing and against weighting
# the classes, which costs nothing. The table is `load_breast_cancer` of scikit-learn, in which 25 malignant cells are
# kept for training.

# %%
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aepipe.sklearn import SyntheticSampler

SEED, RARE, ADDED = 0, 25, 150
cells, benign = load_breast_cancer(return_X_y=True, as_frame=True)
malignant = 1 - benign
learned, held_out = train_test_split(np.arange(len(cells)), test_size=0.5, stratify=malignant, random_state=SEED)
rare = learned[malignant.iloc[learned] == 1][:RARE]
learned = np.concatenate([learned[malignant.iloc[learned] == 0], rare])

# %% [markdown]
# The sampler sees only the 25 rare rows of the training half. `random_state` makes the draws repeatable.

# %%
sampler = SyntheticSampler("vae", latent=4, epochs=200, random_state=SEED).fit(cells.iloc[rare])
synthetic = sampler.sample(ADDED)
print(synthetic.iloc[:3, :5].round(2).to_string())

# %% [markdown]
# ## Does it help?
#
# Average precision on the held-out half, which has its natural share of malignant cells.

# %%
rows, truth = cells.iloc[learned], malignant.iloc[learned]
augmented = pd.concat([rows, pd.DataFrame(np.asarray(synthetic), columns=cells.columns)])
labels = np.concatenate([truth, np.ones(ADDED, int)])
weights = {"balanced": "weighted classes", None: "as it is"}
found = {}
for name, make in {
    "logistic regression": lambda weight: make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=5_000, class_weight=weight)
    ),
    "boosted trees": lambda weight: HistGradientBoostingClassifier(random_state=SEED, class_weight=weight),
}.items():
    line = {title: make(weight).fit(rows, truth) for weight, title in weights.items()}
    line["synthetic rows added"] = make(None).fit(augmented, labels)
    found[name] = {
        title: average_precision_score(malignant.iloc[held_out], model.predict_proba(cells.iloc[held_out])[:, 1])
        for title, model in line.items()
    }
print(pd.DataFrame(found).T.round(3).to_string())

# %% [markdown]
# The differences are at most a few thousandths: on this table neither synthetic rows nor weights are needed. `aepipe
# augment` makes the same comparison with intervals, and says whether to add rows.
