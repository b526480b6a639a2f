"""The examples run as a user would run them, in a few steps, and leave a run file that can be read."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curvewatch import Live, TokenSet, Watch, open_run
from curvewatch.analysis.against import in_words
from tests.support.keys import unknown
from tests.support.models import PlainLM
from tests.support.offline import rows
from tests.support.process import environment

ROOT = Path(__file__).parents[2]
TINY = {
    "pretrain_trainer.py": [
        str(ROOT / "configs/trainer/demo.yaml"), "--max_steps", "6", "--logging_steps", "3", "--n_tokens", "60",
        "--n_layer", "1", "--n_embd", "32", "--n_head", "2", "--per_device_train_batch_size", "2",
        "--output_dir", "out", "--run_file", "curves.h5", "--text", "text.txt", "--vocab_size", "400",
    ],
    "pretrain_lightning.py": [
        "fit", "--config", str(ROOT / "configs/lightning/demo.yaml"), "--trainer.max_steps", "6",
        "--trainer.log_every_n_steps", "3", "--watch.n_tokens", "60", "--watch.run_file", "curves.h5",
        "--model.n_layer", "1", "--model.n_embd", "32", "--model.n_head", "2", "--model.vocab_size", "400",
        "--data.vocab_size", "400", "--data.batch_size", "2", "--data.text", "text.txt",
        "--trainer.default_root_dir", "out", "--trainer.logger.init_args.save_dir", "out",
    ],
    "pretrain_loop.py": [
        "--max-steps", "6", "--n-tokens", "60", "--width", "32", "--batch-size", "2", "--run-file", "curves.h5",
        "--text", "text.txt",
    ],
}  # fmt: skip


def module(name: str) -> Any:
    """A module of the examples."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def text() -> str:
    """A few hundred paragraphs of the default text."""
    return "\n".join(module("text_data").read(None).splitlines()[:800])


