"""The notebooks run from top to bottom in a kernel of their own, and show what they promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jupytext
import pytest
import torch
from nbclient import NotebookClient

from curvewatch import TokenSet, Watch, open_run
from tests.support.models import PlainLM
from tests.support.tokenizers import WORDS, tokenizer_of

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"
SHOWN = {
    "watch_a_run": ["TokenSet", "600 tokens in 30 sequences", "curves.h5", "image/png", "'word':", "token "],
    "learned_and_forgotten": ["curves.h5", "image/png", "age_of_acquisition", "forgetting_events_top1", "bits, "],
}


def outputs(name: str, monkeypatch: pytest.MonkeyPatch, **environment: str) -> list[Any]:
    """What the cells show."""
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    notebook = jupytext.read(FOLDER / f"{name}.py")
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_there_is_no_other() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_it_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "curves.h5"
    if name == "learned_and_forgotten":
        watched(path)
    shown = outputs(name, monkeypatch, STEPS="12", RUN_FILE=str(path))
    assert not [one for one in shown if one.output_type == "error"]
    said = "\n".join(str(one.get("data", one.get("text", ""))) for one in shown)
    for part in SHOWN[name]:
        assert part in said, part
    assert len([one for one in shown if "image/png" in one.get("data", {})]) >= 2, "figures show themselves"
    assert len([one for one in shown if "text/html" in one.get("data", {})]) >= 2, "so do objects"


def watched(path: Path) -> None:
    """A run of a tiny model on a text."""
    tokens = TokenSet.from_text(WORDS * 20, tokenizer_of("tiktoken"), 100, 20, 5)
    model = PlainLM(vocabulary=300)
    optimizer = torch.optim.SGD(model.parameters(), lr=3.0)
    ids = torch.from_numpy(tokens.ids.astype("int64")).view(tokens.n_sequences, -1)
    with Watch(tokens, path, max_steps=40, schedule=2) as watch:
        for step in range(41):
            watch.observe(model, step)
            logits = model(ids)[:, :-1]
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert open_run(path).surprisal[-1].mean() < open_run(path).surprisal[0].mean()
