"""TRL's trainers, with and without PEFT: fine-tuning, preferences, rewards of one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedTokenizerFast

from curvewatch.integrations.transformers import CurveWatchCallback
from tests.support.models import VOCABULARY, random_tokens
from tests.support.recomputing import Snapshots, assert_rows_are_the_training_models

STEPS = 3
WORDS = ["the king", "and the dog", "of all days", "a cat"] * 4


def tokenizer() -> PreTrainedTokenizerFast:
    """One of single letters, with as many ids as the tests' models have."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    letters = [chr(code) for code in range(32, 32 + VOCABULARY - 6)]
    vocabulary = {text: i for i, text in enumerate(["<pad>", "<eos>", *letters])}
    one = Tokenizer(models.WordLevel(vocabulary, unk_token=" "))
    one.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    one.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=one, pad_token="<pad>", eos_token="<eos>", unk_token=" ")


def language_model() -> Any:
    """TRL asks a model for its class by name, so this one is transformers' own."""
    from transformers import GPT2Config, GPT2LMHeadModel

    rates = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.1)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=1, **rates
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return GPT2LMHeadModel(config)


def adapters() -> LoraConfig:
    return LoraConfig(r=4, lora_dropout=0.1, target_modules=["c_attn"], task_type="CAUSAL_LM")


def arguments(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "max_steps": STEPS,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "seed": 7,
    }


def sft(model: Any, folder: Path, **settings: Any) -> Any:
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_dict({"text": WORDS})
    config = SFTConfig(**arguments(folder), max_length=32)
    return SFTTrainer(model, args=config, train_dataset=data, processing_class=tokenizer(), **settings)


def sft_packed(model: Any, folder: Path, **settings: Any) -> Any:
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_dict({"text": WORDS * 4})
    config = SFTConfig(**arguments(folder), max_length=16, packing=True, packing_strategy="wrapped")
    return SFTTrainer(model, args=config, train_dataset=data, processing_class=tokenizer(), **settings)


def sft_completions(model: Any, folder: Path, **settings: Any) -> Any:
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_dict({"prompt": WORDS, "completion": [f" {text} again" for text in WORDS]})
    config = SFTConfig(**arguments(folder), max_length=32)
    return SFTTrainer(model, args=config, train_dataset=data, processing_class=tokenizer(), **settings)


def preferences() -> Dataset:
    chosen, rejected = [f"{text} yes" for text in WORDS], [f"{text} no no" for text in WORDS]
    return Dataset.from_dict({"prompt": WORDS, "chosen": chosen, "rejected": rejected})


def dpo(model: Any, folder: Path, **settings: Any) -> Any:
    from trl import DPOConfig, DPOTrainer

    config = DPOConfig(**arguments(folder), max_length=32)
    return DPOTrainer(model, args=config, train_dataset=preferences(), processing_class=tokenizer(), **settings)


def grpo(model: Any, folder: Path, **settings: Any) -> Any:
    from trl import GRPOConfig, GRPOTrainer

    def letters(completions: list[str], **_: Any) -> list[float]:
        return [float(len(set(text))) for text in completions]

    config = GRPOConfig(**arguments(folder), num_generations=2, max_completion_length=6, beta=0.1)
    data = Dataset.from_dict({"prompt": WORDS})
    return GRPOTrainer(
        model, reward_funcs=letters, args=config, train_dataset=data, processing_class=tokenizer(), **settings
    )


TRAINERS: dict[str, Callable[..., Any]] = {
    "SFT": sft,
    "SFT, packed": sft_packed,
    "SFT, completions only": sft_completions,
    "DPO": dpo,
    "GRPO": grpo,
}


@pytest.mark.parametrize("lora", [False, True], ids=["whole", "LoRA"])
@pytest.mark.parametrize("kind", TRAINERS)
def test_rows(kind: str, lora: bool, tmp_path: Path) -> None:
    tokens, snapshots = random_tokens(ragged=True), Snapshots()
    language_model().save_pretrained(tmp_path / "model")

    def train(callbacks: list[Any]) -> Any:
        model = language_model()
        model.config._name_or_path = str(tmp_path / "model")  # where TRL loads the frozen reference from
        torch.manual_seed(3)
        trainer = TRAINERS[kind](model, tmp_path / "out", **({"peft_config": adapters()} if lora else {}))
        for callback in callbacks:
            trainer.add_callback(callback)
        trainer.train()
        return trainer

    alone = train([])
    watched = train([snapshots.trainer(), CurveWatchCallback(tokens, tmp_path / "curves.h5", schedule=1)])
    weights = watched.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in alone.model.state_dict().items())
    losses = [[row["loss"] for row in one.state.log_history if "loss" in row] for one in (alone, watched)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == STEPS
    assert any("lora_" in name for name in weights) == lora
    # A fresh one, not a copy: TRL replaces the forward of the model that it trains.
    fresh = lambda: get_peft_model(language_model(), adapters()) if lora else language_model()  # noqa: E731
    assert_rows_are_the_training_models(tmp_path / "curves.h5", snapshots, fresh, tokens, range(STEPS + 1))
