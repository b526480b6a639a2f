"""The HDF5 layout of a run file: every dataset with its dimensions, type and unit. Writer and reader share it.

A set's datasets stand in the file's root, or in a group of the set's name if the callback watches several sets.
Dimension scales name the dimensions, so that xarray (engine h5netcdf) opens root or group as a labelled dataset.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FORMAT = "curvewatch run"
# 2: token counts and sampled texts. 3: entropy in 32 bits (netCDF4 ends the process at 16), `due_step`, `weights`.
# 4: `tokens_seen`, which older code would not go on counting. 5: `boundary`, `words_seen`, `bytes_seen`, likewise.
# 6: `trained_on`, likewise.
# Files of earlier versions are read, and continued as they are.
FORMAT_VERSION = 6
DEFAULT_SET = "eval"
PROVENANCE = "provenance"
TRAINED_ON = "trained_on"
"""The group of what was trained on, where that is followed; of the run, not of a set."""
AVERAGED = "averaged"
WEIGHTS = ("training", AVERAGED)
"""Which weights rows can be of; a file that doesn't say has those that were trained."""

TEXT = "str"


@dataclass(frozen=True)
class Dataset:
    """One dataset of a set.

    Attributes:
        name: As it stands in the file.
        dims: Names of its dimensions; its own name means that it is that dimension's scale.
        dtype: NumPy name, or "str" for UTF-8 text of any length.
        units: As in the attribute `units`; "" where there is none.
        about: One line; the attribute `long_name`.
        grows: Whether each observation adds a row.
    """

    name: str
    dims: tuple[str, ...]
    dtype: str
    units: str
    about: str
    grows: bool = False


