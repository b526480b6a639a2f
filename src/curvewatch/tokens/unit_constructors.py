"""The constructors of token sets of pairs, facts, questions and chats, with what their arguments mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from curvewatch.tokens import chat, item_builders, seq2seq
from curvewatch.tokens.constructors import Constructors
from curvewatch.tokens.masking import CAUSAL, builder_settings

if TYPE_CHECKING:
    from typing_extensions import Self


class UnitConstructors(Constructors):
    """What `TokenSet` is built by where units of several tokens are what counts.

    Rows are tuples in the order of the arguments, mappings, a `datasets.Dataset`, a table of pandas, pyarrow or polars,
    or the path of a file (.jsonl, .json, .csv, .tsv).
    """

    @classmethod
    def from_pairs(
        cls,
        rows: Any,
        tokenizer: Any,
        *,
        good: str = "good",
        bad: str = "bad",
        label: str | None = None,
        context: int | None = None,
        bos: int | None = None,
        vocab_size: int | None = None,
        objective: str = CAUSAL,
    ) -> Self:
        """A token set of minimal pairs: does the good sentence cost fewer bits than the bad one?

        Every token of both is scored. The whole sentences are spans of kind "pair"; what differs between them, in whole
        words, is one of kind "critical", where either has something there. `run.units("pair").items` has accuracy and
        margins; live they are `item/pair/...`.

        Args:
            rows: Two sentences each, and what they are counted under.
            tokenizer: The model's tokenizer.
            good: Column of the good sentence ("sentence_good" in BLiMP).
            bad: Column of the bad one.
            label: Column of what a pair is counted under ("UID" in BLiMP); None for nothing.
            context: Cut sentences to this many tokens, `bos` included; None takes them whole.
            bos: Token id to put before each sentence, so that its first token is scored, too; the tokenizer's
                beginning-of-text or end-of-text token.
            vocab_size: If the tokenizer does not know it.
            objective: "causal", or what `masked` takes, for a masked model: "masked", "masked_l2r", "masked_in_7".

        Raises:
            KeyError: If a row has no such column.
            TypeError: If what is given holds no rows, or a sentence is no text.
            ValueError: If a sentence is empty, both are the same, or a token can't be scored.
        """
        room = builder_settings(objective, tokenizer, bos, context)
        parts = item_builders.from_pairs(
            rows, tokenizer, good=good, bad=bad, label=label, vocab_size=vocab_size, **room
        )
        return cls._for(objective, parts)

    @classmethod
    def from_completions(
        cls,
        rows: Any,
        tokenizer: Any,
        *,
        prompt: str = "prompt",
        answer: str | None = "answer",
        label: str | None = None,
        context: int | None = None,
        bos: int | None = None,
        vocab_size: int | None = None,
        objective: str = CAUSAL,
    ) -> Self:
        """A token set of prompts and their answers: does the model know it?

        Prompt and answer are encoded as one text, and every token that covers some of the answer is scored: none of its
        characters is lost where a token reaches over the boundary. Mind the space: "The capital of France is" and
        " Paris". Answers are spans of kind "answer".

        Args:
            rows: A prompt, an answer, and what they are counted under.
            tokenizer: The model's tokenizer.
            prompt: Column of the prompt.
            answer: Column of the answer; None takes the last word of the prompt for it, as LAMBADA has it.
            label: Column of what an answer is counted under; None for nothing.
            context: Cut texts to this many tokens, `bos` included; None takes them whole.
            bos: Token id to put before each text that does not begin with it.
            vocab_size: If the tokenizer does not know it.
            objective: "causal", or what `masked` takes, for a masked model: "masked", "masked_l2r", "masked_in_7".

        Raises:
            KeyError: If a row has no such column.
            TypeError: If what is given holds no rows, or a text is none.
            ValueError: If an answer is empty, or a token of it can't be scored.
        """
        room = builder_settings(objective, tokenizer, bos, context)
        parts = item_builders.from_completions(
            rows, tokenizer, prompt=prompt, answer=answer, label=label, vocab_size=vocab_size, **room
        )
        return cls._for(objective, parts)

    @classmethod
    def from_choices(
        cls,
        rows: Any,
        tokenizer: Any,
        *,
        question: str = "question",
        options: str = "options",
        right: str = "answer",
        label: str | None = None,
        context: int | None = None,
        bos: int | None = None,
        vocab_size: int | None = None,
        objective: str = CAUSAL,
    ) -> Self:
        """A token set of questions with options: does the right one cost fewest bits?

        Each option is scored behind the question, as in `from_completions`; options are spans of kind "choice". Compare
        by all bits or by bits for each byte: `run.units("choice").items.accuracy(per="byte")`.

        Args:
            rows: A question, its options, the right one (its number from 0, or its text), and what it is counted under.
            tokenizer: The model's tokenizer.
            question: Column of the question, with the blanks that are to stand before an option.
            options: Column of the list of options.
            right: Column of the right one.
            label: Column of what a question is counted under; None for nothing.
            context: Cut texts to this many tokens, `bos` included; None takes them whole.
            bos: Token id to put before each text that does not begin with it.
            vocab_size: If the tokenizer does not know it.
            objective: "causal", or what `masked` takes, for a masked model: "masked", "masked_l2r", "masked_in_7".

        Raises:
            KeyError: If a row has no such column.
            TypeError: If what is given holds no rows, or a text is none.
            ValueError: If there are fewer than two options, none is the right one, or a token can't be scored.
        """
        room = builder_settings(objective, tokenizer, bos, context)
        parts = item_builders.from_choices(
            rows, tokenizer, question=question, options=options, right=right, label=label, vocab_size=vocab_size, **room
        )  # fmt: skip
        return cls._for(objective, parts)

    @classmethod
    def from_seq2seq(
        cls,
        rows: Any,
        tokenizer: Any,
        *,
        decoder_start: int,
        source: str = "source",
        target: str = "target",
        label: str | None = None,
        context: int | None = None,
        per_sequence: int | None = None,
        seed: int = 0,
        vocab_size: int | None = None,
    ) -> Self:
        """A token set for an encoder-decoder model: how surprising is the target behind its source?

        Source and target have the tokens that the tokenizer puts around a text, as in training; all of the target's are
        scored, the end of the text, too, so that their mean is the model's own loss.

        Args:
            rows: A source, its target, and what they are counted under.
            tokenizer: The model's tokenizer.
            decoder_start: The token that the decoder starts with: the model's `config.decoder_start_token_id`.
            source: Column of the source.
            target: Column of the target.
            label: Column that becomes a label of the target's tokens; None for nothing.
            context: Cut sources and targets to this many tokens, `decoder_start` included; None takes them whole.
            per_sequence: Scored positions drawn in each target; None scores every one.
            seed: For that draw.
            vocab_size: If the tokenizer does not know it.

        Raises:
            KeyError: If a row has no such column.
            TypeError: If what is given holds no rows, or a text is none.
            ValueError: If a text is empty.
        """
        parts = seq2seq.from_seq2seq(
            rows, tokenizer, decoder_start=decoder_start, source=source, target=target, label=label, context=context,
            per_sequence=per_sequence, seed=seed, vocab_size=vocab_size,
        )  # fmt: skip
        return cls(**parts)

    @classmethod
    def from_chat(
        cls,
        rows: Any,
        tokenizer: Any,
        *,
        score: str = "assistant",
        messages: str = "messages",
        prompt: str = "prompt",
        completion: str = "completion",
        labels: str | None = None,
        context: int | None = None,
        bos: int | None = None,
        vocab_size: int | None = None,
    ) -> Self:
        """A token set of chats, rendered and masked as training has them.

        A row has `messages` (role and content each), `prompt` and `completion` (texts, or lists of messages), or
        `input_ids` and `labels` (-100 where nothing is trained on), as TRL has them; the last are exactly what is
        trained on, whatever the template. Replies are told by the template's generation marks; without them by
        rendering the messages before and through each reply, which is refused where the template renders those in
        another way. Replies are spans of kind "reply"; the label "turn" counts the replies of a chat.

        Args:
            rows: The chats.
            tokenizer: The model's tokenizer, with its chat template. A row may bring `tools` and
                `chat_template_kwargs`.
            score: The replies of the "assistant", or "all" tokens; these get the label "role".
            messages: Column of the messages.
            prompt: Column of the prompt.
            completion: Column of the completion; the end-of-text token is put behind a text, as in training.
            labels: Column that becomes a label of the chat's tokens; None for nothing.
            context: Cut chats to this many tokens; None takes them whole.
            bos: Token id to put before each chat that does not begin with it; templates mostly have their own.
            vocab_size: If the tokenizer does not know it.

        Raises:
            KeyError: If a row has no such columns.
            TypeError: If what is given holds no rows, or a message has no role.
            ValueError: If a reply is empty or has no token, there is no reply or no template, or the template's replies
                can't be told.
        """
        parts = chat.from_chat(
            rows, tokenizer, score=score, messages=messages, prompt=prompt, completion=completion, labels=labels,
            context=context, bos=bos, vocab_size=vocab_size,
        )  # fmt: skip
        return cls(**parts)
