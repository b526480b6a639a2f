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
# # Watch a run
#
# A small GPT-2 learns the King James Bible on this machine's processor, in about a minute, and a fixed set of tokens is
# watched while it does. Needs `curvewatch[demo]` and Jupyter; `jupytext --to notebook watch_a_run.py` makes an `.ipynb`
# of this file.

# %%
import os
import sys
import tempfile
from pathlib import Path

os.environ.update(WANDB_MODE="disabled", TRANSFORMERS_VERBOSITY="error")
sys.path.insert(0, str(Path.cwd().parent))  # text_data.py, which the examples share

from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

import text_data
from curvewatch import Schedule, TokenSet, open_run
from curvewatch.integrations.transformers import CurveWatchCallback

FOLDER = Path(tempfile.mkdtemp())
STEPS = int(os.environ.get("STEPS", "200"))

# %% [markdown]
# ## What is watched
#
# Sequences of text that is not trained on, and in them the positions whose surprisal is scored. The label groups the
# tokens by what they are made of; it is no part of what is scored, and more can be added later.

# %%
paragraphs = text_data.read(None).splitlines()
held_out, train = "\n".join(paragraphs[:2000]), paragraphs[2000:8000]
tokenizer = text_data.train_tokenizer(train, 1024)
tokens = TokenSet.from_text(held_out, tokenizer, n_tokens=600, context=64, per_sequence=20).label("kind")
tokens

# %% [markdown]
# ## One callback

# %%
config = GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_layer=2, n_embd=96, n_head=2, bos_token_id=0,
                    eos_token_id=0)  # fmt: skip
trainer = Trainer(
    GPT2LMHeadModel(config),
    TrainingArguments(
        FOLDER / "out",
        max_steps=STEPS,
        learning_rate=3e-3,
        per_device_train_batch_size=16,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        logging_steps=50,
    ),
    train_dataset=text_data.Packed(tokenizer("\n".join(train), verbose=False)["input_ids"], 64),
    callbacks=[CurveWatchCallback(tokens, FOLDER / "curves.h5", schedule=Schedule.log(10))],
)
trainer.train()

# %% [markdown]
# ## What came of it
#
# The run file can be opened while training writes it, from another notebook say; `curvewatch watch` does that in a
# terminal.

# %%
run = open_run(FOLDER / "curves.h5")
run

# %% [markdown]
# Figures are matplotlib's, and can be changed.

# %%
figure = run.plot("surprisal")
figure.axes[0].set_title("600 tokens of Genesis and after")
figure

# %% [markdown]
# Which kinds of token are easy? The last row, by label:

# %%
kind = run.tokens.labels["kind"]
last = run.surprisal[-1]
{value: round(float(last[kind.where(value)].mean()), 2) for value in kind.values}

# %% [markdown]
# One token: the one whose surprisal fell most, in its context, and its curve.

# %%
fallen = int((run.surprisal[0] - last).argmax())
run.tokens.show(fallen)

# %%
run.curve(fallen).plot()
