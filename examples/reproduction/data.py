"""The data of the reproduction: a tokenizer, training sequences, evaluation tokens, and what the corpus says of them.

As in the paper a sequence is a beginning token and the next tokens of one document; what is left of a document at its
end is padded away into the next sequence. Everything is written once; what is there is not made again.
"""

from __future__ import annotations

import json
import lzma
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from curvewatch import TokenSet
from curvewatch.corpus import (
    NgramSurprisals,
    contextual_diversity,
    count_ngrams,
    load_diversity,
    load_ngrams,
    part_of_speech,
)
from curvewatch.corpus.types_seen import ContextualDiversity

BOS = "<|endoftext|>"
PARAGRAPHS = 20
"""In a block: every `period`-th block is held out, so that both parts come from all over the text."""
PERIOD = 20
LEARNED_FROM = 40_000_000
"""Characters that the tokenizer is learned from."""


@dataclass(frozen=True)
class Data:
    """What training and analysis need.

    Attributes:
        folder: Where it lies.
        tokenizer: Of the sequences.
        train: Sequences, ids, shape [S, context]; a file mapped into memory.
        tokens: The evaluation tokens, with part of speech as a label where a pipeline was named.
        ngrams: Of the training sequences.
        diversity: Likewise.
    """

    folder: Path
    tokenizer: PreTrainedTokenizerBase
    train: NDArray[np.uint16]
    tokens: TokenSet
    ngrams: NgramSurprisals
    diversity: ContextualDiversity