CURVES = (
    Dataset("surprisal", ("step", "token"), "float32", "bit", "-log2 p(token | context)", grows=True),
    Dataset("correct", ("step", "token"), "uint8", "1", "1 where the target was the arg-max", grows=True),
    Dataset("entropy", ("step", "token"), "float32", "bit", "entropy of the predicted distribution", grows=True),
)
# Measured beside them only where words are scored as words.
BOUNDARY = (
    Dataset(
        "boundary", ("step", "token"), "float32", "bit",
        "how much more surprising a word boundary is behind the token than before it (with corrected words)", True,
    ),
    Dataset("boundary_id", ("boundary_id",), "int32", "1", "token ids of the vocabulary (with corrected words)"),
    Dataset(
        "boundary_kind", ("boundary_id",), "uint8", "1", "bit 1: it begins a word, bit 2: behind it anything does"
    ),
)  # fmt: skip
# Measured only where a base model runs beside the live one.
BASE_KL = (
    Dataset(
        "base_kl", ("step", "token"), "float32", "bit",
        "how far the prediction has gone from the base's: Kullback-Leibler divergence (with kl)", True,
    ),
)  # fmt: skip
# Measured only where further passes with dropout are asked for.
DROPOUT = (
    Dataset(
        "dropout_sd", ("step", "token"), "float32", "bit",
        "standard deviation of surprisal over passes with dropout (with dropout_passes)", True,
    ),
)  # fmt: skip
STEPS = (
    Dataset("step", ("step",), "int64", "1", "updates done when the row was scored", grows=True),
    Dataset("seconds", ("step",), "float32", "s", "wall time of scoring the row", grows=True),
    Dataset("time", ("step",), "float64", "seconds since 1970-01-01", "when the row was scored", grows=True),
    Dataset("due_step", ("step",), "int64", "1", "the planned step that the row stands for", grows=True),
)
# float64 holds every count that can occur, and NaN where one is not known.
SEEN = (
    Dataset("tokens_seen", ("step",), "float64", "1", "tokens in the batches trained on so far; else NaN", True),
    Dataset("words_seen", ("step",), "float64", "1", "words between blanks in them (with a tokenizer)", True),
    Dataset("bytes_seen", ("step",), "float64", "byte", "UTF-8 bytes of their text (with a tokenizer)", True),
)
# What a token is predicted from besides what stands to its left; only in files of sets for such models.
MASKED = (
    Dataset("mask_row", ("token",), "int32", "1", "row in which it is predicted; those of one are hidden together"),
    Dataset("masked_behind", ("token",), "int32", "1", "tokens behind it that are hidden as well"),
)
ENCODER = (
    Dataset("encoder_place", ("encoder_place",), "int32", "1", "position in the encoder's input (of seq2seq sets)"),
    Dataset("encoder_length", ("sequence",), "int32", "1", "tokens of it"),
    Dataset("encoder_sequences", ("sequence", "encoder_place"), "int32", "1", "its token ids; -1 behind its end"),
)
SKIPPED = (
    Dataset("skipped_step", ("skipped_step",), "int64", "1", "planned steps that were not scored"),
    Dataset("skipped_why", ("skipped_step",), TEXT, "", "why not: the budget, or what failed"),
)
TOKENS = (
    Dataset("token", ("token",), "int32", "1", "index of the scored token"),
    Dataset("sequence_index", ("token",), "int32", "1", "its sequence"),
    Dataset("position", ("token",), "int32", "1", "its position in the sequence, from 0"),
    Dataset("target", ("token",), "int32", "1", "its id"),
    Dataset("target_text", ("token",), TEXT, "", "its text (with a tokenizer)"),
    Dataset("sequence", ("sequence",), "int32", "1", "index of the sequence"),
    Dataset("length", ("sequence",), "int32", "1", "tokens in the sequence"),
    Dataset("place", ("place",), "int32", "1", "position in a sequence"),
    Dataset("sequences", ("sequence", "place"), "int32", "1", "token ids; -1 behind a sequence's end"),
    Dataset("vocabulary_id", ("vocabulary_id",), "int32", "1", "token ids that occur (with a tokenizer)"),
    Dataset("vocabulary_text", ("vocabulary_id",), TEXT, "", "their texts (with a tokenizer)"),
    Dataset("planned_step", ("planned_step",), "int64", "1", "steps planned to be scored"),
    *SKIPPED,
)
# What the model wrote behind fixed prompts: made with the first sample, so that other files have none of it.
SAMPLES = (
    Dataset("sample", ("sample",), "int32", "1", "index of the sampled text (with prompts)"),
    Dataset("sample_step", ("sample",), "int64", "1", "updates done when it was sampled"),
    Dataset("sample_prompt_index", ("sample",), "int32", "1", "index of the prompt it continues"),
    Dataset("sample_prompt", ("sample",), TEXT, "", "the prompt's text"),
    Dataset("sample_text", ("sample",), TEXT, "", "the sampled text, without the prompt"),
    Dataset("sample_ids", ("sample",), TEXT, "", "its token ids, separated by spaces"),
    Dataset("sample_repetition", ("sample",), "int32", "1", "tokens at its end that repeat one unit"),
    Dataset("sample_status", ("sample",), TEXT, "", "why it ends: length, eos, context or nonfinite"),
)
# How often the targets occur in the training text; only in files of runs that know.
COUNTED = (
    Dataset("counted_id", ("counted_id",), "int32", "1", "the distinct targets (with token counts)"),
    Dataset("corpus_count", ("counted_id",), "float64", "1", "occurrences in the training text, as given; else NaN"),
)
TRAINING_COUNTS = (
    Dataset(
        "training_count", ("step", "counted_id"), "float64", "1", "occurrences in the batches trained on so far", True
    ),
    Dataset("saved_step", ("saved_step",), "int64", "1", "steps with a checkpoint and without a row"),
    Dataset("saved_count", ("saved_step", "counted_id"), "float64", "1", "occurrences up to then"),
    Dataset("saved_tokens_seen", ("saved_step",), "float64", "1", "tokens in the batches up to then"),
    Dataset("saved_words_seen", ("saved_step",), "float64", "1", "words in them"),
    Dataset("saved_bytes_seen", ("saved_step",), "float64", "byte", "UTF-8 bytes of their text"),
)
COUNTS = (*COUNTED, *TRAINING_COUNTS)
# What the tokens mean; each part only in files of sets that know it, and in those that it was added to afterwards.
TEXTS = (
    Dataset("n_bytes", ("token",), "int32", "byte", "UTF-8 bytes of the text that the token covers (of sets of text)"),
    Dataset("sequence_text", ("sequence",), TEXT, "", "the text that the sequence was made from (of sets of text)"),
    Dataset("sequence_cut", ("sequence",), "uint8", "1", "bit 1: its text goes on before it, bit 2: behind it"),
    Dataset("character_end", ("sequence", "place"), "int32", "1", "where each token ends in it, characters; else -1"),
)
LABELS = (
    Dataset("label", ("label",), "int32", "1", "index of the label (with labels)"),
    Dataset("label_name", ("label",), TEXT, "", "its name"),
    Dataset("label_code", ("label", "token"), "int32", "1", "the token's value of it, counted from 0; -1 for none"),
    Dataset(
        "label_value", ("label_value",), "int32", "1", "index of a value of a label: label by label, value by value"
    ),
    Dataset("label_value_label", ("label_value",), "int32", "1", "index of its label"),
    Dataset("label_value_text", ("label_value",), TEXT, "", "the value"),
)
SPANS = (
    Dataset("span", ("span",), "int32", "1", "index of the span (with spans)"),
    Dataset("span_first", ("span",), "int32", "1", "index of its first token"),
    Dataset("span_length", ("span",), "int32", "1", "number of its tokens"),
    Dataset("span_kind", ("span",), "int32", "1", "what it is, an index of `span_text`"),
    Dataset("span_name", ("span",), "int32", "1", "its text or name, an index of `span_text`"),
    Dataset("span_group", ("span",), "int32", "1", "what it is counted under, an index of `span_text`"),
    Dataset("span_item", ("span",), "int32", "1", "number of its pair or question; -1 for none"),
    Dataset("span_member", ("span",), "int32", "1", "what it is of that, an index of `span_text`"),
    Dataset("span_impure", ("span",), "uint8", "1", "1 where one of its tokens reaches beyond it"),
    Dataset("span_text_index", ("span_text_index",), "int32", "1", "index of a text of spans"),
    Dataset("span_text", ("span_text_index",), TEXT, "", "the text"),
)
REFERENCE = (
    Dataset("reference_surprisal", ("token",), "float32", "bit", "surprisal of the base model (with a reference)"),
    Dataset("reference_correct", ("token",), "uint8", "1", "1 where it was the base's first choice, 2 if not known"),
)
ANNOTATIONS = (*TEXTS, *LABELS, *SPANS, *REFERENCE)
# In the group `trained_on`: passages that are looked for in the batches, and the batches' sequences.
EXPOSURES = (
    Dataset("passage", ("passage",), "int32", "1", "index of the passage (with exposures)"),
    Dataset("passage_name", ("passage",), TEXT, "", "its name"),
    Dataset("passage_text", ("passage",), TEXT, "", "its text"),
    Dataset("exposure", ("exposure",), "int32", "1", "index of the exposure"),
    Dataset("exposure_step", ("exposure",), "int64", "1", "the update that was trained on it, counted from 1"),
    Dataset("exposure_passage", ("exposure",), "int32", "1", "which passage"),
    Dataset("exposure_count", ("exposure",), "int32", "1", "how often it stood in the batches of that update"),
)
TRAINED = (
    Dataset("trained_step", ("trained_step",), "int64", "1", "the update of each sequence (with batches)"),
    Dataset("trained_fingerprint", ("trained_step",), "uint64", "1", "64 bits that stand for its token ids"),
    Dataset("trained_index", ("trained_step",), "int64", "1", "its own number in the data; -1 if not given"),
)
UNKNOWN = (
    Dataset("unknown_first", ("unknown_first",), "int64", "1", "first update of a stretch that is not known"),
    Dataset("unknown_last", ("unknown_first",), "int64", "1", "last update of it"),
)
TRAINED_ON_DATASETS = (*EXPOSURES, *TRAINED, *UNKNOWN)
TRAINED_ON_ATTRIBUTES = {
    "through": "the last update that all this tells of",
    "passages_hash": "SHA-256 of the passages' names and texts",
}
# Those that are written over when annotations change.
CHANGING_DIMS = ("label", "label_value", "span", "span_text_index")
RESIZABLE_DIMS = (
    "planned_step", "skipped_step", "sample", "saved_step", "exposure", "trained_step", "unknown_first", *CHANGING_DIMS,
)  # fmt: skip
# Only in files of sets and runs that have what they tell of.
OF_SOME = (*BOUNDARY, *BASE_KL, *DROPOUT, *MASKED, *ENCODER, *SAMPLES, *COUNTS, *ANNOTATIONS)
DATASETS = (
    *STEPS, *SEEN, *CURVES, *BOUNDARY, *BASE_KL, *DROPOUT, *TOKENS, *MASKED, *ENCODER, *SAMPLES, *COUNTS,
    *ANNOTATIONS,
)  # fmt: skip
BY_NAME = {dataset.name: dataset for dataset in DATASETS}

