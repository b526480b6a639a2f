"""The run file opened at the start of a watch: rank 0 alone has it; what it finds there, all ranks learn together."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from curvewatch.errors import RunFileError
from curvewatch.live import Live
from curvewatch.live.given import Given
from curvewatch.runfile.records import RunPlan, SetRecord
from curvewatch.scoring import ranks
from curvewatch.scoring.scorer import Scorer
from curvewatch.watch.counting import Counting
from curvewatch.watch.keeper import Keeper

logger = logging.getLogger("curvewatch")


class Opened(NamedTuple):
    """What was found.

    Attributes:
        keeper: On rank 0, with the file; else None.
        last_step: The file's last row; -1 if it has none.
        settled: Nothing up to this step will be scored any more.
    """

    keeper: Keeper | None
    last_step: int
    settled: int


def open_file(
    path: str,
    scorers: Mapping[str, Scorer],
    counting: Counting,
    given: Mapping[str, Given],
    live: Live,
    plan: RunPlan,
    step: int,
    *,
    again: bool,
    automatic_batches: bool,
) -> Opened:
    """Creates or continues the run file. A collective on several ranks.

    Args:
        path: Of the file.
        scorers: Of each set, prepared.
        counting: Of the training tokens; goes on from what the file knows.
        given: What is known of each set beforehand.
        live: The live side's settings.
        plan: Of this session.
        step: Updates done already.
        again: Training begins again from step 0, and the rows so far are dropped.
        automatic_batches: Whether scorers may take the batch sizes that the file began with.

    Raises:
        RunFileError: On all ranks, if the file can't be created or continued; see `RunFile.start`.
    """
    keeper: Keeper | None = None
    found: tuple[str | None, tuple[int, int], dict[str, Any]] = (None, (-1, -1), {})
    failure: Exception | None = None
    if ranks.rank() == 0:
        try:
            records = {
                name: SetRecord(
                    one.tokens,
                    one.prepared.vocab_size,
                    one.settings,
                    counting.record_of(name),
                    one.base is not None,
                    one.dropout_passes > 0,
                )
                for name, one in scorers.items()
            }
            keeper = Keeper(path, records, plan, given, live, step, again)
            found = (None, (keeper.last_step, keeper.settled), keeper.scorer_settings())
            counting.go_on_from(keeper, step)
        except Exception as error:
            # Whatever it is: the other ranks wait to hear of it.
            failure, found = error, (f"{type(error).__name__}: {error}", (-1, -1), {})
            if keeper is not None:
                with suppress(Exception):
                    keeper.showing.close(tables=False)
                keeper.recorder.close()
    reason, (last_step, settled), settings = ranks.from_first(found)
    if reason is not None:
        raise failure or RunFileError(f"on rank 0: {reason}")
    for name, scorer in scorers.items():
        kept = settings[name]["batch_size"]
        # Rounding depends on what shares a batch, so a resumed run keeps the batches that it began with.
        if automatic_batches:
            scorer.batch_size = kept
        elif scorer.batch_size != kept:
            logger.warning(
                "batch_size=%s: the run file began with %s; scores may differ in the last bits",
                scorer.batch_size,
                kept,
            )
    return Opened(keeper, last_step, settled)