@pytest.mark.parametrize("script", TINY)
def test_example_runs(script, text, tmp_path):
    (tmp_path / "text.txt").write_text(text)
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / script), *TINY[script]],
        cwd=tmp_path,
        env=environment(WANDB_MODE="offline"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run = open_run(tmp_path / "curves.h5")
    assert run.steps.tolist() == [0, 1, 2, 3, 4, 5, 6]  # ten a decade: every step at first
    assert run.n_tokens == 60
    assert abs(run.surprisal[0].mean() - run.chance) < 0.3, "untrained, the model guesses"
    assert np.isfinite(run.surprisal[:]).all()
    assert run.surprisal[-1].mean() < run.surprisal[0].mean()
    assert re.findall(r"^step (\d+) +surprisal", done.stdout, flags=re.MULTILINE) == ["0"], "a line every 50 steps"
    for part in ("median age of acquisition", "learned first?", "5-gram", "What it wrote", "Three things to do next"):
        assert part in done.stdout, done.stdout
    (page,) = tmp_path.glob("*.html")
    assert page.name == "curves.report.html", "the watch has written it, and nobody a second one"
    assert "<html" in page.read_text(encoding="utf-8")[:500]
    (wandb_run,) = tmp_path.glob("**/offline-run-*")
    assert str(wandb_run.relative_to(tmp_path)) in done.stdout
    check_wandb(wandb_run.parent.parent, wandb_run)
    with run.group() as group:
        counts = group["training_count"][:]
    assert (np.diff(counts, axis=0) >= 0).all()
    assert 0 < counts[-1].sum() <= 6 * 2 * 128, "no more than was trained on"
    assert {sample.step for sample in run.samples} == {0, 1, 6}


def test_facts_are_followed(text: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(text)
    command = [sys.executable, str(ROOT / "examples/facts_watch.py"), "--text", "text.txt", "--max-steps", "70",
               "--n-facts", "6", "--width", "32", "--output-dir", "out"]  # fmt: skip
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("same-words", "other-words"):
        assert f"{name}: <Exposures of facts.h5: 6 of 6 passages seen, " in done.stdout
        assert (tmp_path / f"out/facts-{name}.png").stat().st_size > 0
    found = open_run(tmp_path / "out/facts.h5", "same-words").exposures()
    seen = found.to_pandas()["occurrences"]
    facts = module("facts_watch").made_up(6, 0)
    assert seen.to_dict() == {name: fact["times"] for name, fact in facts.items()}
    assert found.effects("answer", window=20)["complete"].all(), "each step around an exposure was scored"


def test_a_masked_model_is_followed(text: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(text)
    command = [sys.executable, str(ROOT / "examples/masked_watch.py"), "--text", "text.txt", "--max-steps", "30",
               "--n-tokens", "80", "--width", "32", "--output-dir", "out"]  # fmt: skip
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    own, control = (open_run(tmp_path / "out/masked.h5", name) for name in ("eval", "control"))
    assert own.tokens.objective == control.tokens.objective == "masked"
    assert set(own.tokens.labels["pos"].values) & {"determiner", "open class"}
    assert f"last row: {np.mean(own.surprisal[-1]):.2f} bits behind a mask" in done.stdout
    assert (tmp_path / "out/masked-accuracy.png").stat().st_size > 0
    assert "set 'eval': a masked model is fed 80 rows of up to 32 tokens" in done.stderr


def check_wandb(folder: Path, wandb_run: Path) -> None:
    """Everything that the settings ask for has arrived, under documented keys, and the pages are there."""
    history = rows(folder)
    keys = {key for row in history for key in row}
    assert unknown(keys) == set()
    wanted = (
        "frequency/frequent/surprisal_mean",
        "ngram/5gram_correlation",
        "smoothed/frequency_surprisal_correlation",
    )
    assert {f"curvewatch/eval/{key}" for key in wanted} <= keys
    files = {key: value for row in history for key, value in row.items() if key.endswith(".path")}
    assert {"curvewatch/text/samples.path", "curvewatch/eval/watched_curves.path"} <= set(files)
    for name in files.values():
        assert (wandb_run / "files" / name).stat().st_size > 0


def test_the_story_tells_what_was_logged():
    story = module("story")
    told: list[str] = []
    story.tqdm.write = told.append
    log = story.story(every=50)
    scalars = {
        "curvewatch/eval/surprisal_mean": 7.912, "curvewatch/eval/acquired_share": 0.31,
        "curvewatch/eval/forgotten_share": 0.04, "curvewatch/eval/frequency/rare/acquired_share": 0.09,
        "curvewatch/eval/frequency/frequent/acquired_share": 0.63, "curvewatch/eval/ngram/nearest": 2.0,
        "curvewatch/eval/ngram/2gram_correlation": 0.853,
    }  # fmt: skip
    for step in (0, 10, 49, 60, 99, 100):
        log(scalars, step)
    log({"curvewatch/watch/failures": 1.0}, 150)
    assert [line.split()[1] for line in told[1:]] == ["0", "10", "49", "60", "100"]
    assert told[-1] == (
        "step 100    surprisal  7.91 bit  acquired  31% (rare 9%, frequent 63%)  forgotten   4%  like a 2-gram (r 0.85)"
    )
    log({**scalars, "curvewatch/eval/ngram/2gram_correlation": 0.1}, 200)
    assert "gram" not in told[-1], "like none"


def test_a_run_in_which_nothing_is_learned_is_summed_up_too(tmp_path, capsys):
    tokens = TokenSet.from_text("abcdefghij" * 30, Letters(), n_tokens=40, context=20)
    model = PlainLM(Letters.size)
    with Watch(tokens, tmp_path / "curves.h5", max_steps=5, schedule=1, live=Live(smoothed=False)) as watch:
        for step in range(6):
            watch.observe(model, step)
    module("summary").print_summary(str(tmp_path / "curves.h5"))
    (line,) = re.findall(r"^median age of acquisition.*", capsys.readouterr().out, flags=re.MULTILINE)
    assert line.split()[-1] == "-"


class Letters:
    """A tokenizer of ten letters."""

    size = 10

    def encode(self, text: str) -> list[int]:
        return [ord(letter) - ord("a") for letter in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(chr(ord("a") + i) for i in ids)

    def __len__(self) -> int:
        return self.size


def test_the_same_settings_watch_the_same_tokens(text, tmp_path):
    """Trainer and Lightning draw the same evaluation set from the same text, so their runs can be compared."""
    (tmp_path / "text.txt").write_text(text)
    first, second = (
        module("text_data")
        .from_text(str(tmp_path / "text.txt"), 400, 128)
        .token_set(n_tokens=60, per_sequence=20, seed=0)
        for _ in range(2)
    )
    assert first.hash == second.hash
    assert "\ufffd" not in first.show(5).context


@pytest.mark.parametrize("lora", [0, 2])
def test_the_fine_tune_says_what_it_cost(lora, text, tmp_path):
    (tmp_path / "text.txt").write_text(text)
    tiny = ["--text", "text.txt", "--width", "32", "--pretrain-steps", "3", "--max-steps", "4", "--n-tokens", "60"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/finetune_watch.py"), *tiny, "--output-dir", "out", "--lora", str(lora)],
        cwd=tmp_path, env=environment(WANDB_MODE="offline"), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    name = "lora" if lora else "full"
    for of in ("general", "skill", "task"):
        run = open_run(tmp_path / "out" / f"{name}.h5", of)
        assert run.steps.tolist() == [0, 1, 2, 3, 4]
        assert in_words(run.against()) in done.stdout
        page = (tmp_path / "out" / f"{name}-{of}.html").read_text()
        assert "What it cost" in page
    assert run.against().change_mean_T[-1] < 0, "the task was trained, and costs less"
    assert run.tokens.spans.kinds == ["answer"]