# Attributes of a set's group (the root, if there is one set), and what they hold.
SET_ATTRIBUTES = {
    "set_name": "name of the token set",
    "set_hash": "SHA-256 of objective, sequences, positions, and what else a token is predicted from",
    "objective": "how a token is predicted: causal, seq2seq, masked, masked_l2r, masked_in_K",
    "mask_id": "the token that hides another one (of masked sets)",
    "chance": "log2 of the number of the model's outputs, bit",
    "vocab_size": "tokens in the vocabulary of the set; 0 if unknown",
    "model_vocab_size": "outputs of the model",
    "made_by": "how the set was made, with its seed (JSON)",
    "scorer": "road to the logits, batch size, precision (JSON)",
    "reference": "what it is held against: first (its first row), or the name of a base (of sets with a reference)",
    "texts": "whether its texts are exact, and whether decoding loses some of them (JSON; of sets of text)",
}
OPTIONAL_ATTRIBUTES = ("mask_id", "reference", "texts")
# Attributes of the root.
ROOT_ATTRIBUTES = {
    "format": FORMAT,
    "format_version": str(FORMAT_VERSION),
    "run_id": "random id of the run",
    "created": "when the file was made, ISO 8601",
    "sets": "names of the token sets (JSON)",
    "max_steps": "planned last step; 0 if open-ended",
    "schedule": "the rule that chose the scored steps",
    "max_overhead": "budget, as a share of wall time; 0 if there is none",
    "weights": "which weights the rows are of: training or averaged",
}


