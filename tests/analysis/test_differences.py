"""Where two runs differ: at points that were worked out by hand, with errors that repeated draws have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curvewatch import Observation, RunFile, TokenSet, TokenSetMismatchError, open_run
from curvewatch.analysis.differences import differences
from curvewatch.analysis.groups import groups
from curvewatch.runfile.records import Row, RunPlan, Seen, SetRecord
from tests.cli.test_cli import call
from tests.support.tokenizers import tokenizer_of

N_SEQUENCES, LENGTH = 30, 9
N = N_SEQUENCES * (LENGTH - 1)


def tokens(seed: int = 0) -> TokenSet:
    rows = np.random.default_rng(seed).integers(0, 64, (N_SEQUENCES, LENGTH))
    return TokenSet.from_sequences(rows, vocab_size=64).label("half", np.arange(N) < N // 2)


def write(path: Path, rows: dict[int, np.ndarray], *, per_step: float = 100.0, given: TokenSet | None = None,
          arguments: dict | None = None) -> Path:  # fmt: skip
    plan = RunPlan(100, np.array(list(rows)), "", {"host": {"arguments": arguments or {}}, "model": {"parameters": 7}})
    file = RunFile.start(path, {"eval": SetRecord(given or tokens(), 64, {})}, plan, -1)
    for step, bits in rows.items():
        seen = Observation(bits.astype(np.float32), bits < 2, np.ones(len(bits), np.float32))
        file.append(Row(step, 0.1, 1e9 + step, {"eval": seen}, seen=Seen(per_step * step)))
    file.close()
    return path


@pytest.fixture
def pair(tmp_path: Path):
    """The second learns half as fast, sees twice the tokens a step, and is worse at the first half of the tokens."""
    rng = np.random.default_rng(1)
    shape = rng.uniform(0.5, 1.5, N)
    bias = np.where(np.arange(N) < N // 2, 0.5, -0.5)
    first = write(tmp_path / "first.h5", {step: shape * (8 - step / 20) for step in (0, 20, 40, 80)})
    second = {step: shape * (8 - step / 40) + bias for step in (0, 30, 60, 100)}
    return open_run(first), open_run(write(tmp_path / "second.h5", second, per_step=200.0)), shape, bias


def test_at_the_same_step(pair) -> None:
    first, second, shape, bias = pair
    found = differences(first, second)
    assert [point.step for point in found.points] == [80, 80]
    assert found.points[1].row == 2
    assert found.points[1].part == pytest.approx(0.5)
    expected = shape * (8 - 80 / 40) + bias - shape * (8 - 80 / 20)
    np.testing.assert_allclose(found.difference_N, expected, atol=1e-5)


def test_after_the_same_tokens(pair) -> None:
    first, second, shape, bias = pair
    found = differences(first, second, at="tokens")
    assert [point.tokens_seen for point in found.points] == [8000, 8000]
    assert [point.step for point in found.points] == [80, 40]
    np.testing.assert_allclose(found.surprisal_2N[1], shape * (8 - 40 / 40) + bias, atol=1e-5)


def test_at_the_same_loss(pair) -> None:
    """There only what they know otherwise is left: the bias."""
    first, second, _shape, bias = pair
    found = differences(first, second, at="loss")
    a, b = found.points
    assert a.surprisal == pytest.approx(b.surprisal, abs=1e-6)
    assert b.step == 100, "the lowest that the slower one reached"
    assert a.step == pytest.approx(50, abs=0.01)
    np.testing.assert_allclose(found.difference_N, bias, atol=1e-4)
    frame = found.by("half")
    assert frame.loc["yes", "difference"] == pytest.approx(0.5, abs=1e-4)
    assert frame.loc["no", "difference"] == pytest.approx(-0.5, abs=1e-4)
    assert frame.loc["yes", "tokens"] == N // 2
    assert found.by().loc["all tokens", "difference"] == pytest.approx(0, abs=1e-6)
    back = differences(second, first, at="loss")
    np.testing.assert_allclose(back.difference_N, -found.difference_N, atol=1e-9)


def test_the_error_is_that_of_a_mean_over_sequences(tmp_path: Path) -> None:
    """Tokens of a sequence differ together: against the spread of the mean over 300 such pairs of runs."""
    means, told = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        shared = np.repeat(rng.normal(0, 1, N_SEQUENCES), LENGTH - 1) + rng.normal(0, 0.2, N)
        means.append(shared.mean())
        if seed < 20:
            first = open_run(write(tmp_path / f"a{seed}.h5", {0: np.full(N, 9.0), 10: np.full(N, 8.0)}))
            second = open_run(write(tmp_path / f"b{seed}.h5", {0: np.full(N, 9.0), 10: 8.0 + shared}))
            told.append(differences(first, second).by().loc["all tokens", "standard_error"])
    assert np.mean(told) == pytest.approx(np.std(means), rel=0.15)
    assert np.mean(told) > 2 * np.sqrt(1.04 / N), "as if tokens were independent"


def test_pairs_that_only_one_tells_apart(tmp_path: Path) -> None:
    rows = [{"good": "the ships sail", "bad": "the ship sail"}, {"good": "don't wait", "bad": "wait don't"}]
    given = TokenSet.from_pairs(rows, tokenizer_of("GPT-2, transformers"), bos=0)
    spans = given.spans.of_kind("pair")
    both = []
    for name, cheap in (("a", "good"), ("b", "bad")):
        bits = np.full(len(given), 5.0)
        for first, length, member, item in zip(spans.first, spans.length, spans.member, spans.item, strict=True):
            good_is_cheap = item == 0 or cheap == "good"
            bits[first : first + length] = (1 if (member == "good") == good_is_cheap else 30) / length
        both.append(open_run(write(tmp_path / f"{name}.h5", {0: bits, 5: bits}, given=given)))
    row = differences(*both).items().loc["pair"]
    assert row.tolist() == [2, 1.0, 0.5, 0.5, 0.5, 0.0]


def test_refused(pair, tmp_path: Path) -> None:
    first, second, shape, _ = pair
    with pytest.raises(ValueError, match="at='time': one of step, tokens, loss"):
        differences(first, second, at="time")
    uncounted = open_run(write(tmp_path / "uncounted.h5", {0: shape, 10: shape}, per_step=np.nan))
    with pytest.raises(ValueError, match="does not say how many tokens were seen"):
        differences(first, uncounted, at="tokens")
    other = open_run(write(tmp_path / "other.h5", {0: shape}, given=tokens(3)))
    with pytest.raises(TokenSetMismatchError):
        differences(first, other)


def test_groups_and_the_command(pair, tmp_path: Path) -> None:
    first, second, shape, _ = pair
    done = call("compare", first.path, second.path, "--at", "loss", "-o", tmp_path / "d.csv")
    assert str(differences(first, second, at="loss")) in done.output
    assert "standard error" in done.output
    assert len((tmp_path / "d.csv").read_text().splitlines()) == N + 1
    runs = []
    for k, (rate, bits) in enumerate([("0.1", 4.0), ("0.1", 6.0), ("0.2", 3.0)]):
        path = write(tmp_path / f"run{k}.h5", {0: shape, 9: np.full(N, bits)}, arguments={"learning_rate": float(rate)})
        runs.append(open_run(path))
    frame = groups(runs, ["learning_rate", "parameters"])
    assert frame.loc[("0.1", "7"), ["runs", "surprisal"]].tolist() == [2, 5.0]
    assert frame.loc[("0.1", "7"), "surprisal_sd"] == pytest.approx(np.sqrt(2))
    assert np.isnan(frame.loc[("0.2", "7"), "surprisal_sd"])
    done = call("compare", *(run.path for run in runs), "--group", "learning_rate")
    assert "0.1" in done.output
    assert "surprisal sd" in done.output
    assert "no run says it. They say" in call("compare", *(r.path for r in runs), "--group", "colour", code=1).output
    call("compare", first.path, second.path, "--at", "loss", "--group", "x", code=2)
    call("compare", *(run.path for run in runs), "--at", "loss", code=2)
    call("compare", first.path, second.path, "--at", "time", code=2)