def made(folder: Path, settings: dict[str, Any]) -> Data:
    """The data, made or read.

    Args:
        folder: Of the data.
        settings: text, vocab_size, context, n_tokens, per_sequence, pos, tokens_seed.

    Raises:
        ValueError: If the folder holds data of other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check_settings(folder / "settings.json", settings)
    context = int(settings["context"])
    tokenizer = _tokenizer(folder / "tokenizer", settings)
    train = _sequences(folder / "train.npy", settings["text"], tokenizer, context, held_out=False)
    tokens = _tokens(folder / "tokens.npz", settings, tokenizer, folder)
    if not (folder / "ngrams.npz").exists():
        with _bar("counting n-grams") as told:
            count_ngrams(train, tokens, progress=told).save(folder / "ngrams.npz")
    if not (folder / "diversity.npz").exists():
        with _bar("contextual diversity") as told:
            contextual_diversity(train, tokens, progress=told).save(folder / "diversity.npz")
    return Data(
        folder, tokenizer, train, tokens, load_ngrams(folder / "ngrams.npz", tokens),
        load_diversity(folder / "diversity.npz"),
    )  # fmt: skip


def _check_settings(path: Path, settings: dict[str, Any]) -> None:
    about = {**settings, "text_bytes": Path(settings["text"]).stat().st_size}
    if not path.exists():
        _replace(path, json.dumps(about, indent=1))
    found = json.loads(path.read_text("utf-8"))
    other = [name for name in about if found.get(name) != about[name] and name != "text"]
    if other:
        name = other[0]
        raise ValueError(f"{path}: the data was made with {name}={found.get(name)!r}, not {about[name]!r}. "
                         "Give another --folder.")  # fmt: skip


def _replace(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text, "utf-8")
    os.replace(part, path)


def paragraphs(text: str, *, held_out: bool) -> Iterator[str]:
    """Paragraphs of one part of the text; an empty one where a document ends, or goes on in the other part."""
    empty = n = 0
    with lzma.open(text, "rt", encoding="utf-8") if text.endswith(".xz") else open(text, encoding="utf-8") as lines:
        for line in lines:
            if not line.strip():
                empty += 1
                if empty == 2:
                    yield ""
                continue
            empty = 0
            if _is_held_out(n) == held_out:
                yield line.strip()
                if _is_held_out(n + 1) != held_out:
                    yield ""
            n += 1


def _is_held_out(paragraph: int) -> bool:
    return paragraph // PARAGRAPHS % PERIOD == PERIOD - 1


def _tokenizer(folder: Path, settings: dict[str, Any]) -> PreTrainedTokenizerBase:
    if not (folder / "tokenizer.json").exists():
        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=int(settings["vocab_size"]), special_tokens=[BOS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        )  # fmt: skip
        bpe.train_from_iterator(_some(settings["text"]), trainer)
        PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=BOS, eos_token=BOS).save_pretrained(str(folder))
    return PreTrainedTokenizerFast.from_pretrained(str(folder))


def _some(text: str) -> Iterator[str]:
    """Blocks from all over the training part, as much as the tokenizer is learned from."""
    size = Path(text).stat().st_size * (4 if text.endswith(".xz") else 1)
    every, left = max(1, size // LEARNED_FROM), LEARNED_FROM
    lines = paragraphs(text, held_out=False)
    for k in range(1 << 62):
        block = list(islice(lines, PARAGRAPHS))
        if not block or left <= 0:
            return
        if k % every == 0:
            left -= sum(map(len, block))
            yield from block


def _sequences(
    path: Path, text: str, tokenizer: PreTrainedTokenizerBase, context: int, *, held_out: bool
) -> NDArray[np.uint16]:
    """Beginning token and `context` - 1 tokens each, of one document; a shorter rest at its end is left out."""
    if not path.exists():
        bos, rows, rest = tokenizer.bos_token_id, [], np.zeros(0, np.uint16)
        for ids in tqdm(_encoded(text, tokenizer, held_out), desc=f"tokenizing {path.stem}", unit=" blocks"):
            if ids is None:
                rest = rest[:0]
                continue
            rest = np.concatenate([rest, ids])
            n = len(rest) // (context - 1)
            block = np.full((n, context), bos, np.uint16)
            block[:, 1:] = rest[: n * (context - 1)].reshape(n, context - 1)
            rows.append(block)
            rest = rest[n * (context - 1) :]
        if not rows or not sum(map(len, rows)):
            raise ValueError(f"--text {text}: no document of it has {context - 1} tokens.")
        part = path.with_suffix(".part.npy")
        np.save(part, np.concatenate(rows))
        os.replace(part, path)
    return np.load(path, mmap_mode="r")


def _encoded(text: str, tokenizer: PreTrainedTokenizerBase, held_out: bool) -> Iterator[NDArray[np.uint16] | None]:
    """Ids of many paragraphs of one document; None behind each document."""
    block: list[str] = []

    def flushed() -> NDArray[np.uint16]:
        ids = tokenizer([line + "\n" for line in block], add_special_tokens=False)["input_ids"]
        block.clear()
        return np.concatenate([np.array(one, np.uint16) for one in ids])

    for line in paragraphs(text, held_out=held_out):
        if line:
            block.append(line)
        if block and (not line or len(block) == 1024):
            yield flushed()
        if not line:
            yield None
    if block:
        yield flushed()


def _tokens(path: Path, settings: dict[str, Any], tokenizer: PreTrainedTokenizerBase, folder: Path) -> TokenSet:
    if not path.exists():
        context, n, each = (int(settings[name]) for name in ("context", "n_tokens", "per_sequence"))
        rows = _sequences(folder / "held_out.npy", settings["text"], tokenizer, context, held_out=True)
        wanted = -(-n // each)
        if len(rows) < wanted:
            raise ValueError(f"--n_tokens {n}: they need {wanted:,} held-out sequences, the text has {len(rows):,}.")
        chosen = np.random.default_rng(int(settings["tokens_seed"])).choice(len(rows), wanted, replace=False)
        tokens = TokenSet.from_sequences(
            np.asarray(rows[np.sort(chosen)], np.int64), n_tokens=n, per_sequence=each,
            seed=int(settings["tokens_seed"]), tokenizer=tokenizer,
        )  # fmt: skip
        if settings["pos"]:
            with _bar("tagging parts of speech") as told:
                tokens = part_of_speech(tokens, settings["pos"], progress=told).label(tokens)
        tokens.save(path)
    return TokenSet.load(path)


class _bar:
    """A progress bar, as the counters tell it."""

    def __init__(self, what: str) -> None:
        self.bar = tqdm(desc=what, unit_scale=True)

    def __enter__(self) -> Any:
        def told(done: int, of: int | None) -> None:
            self.bar.total = of
            self.bar.update(done - self.bar.n)

        return told

    def __exit__(self, *_: object) -> None:
        self.bar.close()