def chunks(dataset: Dataset, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Chunk shape: for curves blocks of steps x tokens that serve both a row's append and a token's curve."""
    if dataset.dims == ("step", "token"):
        columns = max(1, min(shape[1], 16_384))
        return (max(16, min(256, (1 << 18) // columns)), columns)
    if dataset.dims == ("step",):
        return (1024,)
    if dataset.dims in (("sample",), ("saved_step",), ("unknown_first",)):
        return (64,)
    if dataset.dims == ("exposure",):
        return (1024,)
    if dataset.dims == ("trained_step",):
        return (1 << 16,)
    if dataset.dims in (("planned_step",), ("skipped_step",)):
        return (1024,)  # made empty, so their shape says nothing yet
    if dataset.name == "label_code":
        return (1, max(1, min(shape[1], 1 << 18)))
    if dataset.dims[0] in CHANGING_DIMS:
        return (max(64, min(shape[0], 1 << 16)),)
    if dataset.dims[-1] == "counted_id" and len(dataset.dims) == 2:
        return (8, max(1, min(shape[1], 16_384)))
    # Whole rows, about a million numbers to a chunk.
    inner = max(1, math.prod(shape[1:]))
    return (max(1, min(shape[0], (1 << 20) // inner)), *(max(1, extent) for extent in shape[1:]))
