"""Tokenizers of every make, small and trained here: they differ in what they say of where a token stands."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

WORDS = (
    "the ships that sail at night carry 12 lamps and 3.14 barrels; don't wait, said the captain. "
    "Où est-ce que le café ? naïve façade. 東京は夜です。 👩‍🚀 flies 🚀🚀 home.\n\n  def f(x_1): return {x: 2}\n"
)
CORPUS = [WORDS, WORDS.upper(), WORDS[::-1]] * 4


def gpt2_like(trim: bool = True) -> Any:
    """Byte-level BPE. As GPT-2 has it, offsets leave out the space before a word."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    if trim:
        made.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    return made


def llama_like() -> Any:
    """BPE that puts a space in front, and falls back to bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers

    made = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    made.train_from_iterator(
        [text.encode("ascii", "ignore").decode() for text in CORPUS],
        trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False),
    )
    return made


def t5_like() -> Any:
    """Unigram behind NFKC: it changes the text, and one character may become several tokens."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=150, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
    made.train_from_iterator(CORPUS, trainer)
    return made


def bert_like() -> Any:
    """WordPiece of lower-case words: case, accents and blanks are lost."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]"], show_progress=False)
    made.train_from_iterator(CORPUS, trainer)
    return made


def bert_with_edges() -> Any:
    """The same as a tokenizer of transformers, with [CLS], [SEP] and [MASK]."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=names, show_progress=False)
    )
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, made.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    )  # fmt: skip


def t5_with_end() -> Any:
    """`t5_like` as a tokenizer of transformers that puts </s> behind a text."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    made = t5_like()
    made.add_special_tokens(["<pad>", "</s>"])
    end = made.token_to_id("</s>")
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", end)])
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", pad_token="<pad>", eos_token="</s>")


def bart_like() -> Any:
    """`gpt2_like` as a tokenizer of transformers that puts <s> and </s> around a text."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    made = gpt2_like()
    made.add_special_tokens(["<s>", "</s>"])
    ids = [(name, made.token_to_id(name)) for name in ("<s>", "</s>")]
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ids)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")


def fast(made: Callable[[], Any]) -> Any:
    """The same as a tokenizer of transformers."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=made())


def tiktoken_like() -> Any:
    """Bytes, and some pairs of them."""
    import tiktoken

    ranks = {bytes([byte]): byte for byte in range(256)}
    for pair in (b"th", b"he", b" t", b"an", b"\xf0\x9f", "é".encode()):
        ranks[pair] = len(ranks)
    return tiktoken.Encoding("test", pat_str=r"\s?\S+|\s+", mergeable_ranks=ranks, special_tokens={})


def by_byte() -> Any:
    """ByT5's, which is written in Python: it ignores the wish for offsets."""
    from transformers import ByT5Tokenizer

    return ByT5Tokenizer()


KINDS: dict[str, Callable[[], Any]] = {
    "GPT-2": gpt2_like,
    "GPT-2, untrimmed": lambda: gpt2_like(trim=False),
    "GPT-2, transformers": lambda: fast(gpt2_like),
    "Llama": llama_like,
    "T5": t5_like,
    "BERT, transformers": lambda: fast(bert_like),
    "tiktoken": tiktoken_like,
    "ByT5": by_byte,
}


@cache
def tokenizer_of(kind: str) -> Any:
    """The tokenizer of one kind, made once."""
    return KINDS[kind]()
