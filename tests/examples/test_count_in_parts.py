"""A corpus counted in parts, by two processes, as one counted at once; and gone on with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from datasets import Dataset, load_from_disk

from curvewatch import TokenSet
from curvewatch.corpus import contextual_diversity, count_ngrams, load_diversity, load_ngrams
from tests.support.process import environment

ROOT = Path(__file__).parents[2]


def test_parts_are_the_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [rng.geometric(0.05, int(n)).clip(max=200).tolist() for n in rng.integers(2, 60, 90)]
    rows[0] = [250, 250, 250]  # highest id, in one part alone
    Dataset.from_dict({"input_ids": rows}).save_to_disk(str(tmp_path / "corpus"))
    TokenSet.from_sequences(rows[3:20], vocab_size=256).save(tmp_path / "tokens.npz")
    command = [sys.executable, str(ROOT / "examples/count_in_parts.py"), "corpus", "--tokens", "tokens.npz",
               "--to", "counted", "--parts", "3"]  # fmt: skip

    def go(*more: str) -> None:
        done = subprocess.run([*command, *more], cwd=tmp_path, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    go("--only", "1")
    (first,) = (tmp_path / "counted").iterdir()
    assert first.name == "ngrams-00001-of-00003.npz"
    before = first.stat().st_mtime_ns
    go()
    assert first.stat().st_mtime_ns == before, "counted again"
    tokens = TokenSet.load(tmp_path / "tokens.npz")
    whole = load_from_disk(str(tmp_path / "corpus"))
    ngrams = load_ngrams(tmp_path / "counted/ngrams.npz", tokens)
    at_once = count_ngrams(whole, tokens)
    np.testing.assert_array_equal(ngrams.surprisal_bits_nN, at_once.surprisal_bits_nN)
    assert ngrams.total_tokens == sum(map(len, rows))
    diversity = load_diversity(tmp_path / "counted/diversity.npz")
    np.testing.assert_array_equal(diversity.raw_V, contextual_diversity(whole, tokens).raw_V)
