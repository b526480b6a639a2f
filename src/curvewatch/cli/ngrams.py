"""The command that reads the training corpus: ngrams."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from curvewatch.cli.common import SetName, fail, guarded, note, noted_warnings, out, progressing
from curvewatch.cli.outputs import check_npz, output_option

# Of held-out text far fewer 5-grams occur: a tenth in a corpus of two million tokens.
LONG, SUSPICIOUS_SHARE = 5, 0.9


@guarded
def ngrams(
    corpus: Annotated[
        Path,
        typer.Option(
            "--corpus",
            "-c",
            help="Training corpus: a text file, an .npy array of token ids, or a folder saved by datasets.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        output_option("Ends in .npz."),
    ],
    tokens: Annotated[
        Path | None, typer.Option("--tokens", "-t", help="Token set saved by TokenSet.save.", show_default=False)
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Instead of --tokens: run file that watched them.", show_default=False)
    ] = None,
    set_name: SetName = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="For a text file: folder of the model's tokenizer (transformers).", show_default=False),
    ] = None,
    every: Annotated[
        bool,
        typer.Option(
            "--every-position",
            help="Of every position of the set's sequences, scored or not: for predict --sweep-ngrams.",
        ),
    ] = False,
    n_max: Annotated[int, typer.Option(min=1, help="The longest n-gram.")] = 5,
    column: Annotated[str, typer.Option(help="Of a dataset: column of token ids.")] = "input_ids",
    split: Annotated[str | None, typer.Option(help="Of a dataset that has several.", show_default="train")] = None,
    paper: Annotated[
        bool,
        typer.Option(
            "--paper",
            help="Two rules of the release: beginnings of sequences count, unseen tokens are as the set's rarest.",
        ),
    ] = False,
) -> None:
    """N-gram surprisal of every scored token, exact, from one pass over the training corpus."""
    from curvewatch.corpus import count_ngrams, every_position, open_corpus
    from curvewatch.corpus.surprisals import FORMAT
    from curvewatch.watch.checkpoints import load_tokens

    if (tokens is None) == (run is None):
        raise typer.BadParameter("give one of --tokens and --run.", param_hint="--tokens")
    check_npz(output, f"a file of {FORMAT}", corpus, tokens, run)
    token_set = load_tokens(tokens or run, set_name)  # type: ignore[arg-type]
    if every:
        token_set = every_position(token_set)
    source = open_corpus(
        corpus, loaded_tokenizer(tokenizer) if tokenizer is not None else None, column=column, split=split
    )
    if tokenizer is not None and source.about["kind"] != "text":
        fail(f"tokenizer: {corpus} holds token ids already; leave --tokenizer out.")
    with noted_warnings(), progressing("counting") as progress:
        found = count_ngrams(
            source, token_set, n_max=n_max, paper=paper, progress=lambda done, of: progress(done, of or 0)
        )
    found.save(output)
    out.print(str(output), markup=False, soft_wrap=True)
    n_vocabulary = int((found.token_counts_V > 0).sum())
    note(f"{found.total_tokens:,} tokens counted, {n_vocabulary:,} different ones; {len(token_set):,} tokens scored")
    for n, (bits_N, counts_N) in enumerate(zip(found.surprisal_bits_nN, found.counts_nN, strict=True), 1):
        with_context = counts_N[token_set.position >= n - 1]
        share = (with_context > 0).mean() if len(with_context) else 0.0
        note(f"{n}-grams: mean surprisal {bits_N.mean():.3f} bit; {share:.1%} of the tokens' occur in the corpus")
        if n == LONG and share > SUSPICIOUS_SHARE:
            note(f"nearly all {n}-grams occur: is the evaluation text part of this corpus?")


def loaded_tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder of transformers."""
    if not folder.is_dir():
        raise FileNotFoundError(f"tokenizer={folder}: no such folder.")
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ImportError(
            "--tokenizer needs transformers. Install it with: pip install 'curvewatch[transformers]'"
        ) from error
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise ValueError(f"tokenizer={folder}: transformers can't load it ({error}).") from error
