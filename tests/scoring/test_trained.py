"""Which model is scored: the one that trains, or none."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch import Trainer as LightningTrainer
from torch import nn

from curvewatch import Scorer, ScoringError, Watch, open_run
from curvewatch.integrations.lightning import CurveWatchCallback
from curvewatch.scoring.trained import trained_model
from tests.support.hosts import adamw, loader
from tests.support.models import VOCABULARY, PlainLM, gpt2, random_tokens
from tests.support.trainings import Training


class Bare(LightningModule):
    """Parts, and no forward of its own; what trains stands in `logits`."""

    trained = "lm"

    def __init__(self, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        output = getattr(self, self.trained)(input_ids=ids)
        return output.logits

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        logits = self.logits(batch["input_ids"])[:, :-1]
        return nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten())

    def configure_optimizers(self) -> Any:
        return adamw(self)


class Biased(Bare):
    """A trainable bias that its own forward adds to the logits."""

    def __init__(self) -> None:
        super().__init__(lm=gpt2(seed=3))
        self.bias = nn.Parameter(torch.linspace(-1, 1, VOCABULARY))

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.lm(input_ids=input_ids).logits + self.bias

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        return self(ids)


class ByKeyword(Biased):
    """The same, called by keyword only."""

    def forward(self, **inputs: Any) -> Any:
        output = self.lm(**inputs)
        output.logits = output.logits + self.bias
        return output

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        return self(input_ids=ids).logits


class Masked(Biased):
    """A bias that stands still, in a forward that can't be called without mask and labels."""

    def __init__(self) -> None:
        super().__init__()
        self.bias.requires_grad_(False)

    def forward(self, input_ids: Any, attention_mask: Any, labels: Any) -> Any:  # type: ignore[override]
        logits = self.lm(input_ids=input_ids, attention_mask=attention_mask).logits + self.bias
        return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()), logits

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        return self(ids, torch.ones_like(ids), ids)[1]


class AnswersOfAnother(Bare):
    """Its forward takes ids, but is not what trains: a running average to write texts with, say."""

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.other(input_ids=input_ids).logits


class AnswersOfAnotherPlainly(Bare):
    """The same of models of no framework."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.other(ids)

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        return self.lm(ids)


class Outer(nn.Module):
    """A projection whose trained weight is used without a call of the module that holds it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Linear(width, VOCABULARY, bias=False)
        self.register_buffer("still", torch.randn(VOCABULARY, width, generator=torch.Generator().manual_seed(0)))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden @ (self.still + self.change.weight).T


class Uncalled(Bare):
    """Trains nothing but such a weight, behind a backbone that stands still."""

    def __init__(self) -> None:
        super().__init__(lm=gpt2(seed=2).requires_grad_(False))
        self.outer = Outer(self.lm.config.n_embd)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.outer(self.lm.transformer(input_ids=input_ids).last_hidden_state)

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        return self(ids)


class Ensemble(Bare):
    """The mean of two models that are both trained."""

    def __init__(self) -> None:
        super().__init__(one=gpt2(seed=1), other=gpt2(seed=2))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return (self.one(input_ids=ids).logits + self.other(input_ids=ids).logits) / 2

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        return self(ids)


class TakesBatches(Bare):
    """Its forward is for batches, and adds nothing."""

    def forward(self, batch: Any) -> torch.Tensor:
        return self.lm(**batch).loss


class Peft(Bare):
    """PEFT around a model whose own weights stand still."""

    def __init__(self, kind: str) -> None:
        import peft

        config = {
            "lora": lambda: peft.LoraConfig(task_type="CAUSAL_LM", r=2, init_lora_weights=False),
            "prefix": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
            "prompt": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
            "p-tuning": lambda: peft.PromptEncoderConfig(
                task_type="CAUSAL_LM", num_virtual_tokens=3, encoder_hidden_size=16
            ),
        }[kind]()
        super().__init__(lm=peft.get_peft_model(plain_gpt2(), config))
        self.prompt = 3 if kind in ("prompt", "p-tuning") else 0

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        return self.lm(input_ids=ids).logits[:, self.prompt :]


def plain_gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=VOCABULARY, n_positions=32, n_embd=32, n_layer=2, n_head=2, resid_pdrop=0.0,
                        embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0)  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return GPT2LMHeadModel(config)


def distilled() -> Bare:
    """A student beside its frozen teacher."""
    return Bare(teacher=gpt2(seed=1).requires_grad_(False), lm=gpt2(seed=2))


