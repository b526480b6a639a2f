"""What a run is held against: every kind of base, live, in the file, over a resume, and in the analysis."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from curvewatch import Live, Scorer, ScoringError, TokenSet, TokenSetMismatchError, Watch, open_run
from curvewatch.analysis.against import in_words
from curvewatch.cli.app import app
from curvewatch.scoring.base import kl_bits
from tests.support.hosts import Watching
from tests.support.hosts import run as run_host
from tests.support.keys import unknown
from tests.support.models import PlainLM, gpt2, random_tokens
from tests.support.ranks import on_ranks
from tests.support.trainings import Training

STEPS = 6


def tokens() -> TokenSet:
    found = random_tokens()
    return found.label("third", np.array(["a", "b", "c"])[np.arange(len(found)) % 3])


def train(
    path: Path,
    reference: Any,
    model: Any = None,
    first: int = 0,
    last: int = STEPS,
    given: Any = None,
    live: Any = None,
    copies: Any = None,
    **settings: Any,
) -> Any:
    """A loop that learns one batch by heart; what was logged, by step."""
    logged: dict[int, dict[str, float]] = {}
    torch.manual_seed(0)
    model = PlainLM() if model is None else model
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=2.0)
    ids = torch.arange(64).view(4, 16) % 101
    live = Live(reference=reference, **(live or {}))
    log = lambda scalars, step: logged.update({step: dict(scalars)})  # noqa: E731
    with Watch(given or tokens(), path, max_steps=STEPS, schedule=1, live=live, log=log, **settings) as watch:
        for step in range(first, last + 1):
            watch.observe(model, step)
            if copies is not None:
                copies[step] = {name: value.clone() for name, value in model.state_dict().items()}
            optimizer.zero_grad()
            out = model(ids[:, :-1])
            logits = getattr(out, "logits", out)
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
            optimizer.step()
    return logged


def by_hand(run: Any, base_bits: np.ndarray, base_right: np.ndarray, t: int) -> dict[str, float]:
    change = run.surprisal[t].astype(float) - base_bits
    right = run.correct[: t + 1]
    lost_once = (base_right & ~right[:-1]).any(axis=0) if t else np.zeros(len(change), bool)
    return {
        "change_mean": change.mean(),
        "worse_share": (change > 1).mean(),
        "lost_share": (base_right & ~right[-1]).mean(),
        "gained_share": (~base_right & right[-1]).mean(),
        "regained_share": (base_right & right[-1] & lost_once).mean(),
    }


def test_against_the_first_row(tmp_path: Path) -> None:
    logged = train(tmp_path / "curves.h5", "first")
    run = open_run(tmp_path / "curves.h5")
    bits, right = run.surprisal[0].astype(float), run.correct[0]
    found = run.against()
    assert found.base == "first"
    assert found.steps_T.tolist() == list(range(1, STEPS + 1))
    label = run.tokens.labels["third"]
    for t in range(STEPS + 1):
        expected = by_hand(run, bits, right, t)
        for name, value in expected.items():
            assert logged[t][f"curvewatch/eval/base/{name}"] == pytest.approx(value, abs=1e-6), (t, name)
        if t:
            assert found.change_mean_T[t - 1] == pytest.approx(expected["change_mean"], abs=1e-6)
            assert found.lost_share_T[t - 1] == pytest.approx(expected["lost_share"])
        of_b = label.codes == label.values.index("b")
        change = (run.surprisal[t].astype(float) - bits)[of_b].mean()
        assert logged[t]["curvewatch/eval/label/third/b/base_change_mean"] == pytest.approx(change, abs=1e-6)
    assert abs(found.change_mean_T[-1]) > 0.01, "nothing was trained"
    frame = found.by("third")
    assert frame.loc["b", "tokens"] == of_b.sum()
    assert frame.loc["b", "change"] == pytest.approx(change, abs=1e-6)
    assert not set.union(*(unknown(of) for of in logged.values()))


def test_a_model_as_the_base_and_nothing_of_it_stays(tmp_path: Path) -> None:
    base = PlainLM(seed=3)
    before = [p.clone() for p in base.parameters()]
    logged = train(tmp_path / "curves.h5", base)
    alone = train(tmp_path / "alone.h5", None)
    seen = Scorer(tokens()).score(base)
    run = open_run(tmp_path / "curves.h5")
    reference = run.tokens.annotations.reference
    assert reference is not None
    assert reference.name == "PlainLM"
    assert np.array_equal(reference.surprisal_N, seen.surprisal_bits)
    assert np.array_equal(reference.correct_N, seen.correct)
    expected = by_hand(run, seen.surprisal_bits.astype(float), seen.correct, STEPS)
    assert logged[STEPS]["curvewatch/eval/base/change_mean"] == pytest.approx(expected["change_mean"], abs=1e-6)
    assert run.against().steps_T.tolist() == list(range(STEPS + 1)), "the first row is no base"
    assert np.array_equal(run.surprisal[:], open_run(tmp_path / "alone.h5").surprisal[:]), "training was disturbed"
    assert alone[STEPS].keys().isdisjoint({"curvewatch/eval/base/change_mean"})
    assert all(map(torch.equal, before, base.parameters()))


def test_another_run_as_the_base(tmp_path: Path) -> None:
    train(tmp_path / "base.h5", None)
    logged = train(tmp_path / "curves.h5", str(tmp_path / "base.h5"), PlainLM(seed=1))
    base, run = open_run(tmp_path / "base.h5"), open_run(tmp_path / "curves.h5")
    assert run.against().base == f"base.h5, step {STEPS}"
    expected = by_hand(run, base.surprisal[-1].astype(float), base.correct[-1], STEPS)
    assert logged[STEPS]["curvewatch/eval/base/lost_share"] == pytest.approx(expected["lost_share"])
    # The same afterwards, of a run that was held against nothing.
    train(tmp_path / "plain.h5", None, PlainLM(seed=1))
    later = open_run(tmp_path / "plain.h5").against(base)
    assert later.change_mean_T[-1] == pytest.approx(expected["change_mean"], abs=1e-6)
    other = open_run(tmp_path / "plain.h5").against()
    assert other.base == "first"


def test_adapters_off(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    plain = gpt2()
    seen = Scorer(tokens()).score(plain)
    model = get_peft_model(plain, LoraConfig(r=2, target_modules=["c_attn"], init_lora_weights=False))
    train(tmp_path / "curves.h5", "adapters off", model, last=2)
    run = open_run(tmp_path / "curves.h5")
    reference = run.tokens.annotations.reference
    assert reference is not None
    assert reference.surprisal_N == pytest.approx(seen.surprisal_bits, abs=1e-5)
    assert np.abs(run.surprisal[0] - seen.surprisal_bits).max() > 1e-3, "the adapters do nothing"
    with pytest.raises(ValueError, match="has no adapters to switch off"):
        train(tmp_path / "none.h5", "adapters off")


def test_resumed_it_is_the_same_base(tmp_path: Path) -> None:
    for name, reference in (("first", "first"), ("given", np.linspace(0, 9, len(tokens())))):
        path = tmp_path / f"{name}.h5"
        model = PlainLM()
        straight = train(tmp_path / f"{name}-straight.h5", reference)
        train(path, reference, model, last=3)
        torch.manual_seed(0)
        logged = train(path, reference, model, first=4)
        assert open_run(path).steps.tolist() == list(range(STEPS + 1))
        key = "curvewatch/eval/base/change_mean"
        assert logged[STEPS][key] == pytest.approx(straight[STEPS][key], abs=1e-5)


@pytest.mark.parametrize(
    ("reference", "error", "what"),
    [
        ("nowhere.h5", FileNotFoundError, r"reference='nowhere.h5': no such run file"),
        (object(), TypeError, "reference=.*'first', 'adapters off', a model"),
        (np.zeros(3), ValueError, "shape .3,. for the 35 tokens"),
        ({"other": "first"}, ValueError, "reference={'other'.*there are the sets 'eval'"),
    ],
)
def test_refused_before_training(reference: Any, error: type[Exception], what: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=what):
        Watch(tokens(), tmp_path / "curves.h5", max_steps=3, live=Live(reference=reference))
    assert not (tmp_path / "curves.h5").exists()


def test_a_run_of_another_set_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "base.h5", None)
    with pytest.raises(TokenSetMismatchError, match="Give a run of the same set"):
        Watch(random_tokens(seed=9), tmp_path / "c.h5", max_steps=3, live=Live(reference=tmp_path / "base.h5"))
    other = train(tmp_path / "other.h5", None, given=random_tokens(seed=9))
    assert other
    with pytest.raises(TokenSetMismatchError, match="Give a run of the same set"):
        open_run(tmp_path / "other.h5").against(open_run(tmp_path / "base.h5"))


def test_the_command(tmp_path: Path) -> None:
    train(tmp_path / "curves.h5", None)
    out = CliRunner().invoke(app, ["against", str(tmp_path / "curves.h5"), "-o", str(tmp_path / "t.csv")])
    assert out.exit_code == 0, out.output
    run = open_run(tmp_path / "curves.h5")
    assert in_words(run.against()) in out.output.replace("\n", " ")
    assert "third" in out.output
    assert len((tmp_path / "t.csv").read_text().splitlines()) == run.n_tokens + 1
    out = CliRunner().invoke(app, ["against", str(tmp_path / "curves.h5"), "--base", str(tmp_path / "curves.h5")])
    assert f"against curves.h5, step {STEPS}" in out.output
    assert CliRunner().invoke(app, ["against", str(tmp_path / "curves.h5"), "-o", "t.txt"]).exit_code == 2
    train(tmp_path / "one.h5", None, last=0)
    out = CliRunner().invoke(app, ["against", str(tmp_path / "one.h5")])
    assert "nothing to compare yet" in out.output


def on_rank(folder: Path, kind: str) -> dict[str, float]:
    torch.distributed.init_process_group("gloo")
    reference = "first" if kind == "first" else PlainLM(seed=3)
    logged = train(folder / f"{kind}-ranks.h5", reference, last=2)
    return {key: value for key, value in logged.get(2, {}).items() if "/base" in key}


@pytest.mark.parametrize("kind", ["first", "model"])
def test_on_two_ranks(kind: str, tmp_path: Path) -> None:
    first, second = on_ranks(2, on_rank, tmp_path, kind)
    alone = train(tmp_path / "alone.h5", "first" if kind == "first" else PlainLM(seed=3), last=2)
    expected = {key: value for key, value in alone[2].items() if "/base" in key}
    assert first == pytest.approx(expected, abs=1e-6)
    assert expected
    assert second == {}, "rank 0 alone shows metrics"
    kept = open_run(tmp_path / f"{kind}-ranks.h5").tokens.annotations.reference
    assert kept is not None
    assert (kept.surprisal_N is None) is (kind == "first")


@pytest.mark.parametrize("host", ["trainer", "lightning"])
def test_in_the_hosts(host: str, tmp_path: Path) -> None:
    """Bit-identical training, and the first row as the base."""
    alone = run_host(host, Training(dropout=0.1), tmp_path / "alone")
    live = Live(reference={"eval": gpt2(seed=9)})
    watching = Watching(random_tokens(), tmp_path / "curves.h5", live=live)
    watched = run_host(host, Training(dropout=0.1), tmp_path / "watched", watching)
    assert alone.differences(watched) == []
    reference = open_run(tmp_path / "curves.h5").tokens.annotations.reference
    assert reference is not None
    expected = Scorer(random_tokens()).score(gpt2(seed=9))
    assert reference.surprisal_N == pytest.approx(expected.surprisal_bits, abs=1e-5)


def kl_by_hand(base: Any, model: Any, given: TokenSet) -> np.ndarray:
    """Over the whole vocabulary in float64, one sequence at a time."""
    found = np.empty(len(given))
    for s in range(given.n_sequences):
        ids = torch.from_numpy(given.sequence(s).astype(np.int64))[None]
        with torch.no_grad():
            outs = [getattr(out, "logits", out) for out in (base(ids), model(ids))]
        log_base, log_p = (torch.log_softmax(out[0].double(), -1) for out in outs)
        kl = (log_base.exp() * (log_base - log_p)).sum(-1) / np.log(2)
        for i in np.flatnonzero(given.sequence_index == s):
            found[i] = kl[given.position[i] - 1]
    return found


@pytest.mark.parametrize("boundary", [False, True])
def test_kl_is_exact(boundary: bool, tmp_path: Path) -> None:
    """Of every row, beside the boundaries of words or not; and only where it is asked for."""
    given = tokens()
    if boundary:
        flags = np.arange(101, dtype=np.uint8) % 4
        given = given.with_annotations(replace(given.annotations, boundary=flags))
    base, copies = PlainLM(seed=3), {}
    plain = train(tmp_path / "plain.h5", base, given=given)
    logged = train(tmp_path / "curves.h5", base, given=given, live={"kl": True}, copies=copies)
    run = open_run(tmp_path / "curves.h5")
    assert run.base_kl is not None
    assert run.against().by().loc["all tokens", "kl"] == pytest.approx(run.base_kl[-1].mean(), rel=1e-5)
    last = logged[int(run.steps[-1])]
    for what in ("accuracy_lost", "lost", "worse"):
        found = run.against().by().loc["all tokens", what]
        assert found == pytest.approx(last[f"curvewatch/eval/base/{what}_share"]), what
    for t, step in enumerate(run.steps.tolist()):
        model = PlainLM()
        model.load_state_dict(copies[step])
        expected = kl_by_hand(base, model, given)
        np.testing.assert_allclose(run.base_kl[t], expected, atol=2e-5)
        assert logged[step]["curvewatch/eval/base/kl_mean"] == pytest.approx(expected.mean(), abs=1e-5)
        of_b = given.labels["third"].of_tokens() == "b"
        assert logged[step]["curvewatch/eval/label/third/b/base_kl_mean"] == pytest.approx(
            expected[of_b].mean(), abs=1e-5
        )
    assert np.array_equal(run.surprisal[:], open_run(tmp_path / "plain.h5").surprisal[:])
    assert open_run(tmp_path / "plain.h5").base_kl is None
    assert not any(key.endswith("kl_mean") for key in plain[0])
    assert (run.boundary is not None) is boundary
    assert not set.union(*(unknown(of) for of in logged.values()))


def test_kl_without_adapters_leaves_frozen_ones_frozen(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    plain = gpt2()
    model = get_peft_model(plain, LoraConfig(r=2, target_modules=["c_attn"], init_lora_weights=False))
    frozen = next(name for name, p in model.named_parameters() if p.requires_grad)
    dict(model.named_parameters())[frozen].requires_grad_(False)
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    train(tmp_path / "curves.h5", "adapters off", model, last=1, live={"kl": True})
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before
    run = open_run(tmp_path / "curves.h5")
    assert run.base_kl is not None
    assert run.base_kl[0].mean() > 1e-3


def test_kl_takes_a_model(tmp_path: Path) -> None:
    for reference in (None, "first", np.zeros(35)):
        with pytest.raises(ValueError, match=r"kl=True: .*Give a model, or 'adapters off'"):
            Watch(tokens(), tmp_path / "c.h5", max_steps=3, live=Live(reference=reference, kl=True))
    other = PlainLM(vocabulary=120)
    with pytest.raises(ScoringError, match="the base has 120 outputs, the model 101"):
        train(tmp_path / "c.h5", other, live={"kl": True})


def test_kl_of_what_is_ruled_out() -> None:
    base = torch.tensor([[0.0, -torch.inf, 0.0], [0.0, 0.0, 0.0]])
    model = torch.tensor([[0.0, 5.0, -torch.inf], [0.0, 0.0, -torch.inf]])
    bits = kl_bits(base, model)
    assert bits.isinf().all()
    assert kl_bits(base, base).tolist() == [0, 0]
