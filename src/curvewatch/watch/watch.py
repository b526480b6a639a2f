"""Watch: joins token set, scorer, schedule, run file and live metrics, and does nothing else.

Longer than other files, since half of it says what its verbs promise; each thing that it joins is a file beside it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from curvewatch.errors import RanksApartError, RunFileError, ScoringError, brief
from curvewatch.forks import tell_in_child
from curvewatch.live import Live, Metrics
from curvewatch.live.given import given_for
from curvewatch.live.showing import Showing
from curvewatch.portable import arrived, leaving
from curvewatch.runfile.datasets import of_seen
from curvewatch.runfile.records import RunPlan
from curvewatch.sampling.sampler import TextSampler
from curvewatch.schedule import Plan, Schedule, StepRule
from curvewatch.scoring import ranks
from curvewatch.scoring.batches import Batch
from curvewatch.scoring.scorer import Scorer
from curvewatch.scoring.trained import TRIAL_TOKENS, ChooseModel
from curvewatch.scoring.undisturbed import Around, nothing_around
from curvewatch.speaking import announce
from curvewatch.tokens.tokenset import TokenSet
from curvewatch.trackers.publishing import publish
from curvewatch.trackers.sinks import LogFunction, OwnAxisWandb, Sink, function_sink
from curvewatch.watch import provenance
from curvewatch.watch.arguments import (
    check_arguments,
    check_objectives,
    default_schedule,
    named_sets,
    whole_path,
    whole_step,
)
from curvewatch.watch.cost import Cost, Estimate, tell_rows
from curvewatch.watch.counting import Counting
from curvewatch.watch.keeper import Keeper
from curvewatch.watch.looking import sample_texts, score_sets
from curvewatch.watch.opening import open_file
from curvewatch.watch.references import check_reference, with_references
from curvewatch.watch.subject import Subject
from curvewatch.watch.telling import Telling
from curvewatch.watch.training_counts import TrainingCounts
from curvewatch.watch.trouble import Trouble
from curvewatch.watch.weights import Averages, weights_setting

logger = logging.getLogger("curvewatch")

# What a watch has of its arguments, all else being of its run.
GIVEN = (
    "tokens", "live", "path", "max_steps", "schedule", "weights", "_given", "_choose", "_forward", "_batch_size",
    "_on_error", "_log", "_max_overhead",
)  # fmt: skip


class Watch:
    """Watches a run: `observe(model, step)` after each update, scored when the schedule says so.

    Everything is checked when the first step is seen, before any training step if that is step 0: set against model,
    path, schedule. From then on trouble is reported and survived, unless `on_error="raise"`.

    Args:
        tokens: A token set, or several by name (`{"web": a, "code": b}`).
        path: The run file, created or continued.
        max_steps: Planned last step; None if open-ended.
        schedule: A `Schedule`, or what `Schedule.of` takes. None: the host's logging steps; in a loop without any,
            ten steps a decade and every fiftieth part of the run.
        model: `model(module) -> nn.Module`, the model to score in what `observe` is given; None: it is found, or
            refused where it is not clear (see `trained.trained_model`).
        forward: `forward(model, batch) -> logits`, for models that can't be called as `model(input_ids)`.
        batch_size: Sequences scored at once, or "auto".
        on_error: "warn" (log, and train on) or "raise" (on all ranks), for failures after the start.
        log: `log(scalars, step)`, called with each observation's metrics besides W&B.
        max_overhead: Budget: the share of the wall time since the start that training may wait for the watch. What is
            planned beyond it is skipped (never the first and the last step) and put on record; None: no limit.
        live: What is shown live besides what always is; see `Live`.
        weights: "training" (those that the next update goes on from) or "averaged": what Lightning's averaging
            callbacks, a schedule-free optimizer or torch's AveragedModel keep. It stands in the file.

    Attributes:
        showing: On rank 0, once started: the live state of each set (`showing.sets[name]`); else None.

    Raises:
        TypeError: If `tokens` is no token set.
        ValueError: If another argument makes no sense.
        TokenSetMismatchError: If n-gram surprisals are those of another token set.
    """

    def __init__(
        self,
        tokens: TokenSet | Mapping[str, TokenSet],
        path: str | os.PathLike[str],
        *,
        max_steps: int | None = None,
        schedule: object = None,
        model: ChooseModel | None = None,
        forward: Callable[[Any, Batch], Any] | None = None,
        batch_size: int | str = "auto",
        on_error: str = "warn",
        log: LogFunction | None = None,
        max_overhead: float | None = None,
        live: Live | None = None,
        weights: str = "training",
    ) -> None:
        check_arguments(model=model, forward=forward, on_error=on_error, log=log, live=live)
        self.tokens = named_sets(tokens)
        self.live = live or Live()
        self._given = given_for(self.live, self.tokens)
        check_objectives(self.tokens, self.live)
        check_reference(self.live.reference, self.tokens, kl=self.live.kl)
        self.path = whole_path(path)
        self.max_steps = max_steps
        self.schedule = Schedule.of(schedule) if schedule is not None else None
        self.weights = weights_setting(weights)
        self._choose = model
        self._forward = forward
        self._batch_size = batch_size
        self._on_error = on_error
        self._log = log
        self._max_overhead = max_overhead
        self._make_ready()

    def _make_ready(self) -> None:
        self._scorers = {
            name: Scorer(one, batch_size=self._batch_size, forward=self._forward) for name, one in self.tokens.items()
        }
        for scorer in self._scorers.values():
            scorer.dropout_passes = self.live.dropout_passes
        self._automatic_batches = self._batch_size == "auto"
        self._reset()
        tell_in_child(self)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy and another process get: the arguments. There it has not started, however far it is here."""
        given = {name: getattr(self, name) for name in GIVEN}
        return leaving(given, _choose="model", _forward="forward", _log="log")

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(arrived(state))
        self._make_ready()

    def _reset(self) -> None:
        self.plan: Plan | None = None
        self._trouble = Trouble(self._on_error)
        self._subject = Subject(
            self._choose,
            whole=self._forward is not None,
            width=min(TRIAL_TOKENS, *(one.context - 1 for one in self.tokens.values())),
            weights=self.weights,
        )
        self._counting = Counting(self.live, self._given, next(iter(self.tokens.values())).objective)
        self._telling = Telling((), self._trouble, {})
        self._around: Around = nothing_around
        self._keeper: Keeper | None = None
        self.showing: Showing | None = None
        self._sampler: TextSampler | None = None
        self._last_scored = -1
        self._last_step = -1  # planned steps up to it are rows, or on record
        self._reached = -1  # the last step that was seen, due or not
        self._host_tokens: float | None = None
        self._from_step = 0
        self._cost = Cost(self._max_overhead)

    def forsake(self) -> None:
        """In a forked child: file, thread and trackers are the parent's, so here the watch has not started."""
        self._reset()

    # ------------------------------------------------------------------ the beginning

    def start(
        self,
        model: nn.Module,
        step: int = 0,
        *,
        logging_steps: StepRule | None = None,
        sinks: Sequence[Sink] | None = None,
        around: Around = nothing_around,
        host: dict[str, Any] | None = None,
        counts_batches: bool = False,
        optimizers: Iterable[Any] = (),
        averages: Averages | None = None,
        again: bool = False,
    ) -> None:
        """Checks everything, and creates or continues the run file. A collective on several ranks.

        The first `observe` calls it if it was not called before. Called again, it begins a new session: a second
        `train()`, say.

        Args:
            model: The live model, on its device.
            step: Updates done already: 0, or the step that training resumes from. Later rows of the file are dropped.
            logging_steps: The host's logging steps, for `Schedule.logging()`.
            sinks: Where metrics are shown; None: in an active W&B run.
            around: Opened around each scoring; the host's precision context.
            host: The host's name and settings, for the record.
            counts_batches: Whether the host calls `count` for every batch.
            optimizers: The host's; what they hold is what training changes.
            averages: Makes a context in which the model has the averages that the host keeps, if it keeps any.
            again: Whether the host gave its last try up and begins again: the rows of that one are dropped.

        Raises:
            ScoringError: If model and token set don't fit, or it is not clear which model is meant.
            RunFileError: If the file can't be created or continued; see `RunFile.start`.
            ValueError: If the schedule can't be planned, or averaged weights are asked for and nothing is averaged.
            TypeError: If `model` is no module, or `step` no whole number.
        """
        if not isinstance(model, nn.Module):
            raise TypeError(f"model={brief(model)}: the model in training is expected, a torch.nn.Module.")
        step = whole_step(step)
        counted_before = self._counting if self.plan is None else None
        self.close()
        self._reset()
        self._counting = counted_before or self._counting
        if self.schedule is None:
            self.schedule = Schedule.logging() if logging_steps is not None else default_schedule(self.max_steps)
        self.plan = self.schedule.plan(self.max_steps, logging_steps)
        if self.max_steps is not None and not len(self.plan.steps()):
            raise ValueError(
                f"schedule={self.schedule.description!r}: it has none of the steps 0 to {self.max_steps}, so nothing "
                "would be scored. Leave first=True or last=True, or name steps in this range."
            )
        self._around = around
        self._subject.begin(model, optimizers, around, averages)
        model = self._subject.model(model)
        for scorer in self._scorers.values():
            scorer.prepare(model, around)
        with_references(self.live.reference, self._scorers, model, around, kl=self.live.kl)
        if self.live.prompts is not None:
            # Where a model's configuration names no limit, no more is fed to it than scoring does.
            context = max(one.context for one in self.tokens.values()) - 1
            self._sampler = TextSampler(self.live.prompts, forward=self._forward, context=max(1, context))
            self._sampler.prepare(model, around)
        vocab_size = max(one.prepared.vocab_size for one in self._scorers.values())
        tokenizer = next((one.tokenizer for one in self.tokens.values() if one.tokenizer is not None), None)
        self._counting.begin(vocab_size, host_counts=counts_batches, tokenizer=tokenizer)
        if self.schedule.behind_exposures and self.live.exposures is None:
            raise ValueError(
                f"schedule={self.schedule.description!r}: it follows exposures, and there are none to follow. Give "
                "live=Live(exposures=Passages(texts, tokenizer))."
            )
        if self._counting.trained is not None:
            self._counting.trained.begin(step)
        self._open_file(model, step, host or {"name": "plain loop"}, again)
        if ranks.rank() == 0:
            announce("watching %s%s", self._subject.found, ", its averaged weights" if self._subject.averages else "")
            tell_rows(self.tokens)
        chosen = list(sinks) if sinks is not None else [OwnAxisWandb()]
        chosen += [function_sink(self._log)] if self._log is not None else []
        self._telling = Telling(chosen, self._trouble, self._about())
        self._from_step = self._reached = step
        self._cost = Cost(self._max_overhead)

    def _open_file(self, model: nn.Module, step: int, host: dict[str, Any], again: bool) -> None:
        assert self.plan is not None
        plan = RunPlan(
            self.max_steps,
            self.plan.steps(),
            self.plan.schedule.description,
            self._session(model, host),
            self._max_overhead,
            self.weights,
            self.live.exposures,
            bool(self.live.batches),
        )
        try:
            opened = open_file(
                self.path,
                self._scorers,
                self._counting,
                self._given,
                self.live,
                plan,
                step,
                again=again,
                automatic_batches=self._automatic_batches,
            )
        except Exception:
            self._trouble.aside = True
            raise
        self._keeper, self._last_scored, self._last_step = opened
        self.showing = self._keeper.showing if self._keeper is not None else None
        if self.plan.schedule.behind_exposures and self._counting.trained is not None:
            last = self._keeper.exposed.last if self._keeper is not None else -1
            self._counting.trained.last_exposure = ranks.from_first(last)

    def _session(self, model: nn.Module, host: dict[str, Any]) -> dict[str, Any]:
        prompts = self.live.prompts
        about = provenance.of_session(model, host)
        if self._subject.found is not None:
            about["model"].update(self._subject.found.settings)
        return {**about, **({"prompts": prompts.settings} if prompts is not None else {})}

    def _about(self) -> dict[str, Any]:
        """What a tracker is told of the watch as a whole."""
        sets = {
            name: {"n_tokens": len(one), "chance_bits": self.chance(name), "set_hash": one.hash}
            for name, one in self.tokens.items()
        }
        schedule = self.plan.schedule.description if self.plan else ""
        return {"run_file": self.path, "schedule": schedule, "weights": self.weights, "sets": sets}

    @property
    def counts(self) -> TrainingCounts | None:
        """How often each token was trained on so far; None where nothing is counted."""
        return self._counting.counts

    @property
    def wants_batches(self) -> bool:
        """Whether `count` or `count_batch` has to be called for every batch; hosts' callbacks ask."""
        return self._counting.wants_batches

    def chance(self, name: str | None = None) -> float:
        """Chance surprisal of a set: log2 of the number of the model's outputs, bits. Known once started."""
        scorer = self._scorers[name if name is not None else next(iter(self._scorers))]
        return scorer.prepared.chance

    # ------------------------------------------------------------------ the one verb

    def due(self, step: int) -> bool:
        """Whether `observe` would score at `step`: for it, or for a planned step that the counter jumped over.

        The same on all ranks.
        """
        return not self._trouble.aside and bool(self._pending(step))

    def _mark(self, model: nn.Module, step: int) -> None:
        """Marks the weights after an update, by which the last ones are recognised."""
        if not self._trouble.aside:
            try:
                self._subject.mark(model, step)
            except Exception as error:
                self._trouble.report("marking the weights", step, error)

    def _pending(self, step: int) -> list[int]:
        """The planned steps up to `step` that are neither rows nor on record as skipped."""
        return self.plan.between(self._last_step, step) if self.plan is not None else []

    def observe(
        self, model: nn.Module, step: int, *, force: bool = False, tokens_seen: float | None = None
    ) -> dict[str, float] | None:
        """Scores the model if `step` is due: after the update, before the next one. A collective on several ranks.

        Planned steps since the one seen before are due too, where the counter jumps (several optimizers, say): the row
        stands for the latest of them, and the others are put on record as skipped.

        Args:
            model: The live model, left exactly as it was.
            step: Updates done (0: before the first).
            force: Score whatever the schedule says, unless this step is scored already.
            tokens_seen: Tokens trained on so far, on all ranks together, where the script counts them; it goes beside
                the step as another axis. None: as `count` counted them.

        Returns:
            The logged metrics by key, if scored (on ranks other than 0 an empty dict); else None.

        Raises:
            CurvewatchError: At the first call, as `start`; later only with `on_error="raise"`.
            TypeError: If `step` is no whole number.
            ValueError: If it is below 0.
        """
        step = whole_step(step)
        if self.plan is None:
            # Of this very step the file may hold what a model before the crash was; it is scored anew.
            self.start(model, max(0, step - 1))
        try:
            return self._observe(model, step, force, tokens_seen)
        except RanksApartError as error:
            self._apart(step, error)
            return None

    def _observe(self, model: nn.Module, step: int, force: bool, tokens_seen: float | None) -> dict[str, float] | None:
        self._reached = max(self._reached, step)
        if tokens_seen is not None:
            self._host_tokens = tokens_seen
        self._counting.stamp(step)
        self._mark(model, step)
        wanted = force or self._behind_exposure(step)
        if not (self.due(step) or (wanted and not self._trouble.aside and step > self._last_step)):
            return None
        planned = self._pending(step)
        if not (force or self._affordable(step, planned)):
            return None
        began = time.perf_counter()
        try:
            model = self._agreed_model(model)
            with self._subject.weights_to_score():
                observations, seconds = score_sets(self._scorers, model, self._keeper)
                shown, failure = self._sample(model, step)
            counts_V, part = self._counting.total(), self._counting.part(step)
        except Exception as error:
            # Ranks have agreed on what a scorer can fail by; whatever else there is must not stop training either.
            self._scoring_failed(step, planned or [step], error)
            return None
        finally:
            self._last_step = step
        self._trouble.scoring_succeeded()
        scalars: dict[str, float] = {}
        self._last_scored = step
        if self._keeper is not None:
            counts = self._counting.by_set(counts_V, due=step > self._from_step)
            seen = self._counting.seen(self._host_tokens)
            failure = self._keeper.record(step, observations, seconds, counts, planned, seen, part) or failure
            try:
                shown.add(self._keeper.metrics(step, observations, seconds, counts))
                waited = time.perf_counter() - began
                self._telling.observed(
                    self._keeper,
                    shown,
                    step,
                    {
                        "seconds": waited,
                        "time_share": self._cost.share(waited),
                        **of_seen(seen),
                        **self._keeper.exposed.metrics(),
                    },
                )
                scalars = shown.scalars
            except Exception as error:
                failure = failure or self._trouble.report("showing metrics", step, error)
        self._cost.add(time.perf_counter() - began)
        if self.max_steps is not None and self._cost.can_forecast(step - self._from_step):
            assert self.plan is not None
            left = int((self.plan.steps() > step).sum())
            self._cost.forecast(step - self._from_step, self.max_steps - step, left)
        if self._trouble.raises and not ranks.all_true(failure is None):
            raise failure or RunFileError(f"step {step}: rank 0 failed; its log says why.")
        return scalars

    def _agreed_model(self, given: nn.Module) -> nn.Module:
        """The model to score, once all ranks have come here with one: in a sharded one they wait for each other."""
        failure: Exception | None = None
        model = given
        try:
            model = self._subject.model(given)
        except RanksApartError:
            raise
        except Exception as error:
            failure = error
        if not ranks.all_true(failure is None):
            raise failure or ScoringError("another rank found no model to score; its log says why.")
        return model

    @contextmanager
    def _surviving(self, step: int) -> Iterator[None]:
        """If the ranks can't agree any more, the watch steps aside on this one, and training goes on without it."""
        try:
            yield
        except RanksApartError as error:
            self._apart(step, error)

    def _apart(self, step: int, error: RanksApartError) -> None:
        if self._trouble.raises:
            raise error
        self._scoring_failed(step, self._pending(step), error)

    def _behind_exposure(self, step: int) -> bool:
        """Whether a passage was trained on so shortly before that the schedule wants this step. A collective then."""
        trained, n = self._counting.trained, self.schedule.behind_exposures if self.schedule is not None else 0
        if not n or trained is None or self._trouble.aside:
            return False
        trained.settle()
        last = -ranks.smallest(-trained.last_exposure)
        return 0 <= last <= step < last + n

    def before_batch(self, model: nn.Module, batch: Any) -> None:
        """Scores the model before a batch that holds a passage, where the schedule follows exposures; else nothing.

        Callbacks call it before each batch, since what a model knew before an exposure can't be measured after it. A
        collective on several ranks then.

        Args:
            model: The live model.
            batch: As for `count_batch`.
        """
        if self.plan is None or not self.plan.schedule.behind_exposures or self._trouble.aside:
            return
        holds = self._counting.holds_passage(batch)
        with self._surviving(self._reached):
            if not ranks.all_true(not holds) and self._reached > self._last_step:
                self.observe(model, self._reached, force=True)

    def _sample(self, model: nn.Module, step: int) -> tuple[Metrics, Exception | None]:
        """Text from the model, if it is time for some. All ranks decide alike, and do the same forward passes."""
        sampler = self._sampler
        if sampler is None or not sampler.prompts.due(step, self._last_scored, self.max_steps):
            return Metrics(), None
        try:
            return sample_texts(sampler, model, step, self._keeper), None
        except RanksApartError:
            raise
        except Exception as error:
            return Metrics(), self._trouble.report("sampling text", step, error)

    def _affordable(self, step: int, planned: Sequence[int]) -> bool:
        """Whether the budget allows an observation; rank 0's clock decides, and all ranks hear of it."""
        if self._max_overhead is None or step == self._from_step or self.max_steps in planned:
            return True
        if ranks.all_true(ranks.rank() != 0 or self._cost.affordable()):
            return True
        self._last_step = step
        if self._keeper is not None:
            self._keeper.skip(planned, "budget")
        return False

    # ------------------------------------------------------------------ trouble, and the end

    def _scoring_failed(self, step: int, planned: Sequence[int], error: Exception) -> None:
        why = self._trouble.scoring_failed(step, error)
        if self._keeper is not None:
            self._keeper.skip(planned, why)
            self._telling.failed(step)

    def estimate(self, model: nn.Module, *, logging_steps: StepRule | None = None) -> Estimate:
        """What watching will cost, from a few timed batches; writes nothing. A collective on several ranks.

        Args:
            model: The model, on its device.
            logging_steps: The host's logging steps, if the schedule follows them.

        Raises:
            ScoringError: If model and token set don't fit.
        """
        schedule = self.schedule or default_schedule(self.max_steps)
        model, seconds = self._subject.model(model), 0.0
        for scorer in self._scorers.values():
            scorer.prepare(model)
            seconds += scorer.time_pass(model)
        return Estimate(
            seconds_per_observation=seconds,
            observations=len(schedule.plan(self.max_steps, logging_steps).steps()),
            n_tokens=sum(len(one) for one in self.tokens.values()),
        )

    def count(self, ids: Any, mask: Any = None, labels: Any = None, index: Any = None) -> None:
        """Takes note of a batch that is trained on, for what is shown by frequency or follows it; every rank its own.

        A plain loop calls it for every batch, with `live=Live(token_counts="training")`, `exposures=` or `batches=`;
        callbacks do it by themselves. It never raises and never waits for the device.

        Args:
            ids: Token ids, an integer tensor of any shape.
            mask: Of the same shape; 0 where there is no token (padding). None: all are.
            labels: Of the same shape; -100 where nothing is learned. A passage without another label is no exposure.
            index: The sequences' own numbers in the data, for `batches=True`.
        """
        self._counting.add(ids, mask, labels, index)

    def count_batch(self, batch: Any) -> None:
        """Counts a batch as a host's Trainer has it; adapters call it. It never raises.

        Args:
            batch: What `live.batch_ids` understands, or else `batch_tokens`.
        """
        self._counting.add_batch(batch)

    def checkpoint(self, step: int) -> None:
        """Keeps the token counts at a checkpoint, for a run that is resumed there. A collective on several ranks.

        Args:
            step: Updates done.
        """
        # Before the first observation there is no file yet, and nothing to go on with.
        if self.plan is None or self._trouble.aside or step == self._last_scored:
            return
        with self._surviving(step):
            self._save_trained(step)
            if self.counts is None:
                return
            counts = self._counting.by_set(self._counting.total(), due=step > self._from_step)
            if self._keeper is not None and counts:
                self._keeper.recorder.save_counts(step, counts, self._counting.seen())

    def _save_trained(self, step: int) -> None:
        """Keeps what was trained on up to a step without a row. A collective on several ranks."""
        self._counting.stamp(step)
        part = self._counting.part(step)
        if self._keeper is not None and part is not None:
            self._keeper.add_trained(part)

    def observe_late(self, model: nn.Module, step: int) -> bool:
        """Scores a step some time after its update, whatever the schedule says. A collective on several ranks.

        Meanwhile the host may have put other weights into the model (averages, the best checkpoint). If these are not
        the weights that `observe` saw after the update, nothing is scored.

        Args:
            model: As given to `observe`.
            step: Updates done.

        Returns:
            Whether the step has a row now, or needs none.
        """
        if self.plan is None or self._trouble.aside or step <= max(0, self._last_step):
            return True
        same = False
        try:
            same = self._subject.has_weights_of(model, step)
        except Exception as error:
            self._trouble.report("looking at the weights", step, error)
        with self._surviving(step):
            if not ranks.all_true(same):
                return False
            self.observe(model, step, force=True)
        return True

    def observe_last(self, model: nn.Module, step: int) -> bool:
        """`observe_late` for a training that stops before its planned end, if the schedule wants the last step."""
        return self.plan is None or not self.plan.schedule.last or self.observe_late(model, step)

    def finish(self, model: nn.Module, step: int) -> None:
        """The end of training: scores the last step if the schedule wants it and it was not foreseen, and closes."""
        self._reached = max(self._reached, step)
        if not self.observe_last(model, step):
            why = "the model held other weights by then (averages, or a better checkpoint)"
            logger.warning("the last step, %d, is not scored: %s", step, why)
            if self._keeper is not None:
                self._keeper.recorder.skip(step, why)
        if self.plan is not None and not self._trouble.aside and self._reached > self._last_scored:
            self._save_trained(self._reached)
        self._end(well=True)

    def flush(self, timeout: float | None = None) -> bool:
        """Waits until all observations are committed; whether they are."""
        return self._keeper.recorder.flush(timeout) if self._keeper is not None else True

    def close(self) -> None:
        """Commits what is queued and closes the file; nothing is scored after it. Done at exit if forgotten."""
        self._end(well=False)

    def _end(self, *, well: bool) -> None:
        stepped_aside, self._trouble.aside = self._trouble.aside, True
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        if well and self.plan is not None:
            # What was passed before this is on record, unless nobody looked any more.
            keeper.skip(
                self._pending(self._reached),
                "the watch had stepped aside" if stepped_aside else "training ended unscored",
            )
            to_come = self.plan.between(max(self._last_step, self._reached), self.max_steps or -1)
            keeper.skip(to_come, f"training ended at step {self._reached}")
        try:
            if last := keeper.showing.close(tables=well):
                self._telling.send(last, self._last_scored)
        except Exception as error:
            self._trouble.report("showing the last metrics", self._last_scored, error)
        finally:
            keeper.recorder.close()
        if well and keeper.has_rows:
            publish(
                self.path, list(self.tokens), report=self.live.report, artifact=self.live.artifact,
                ngrams=self.live.ngrams,
            )  # fmt: skip

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        self._end(well=failure is None)