def averaged(kind: type[Bare] = Bare) -> Bare:
    """A model beside a running average of it, which no optimizer holds."""
    lm = gpt2(seed=2)
    module = kind(lm=lm, other=copy.deepcopy(lm))
    module.configure_optimizers = lambda: adamw(lm)  # type: ignore[method-assign]
    return module


class Reference(Callback):
    """Bits of every scored token by the training's own way to the logits, after each update."""

    def __init__(self, tokens: Any) -> None:
        self.tokens = tokens
        self.rows: dict[int, Any] = {}

    def take(self, trainer: Any, module: Any) -> None:
        modes = [(m, m.training) for m in module.modules()]
        module.eval()
        bits = []
        with torch.no_grad():
            for s in range(self.tokens.n_sequences):
                ids = torch.as_tensor(self.tokens.sequence(s)[None].astype(np.int64))
                log_p = module.logits(ids)[0].double().log_softmax(-1) / np.log(2)
                here = self.tokens.position[self.tokens.sequence_index == s]
                bits += [-float(log_p[p - 1, ids[0, p]]) for p in here]
        for m, mode in modes:
            m.training = mode
        self.rows[trainer.global_step] = np.array(bits)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.take(trainer, pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.take(trainer, pl_module)


def fit(module: Any, path: Path, *callbacks: Any, **settings: Any) -> Any:
    trainer = LightningTrainer(
        default_root_dir=path.parent, accelerator="cpu", devices=1, max_steps=3, log_every_n_steps=1, logger=False,
        callbacks=[*callbacks, CurveWatchCallback(random_tokens(), path, **settings)], enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(module, loader(Training(shuffle=False)))
    return open_run(path)


# The module, and the name of what is scored in it.
TRAINED: dict[str, tuple[Any, str]] = {
    "one model": (lambda: Bare(lm=gpt2(seed=2)), "lm"),
    "student and frozen teacher": (distilled, "lm"),
    "running average": (averaged, "lm"),
    "bias in its own forward": (Biased, "model"),
    "own forward by keyword": (ByKeyword, "model"),
    "forward that needs mask and labels": (Masked, "model"),
    "weight used without a call": (Uncalled, "model"),
    "forward of a frozen teacher": (
        lambda: AnswersOfAnother(other=gpt2(seed=1).requires_grad_(False), lm=gpt2(seed=2)),
        "lm",
    ),
    "forward of a running average": (lambda: averaged(AnswersOfAnother), "lm"),
    "forward of a frozen teacher of no framework": (
        lambda: AnswersOfAnotherPlainly(other=PlainLM(seed=1).requires_grad_(False), lm=PlainLM(seed=2)),
        "lm",
    ),
    "ensemble in its own forward": (Ensemble, "model"),
    "forward for batches": (lambda: TakesBatches(lm=gpt2(seed=2)), "lm"),
    "lora": (lambda: Peft("lora"), "lm"),
    "prefix tuning": (lambda: Peft("prefix"), "lm"),
    "prompt tuning": (lambda: Peft("prompt"), "lm"),
    "p-tuning": (lambda: Peft("p-tuning"), "lm"),
}


@pytest.mark.parametrize("case", TRAINED)
def test_rows_are_of_the_model_that_trains(case: str, tmp_path: Path) -> None:
    make, name = TRAINED[case]
    module = make()
    reference = Reference(random_tokens())
    run = fit(module, tmp_path / "curves.h5", reference)
    assert run.steps.tolist() == [0, 1, 2, 3]
    for step, row in zip(run.steps.tolist(), run.surprisal[:], strict=True):
        assert np.abs(row - reference.rows[step]).max() < 2e-5, (case, step)
    assert np.abs(run.surprisal[3] - run.surprisal[0]).max() > 1e-3, "nothing was trained"
    assert run.sessions[0]["model"]["name"] == name
    assert run.sessions[0]["model"]["trainable_parameters"] == sum(
        p.numel() for p in (module if name == "model" else module.lm).parameters() if p.requires_grad
    )


class SoftPrompt(Bare):
    """A soft prompt whose positions stand before those of the tokens."""

    def __init__(self) -> None:
        super().__init__(lm=plain_gpt2())
        self.prompt = nn.Parameter(torch.zeros(2, 32))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        embedded = self.lm.transformer.wte(ids)
        prompt = self.prompt.expand(len(ids), -1, -1)
        return self.lm(inputs_embeds=torch.cat([prompt, embedded], 1)).logits


REFUSED: dict[str, tuple[Any, str]] = {
    "two that train": (
        lambda: Bare(lm=gpt2(), other=gpt2()),
        r"more than one part is trained.*lm \(.*other \(.*model=lambda.*forward=",
    ),
    "a value head": (
        lambda: Bare(lm=gpt2(), value=nn.Linear(32, 1)),
        r"33 parameters outside of it \(value\.weight, value\.bias\).*Candidates: lm \(",
    ),
    "a backbone and a head of its own": (
        lambda: Bare(backbone=gpt2().transformer, head=nn.Linear(32, VOCABULARY)),
        r"Candidates: backbone \(.*head \(",
    ),
    "a soft prompt": (SoftPrompt, r"puts 2 positions of its own.*logits\[:, 2:\]"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_clear_is_refused_before_the_first_step(case: str, tmp_path: Path) -> None:
    make, message = REFUSED[case]
    module = make()
    before = [p.detach().clone() for p in module.parameters()]
    with pytest.raises(ScoringError, match=message) as refused:
        fit(module, tmp_path / "curves.h5")
    assert "nanoGPT" not in str(refused.value)
    assert all(map(torch.equal, before, module.parameters()))
    assert not (tmp_path / "curves.h5").exists()


def test_the_user_decides(tmp_path: Path) -> None:
    module = Bare(lm=gpt2(seed=1), other=gpt2(seed=2))
    run = fit(module, tmp_path / "curves.h5", model=lambda module: module.other)
    expected = Scorer(random_tokens()).score(gpt2(seed=2)).surprisal_bits
    assert np.array_equal(run.surprisal[0], expected)
    assert run.sessions[0]["model"]["name"] == "other"


@pytest.mark.parametrize("choice", ["lm", gpt2()])
def test_a_choice_that_is_no_function(choice: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="model=lambda module"):
        Watch(random_tokens(), tmp_path / "curves.h5", model=choice)


def test_a_choice_that_is_no_module() -> None:
    with pytest.raises(ScoringError, match="returned str"):
        trained_model(gpt2(), lambda module: "lm")  # type: ignore[arg-type, return-value]


def test_the_first_line_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "curvewatch")
    model = gpt2()
    model.transformer.wpe.requires_grad_(False)
    with Watch(random_tokens(), tmp_path / "curves.h5", max_steps=2) as watch:
        watch.start(model)
    n, frozen = sum(p.numel() for p in model.parameters()), 32 * 32
    (line,) = [r.getMessage() for r in caplog.records if r.getMessage().startswith("watching")]
    assert (
        line == f"watching model (PlainLossGPT2, {n / 1000:.3g}k parameters, {100 * (n - frozen) / n:.3g} % trainable)"
    )


def test_a_forward_that_looks_ahead_is_refused() -> None:
    from transformers import BertConfig, BertForMaskedLM

    bert = BertForMaskedLM(BertConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=1,
                                      num_attention_heads=2, intermediate_size=32))  # fmt: skip
    for forward in (
        lambda model, batch: model(input_ids=batch.input_ids).logits,
        lambda model, batch: model(input_ids=batch.input_ids).logits[batch.keep],
    ):
        for ragged in (False, True):
            with pytest.raises(ScoringError, match="forward: its logits depend on later tokens"):
                Scorer(random_tokens(ragged=ragged), forward=forward).prepare(bert)
    causal = Scorer(random_tokens(), forward=lambda model, batch: model(batch.input_ids)[batch.keep])
    assert causal.prepare(PlainLM()).road == "forward"


def test_an_encoder_decoder_is_refused_with_what_is_supported() -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    t5 = T5ForConditionalGeneration(T5Config(vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=32, num_layers=1,
                                             num_heads=2, decoder_start_token_id=0))  # fmt: skip
    with pytest.raises(ScoringError, match=r"encoder-decoder.*from_seq2seq.*forward="):
        Scorer(random_tokens()).prepare(t5)


def test_a_sequence_classifier_is_refused() -> None:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    config = GPT2Config(vocab_size=VOCABULARY, n_positions=32, n_embd=32, n_layer=1, n_head=2, num_labels=1,
                        pad_token_id=0)  # fmt: skip
    with pytest.raises(ScoringError, match="no sequence classifiers or reward models"):
        Scorer(random_tokens()).prepare(GPT2ForSequenceClassification(config))
