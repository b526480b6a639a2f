# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What did it learn, what did it forget?
#
# Everything here is asked of the run file that `make demo` writes; training is over, and no model is needed.

# %%
import os

import numpy as np

from curvewatch import open_run

PATH = os.environ.get("RUN_FILE", "../../runs/demo/curves.h5")
run = open_run(PATH)
run

# %% [markdown]
# ## Learned
#
# The age of acquisition is the step at which a token's smoothed curve gets halfway from chance to its own lowest point.
# Frequent tokens come first.

# %%
run.plot("acquisition")

# %%
table = run.measures()
frame = run.to_pandas()
frame[["target_text", "age_of_acquisition", "acquisition_status", "final_surprisal"]].sort_values(
    "age_of_acquisition"
).head()

# %% [markdown]
# ## Forgotten
#
# Forgettability adds up how far a smoothed curve rises again, in bits. A top-1 forgetting event is a token that was the
# model's first choice at one observation and not at the next.

# %%
forgotten = run.select(min_forgetting=1, sort="forgettability", limit=5, measures=table)
frame.loc[forgotten, ["target_text", "forgettability", "forgetting_events_top1", "min_surprisal", "final_surprisal"]]

# %%
most = int(forgotten[0]) if len(forgotten) else int(np.nanargmax(table["forgettability"]))
run.tokens.show(most)

# %%
run.curve(most).plot()

# %% [markdown]
# ## Do the measures tell the same story?

# %%
run.plot("correlations")

# %% [markdown]
# ## Ask a question of your own
#
# Labels can be added to a run that is over: they touch no row. Are words that begin with a capital forgotten more?

# %%
capital = run.tokens.label("capital", r"\b[A-Z]").labels["capital"]
{
    value: f"{np.nanmean(table['forgettability'][capital.where(value)]):.2f} bits, {size} tokens"
    for value, size in zip(capital.values, capital.sizes, strict=True)
    if size
}
