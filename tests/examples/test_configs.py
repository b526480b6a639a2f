"""Every YAML file is read by the parser of the host that it is for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*/*.yaml"))


@pytest.fixture(autouse=True)
def examples_on_the_path(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    monkeypatch.chdir(tmp_path)
    for name in ("text_data", "summary", "story", "pretrain_trainer", "pretrain_lightning"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_both_hosts_have_the_demo_and_the_paper():
    assert [str(path.relative_to(ROOT / "configs")) for path in CONFIGS] == [
        "lightning/demo.yaml", "lightning/paper.yaml", "reproduction/desk.yaml", "reproduction/gpt2.yaml",
        "trainer/demo.yaml", "trainer/paper.yaml",
    ]  # fmt: skip


def test_the_reproduction_at_full_size_is_the_papers_training_and_schedule(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples/reproduction"))
    from seeds import schedule

    from curvewatch import Schedule

    desk, full, paper = (
        yaml.safe_load((ROOT / "configs" / name).read_text())
        for name in ("reproduction/desk.yaml", "reproduction/gpt2.yaml", "trainer/paper.yaml")
    )
    assert full.keys() == desk.keys()
    given = {**full, **full["training"]}
    same = set(paper) & set(given)
    assert {"n_layer", "learning_rate", "warmup_steps", "per_device_train_batch_size", "max_steps"} < same
    assert {name: given[name] for name in same - {"logging_steps"}} == {
        name: paper[name] for name in same - {"logging_steps"}
    }
    steps = schedule(full["max_steps"], full["rows"]).plan(full["max_steps"]).steps()
    theirs = Schedule.paper().plan(1_000_000).steps()
    assert abs(len(steps) - len(theirs)) <= 1
    assert abs(steps[100] / theirs[100] - 1) < 0.01
    small = schedule(desk["max_steps"], desk["rows"]).plan(desk["max_steps"]).steps()
    assert 80 <= len(small) <= 110
    assert small[-1] == desk["max_steps"]


def test_hf_argument_parser_reads_the_trainers():
    from pretrain_trainer import SCHEDULES, parse

    for path in CONFIGS:
        if path.parent.name == "trainer":
            data, model, watch, training = parse([str(path), "--n_tokens", "77"])
            settings = yaml.safe_load(path.read_text())
            assert training.max_steps == settings["max_steps"]
            assert training.learning_rate == settings["learning_rate"]
            assert model.n_layer == settings["n_layer"]
            assert data.context == settings["context"]
            assert watch.n_tokens == 77, "the command line wins"
            assert watch.schedule in SCHEDULES


def test_hf_argument_parser_refuses_a_key_that_it_does_not_know(tmp_path):
    from pretrain_trainer import parse

    (tmp_path / "wrong.yaml").write_text("output_dir: runs/x\nn_tokenz: 5\n")
    with pytest.raises(ValueError, match="n_tokenz"):
        parse([str(tmp_path / "wrong.yaml")])


@pytest.mark.parametrize("path", [p for p in CONFIGS if p.parent.name == "lightning"], ids=lambda p: p.stem)
def test_lightning_cli_reads_its_own(path, monkeypatch):
    from pretrain_lightning import GPT2, SCHEDULES, TextModule, WatchedCLI

    # Everything is parsed and validated; nothing is built or trained.
    monkeypatch.setattr(WatchedCLI, "instantiate_classes", lambda self: None)
    monkeypatch.setattr(WatchedCLI, "_run_subcommand", lambda self, subcommand: None)
    cli = WatchedCLI(GPT2, TextModule, args=["fit", "--config", str(path), "--watch.n_tokens", "77"])
    settings = yaml.safe_load(path.read_text())
    assert cli.config.fit.trainer.max_steps == settings["trainer"]["max_steps"]
    assert cli.config.fit.model.learning_rate == settings["model"]["learning_rate"]
    assert cli.config.fit.watch.n_tokens == 77, "the command line wins"
    assert cli.config.fit.watch.schedule in SCHEDULES


def test_the_papers_settings_agree_between_hosts():
    trainer, lightning = (yaml.safe_load((ROOT / "configs" / host / "paper.yaml").read_text()) for host in
                          ("trainer", "lightning"))  # fmt: skip
    assert trainer["max_steps"] == lightning["trainer"]["max_steps"] == 1_000_000
    sequences = trainer["per_device_train_batch_size"] * trainer["gradient_accumulation_steps"]
    assert sequences == lightning["data"]["batch_size"] * lightning["trainer"]["accumulate_grad_batches"] == 256
    for key in ("n_layer", "n_embd", "n_head", "learning_rate", "warmup_steps", "adam_epsilon", "weight_decay"):
        assert trainer[key] == lightning["model"][key], key
    assert trainer["model_vocab_size"] == lightning["model"]["vocab_size"]
