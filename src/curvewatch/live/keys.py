"""Every key that is logged, with unit and meaning. The table in docs/metrics.md is held against these."""

from __future__ import annotations

from curvewatch.sampling.sample import TEXT_METRICS as TEXT_METRICS

# Behind "curvewatch/<set>/".
METRICS = {
    "surprisal_mean": ("bit", "mean surprisal of all tokens"),
    "surprisal_median": ("bit", "median surprisal"),
    "surprisal_p10": ("bit", "10th percentile: the best predicted tokens"),
    "surprisal_p90": ("bit", "90th percentile: the worst predicted tokens"),
    "accuracy_top1": ("share", "tokens that are the model's first choice"),
    "entropy_mean": ("bit", "mean entropy of the predicted distributions"),
    "forgetting_events": ("count", "tokens that were the first choice at the last observation and are not now"),
    "forgetting_events_total": ("count", "such events so far"),
    "forgotten_share": ("share", "tokens with at least one such event"),
    "known_share": ("share", "tokens known now: moving average of surprisal at or below half of chance"),
    "threshold_forgetting_events": (
        "count",
        "known tokens whose moving average rose 1 bit above the threshold",
    ),
    "threshold_forgetting_events_total": ("count", "such events so far"),
    "acquired_share": ("share", "tokens that have been known at some time"),
    "acquisition_step_median": ("step", "median fixed-threshold age of acquisition of the acquired tokens"),
    "nonfinite_tokens": ("count", "tokens whose surprisal is NaN or infinite"),
    "seconds": ("s", "wall time of scoring this set"),
}
# For each band of frequency; "<band>" is rare, mid, frequent, or 01 (the rarest), 02, ...
BAND_METRICS = {
    "frequency/<band>/surprisal_mean": ("bit", "mean surprisal of the tokens of a frequency band"),
    "frequency/<band>/acquired_share": ("share", "tokens of the band that have been known at some time"),
    "frequency/<band>/forgotten_share": ("share", "tokens of the band with at least one top-1 forgetting event"),
}
# Of sets of text whose every position is scored.
TEXT_SET_METRICS = {"bits_per_byte": ("bit", "surprisal of the whole text for each of its UTF-8 bytes")}
# For each label of the set, and each of its values; of many values those with most tokens.
LABEL_METRICS = {
    "label/<label>/<value>/n_tokens": ("count", "tokens with this value of the label"),
    "label/<label>/<value>/surprisal_mean": ("bit", "their mean surprisal"),
    "label/<label>/<value>/accuracy_top1": ("share", "of them that are the model's first choice"),
    "label/<label>/<value>/known_share": ("share", "of them that are known now"),
    "label/<label>/<value>/acquired_share": ("share", "of them that have been known at some time"),
    "label/<label>/<value>/forgotten_share": ("share", "of them with at least one top-1 forgetting event"),
    "label/<label>/<value>/forgetting_events": ("count", "of them that were the first choice and are not now"),
}
# For each kind of span. A span is right where all of its tokens are; its threshold is half of its own chance.
SPAN_METRICS = {
    "span/<kind>/n_spans": ("count", "spans of this kind"),
    "span/<kind>/surprisal_mean": ("bit", "their mean surprisal, summed over the tokens of each"),
    "span/<kind>/accuracy_top1": ("share", "of them whose every token is the model's first choice"),
    "span/<kind>/known_share": ("share", "of them that are known now"),
    "span/<kind>/acquired_share": ("share", "of them that have been known at some time"),
    "span/<kind>/forgotten_share": ("share", "of them with at least one top-1 forgetting event"),
    "span/<kind>/forgetting_events": ("count", "of them that were right at the last observation and are not now"),
}
# For each kind of pair or question, and each group of them.
ITEM_METRICS = {
    "item/<kind>/n_items": ("count", "pairs or questions of this kind"),
    "item/<kind>/accuracy": ("share", "of them whose right member costs fewest bits; a tie counts half"),
    "item/<kind>/margin_mean": ("bit", "by how much it costs less than the best of the others, on average"),
    "item/<kind>/forgetting_events": ("count", "of them that were right at the last observation and are not now"),
    "item/<kind>/forgotten_share": ("share", "of them with at least one such event"),
    "item/<kind>/chance": ("share", "that guessing would get right"),
    "item/<kind>/<group>/n_items": ("count", "those of one group"),
    "item/<kind>/<group>/accuracy": ("share", "of them that are right"),
    "item/<kind>/<group>/margin_mean": ("bit", "their mean margin"),
}
# Once a token's usual change is known, after some observations.
EVENT_METRICS = {
    "events": ("count", "steps so far at which more tokens jumped at once than the run's own past explains"),
    "jumped_up_share": ("share", "of tokens whose surprisal rose by more than three times their usual change"),
    "jumped_down_share": ("share", "of tokens whose surprisal fell by as much"),
}
# From the second observation on: Rho-1's classes, from a line through each token's surprisal over the rows so far.
KIND_METRICS = {
    "kind/falling_share": ("share", "of tokens whose line fell by more than 0.289 bit (0.2 nat; Rho-1's H->L)"),
    "kind/rising_share": ("share", "of tokens whose line rose by more than that (L->H)"),
    "kind/low_share": ("share", "of tokens with neither that are at or below the mean of all now (L->L)"),
    "kind/high_share": ("share", "of tokens with neither that are above it (H->H)"),
}
# From the third observation on behind `trends_from`: the trends of Xia et al.
TREND_METRICS = {
    "kind/downward_share": ("share", "of tokens whose perplexity falls (p < 0.05) from `trends_from` on (Xia et al.)"),
    "kind/upward_share": ("share", "of tokens whose perplexity rises"),
    "kind/stagnated_share": ("share", "of tokens with neither that stay within 5 % of their mean"),
    "kind/unclassified_share": ("share", "of all others"),
}
# Of sets with a reference: against a base model, which may be the run's own first row.
BASE_METRICS = {
    "base/change_mean": ("bit", "surprisal now less that of the base, mean over tokens"),
    "base/worse_share": ("share", "of tokens whose surprisal is more than 1 bit above the base's"),
    "base/lost_share": ("share", "of tokens that were the base's first choice and are not the model's now"),
    "base/gained_share": ("share", "of tokens that were not the base's first choice and are the model's now"),
    "base/regained_share": ("share", "of tokens that were lost at an earlier observation and are right again"),
    "base/accuracy_lost_share": ("share", "of the base's accuracy that is gone; below 0 where it grew"),
    "base/kl_mean": ("bit", "divergence of the model's predictions from the base's, mean over tokens (with kl)"),
    "label/<label>/<value>/base_kl_mean": ("bit", "the same of the tokens with one value of a label"),
    "label/<label>/<value>/base_change_mean": ("bit", "the same of the tokens with one value of a label"),
    "label/<label>/<value>/base_lost_share": ("share", "of them lost"),
    "label/<label>/<value>/base_gained_share": ("share", "of them gained"),
    "item/<kind>/base_lost_share": ("share", "of pairs or questions that the base told apart and the model does not"),
    "item/<kind>/base_gained_share": ("share", "the reverse"),
    "item/<kind>/base_lost_share_beyond_chance": ("share", "lost, less what guessing alone is expected to lose"),
    "item/<kind>/base_gained_share_beyond_chance": ("share", "gained, less what guessing alone is expected to gain"),
}
# Where passes with dropout are asked for.
DROPOUT_METRICS = {
    "dropout_sd_mean": ("bit", "standard deviation of surprisal over passes with dropout, mean over tokens"),
}
# For n = 1, 2, ...
NGRAM_METRICS = {
    "ngram/<n>gram_correlation": ("r", "Pearson correlation of surprisal with that of an n-gram model"),
    "ngram/nearest": ("n", "the n whose n-gram model correlates best"),
}
HISTOGRAMS = {
    "surprisal_histogram": ("bit", "distribution of surprisal now"),
    "acquisition_histogram": ("log10 step", "distribution of the fixed-threshold age of acquisition so far"),
}
# Of the smoothed curves. "Provisional": a token's minimum may still be to come, and its threshold moves with it.
SMOOTHED_METRICS = {
    "smoothed/step": ("step", "the observation that the other `smoothed/` values stand for"),
    "smoothed/sampled_tokens": (
        "tokens", "the random sample that the other `smoothed/` values are of; only of sets above 2,000,000",
    ),
    "smoothed/acquired_share": ("share", "smoothed curves halfway from chance to their minimum; provisional"),
    "smoothed/acquisition_step_median": ("step", "their median age of acquisition (halfway threshold); provisional"),
    "smoothed/forgettability_mean": ("bit", "mean forgettability, all rises of a smoothed curve; provisional"),
    "smoothed/forgettability_p90": ("bit", "its 90th percentile; provisional"),
    "smoothed/forgetting_events_total": (
        "count",
        "times that smoothed curves rose from their halfway threshold to 1 bit above it; provisional",
    ),
    "smoothed/last_quarter_surprisal_mean": ("bit", "mean surprisal over the last quarter of training so far"),
    "smoothed/within_run_variability_mean": ("bit", "mean standard deviation of a token over that quarter"),
    "smoothed/last_quarter_rows": ("count", "observations in that quarter"),
    "smoothed/frequency_surprisal_correlation": ("rho", "rank correlation of frequency with surprisal now"),
    "smoothed/frequency_acquisition_correlation": ("rho", "with the age of acquisition; provisional"),
    "smoothed/frequency_forgettability_correlation": ("rho", "with forgettability; provisional"),
    "smoothed/frequency_variability_correlation": ("rho", "with within-run variability of the last quarter so far"),
    # Where n-grams are given.
    "smoothed/ngram_probability_surprisal_correlation": (
        "rho",
        "rank correlation of the probability by the longest n-gram with surprisal now",
    ),
    "smoothed/ngram_probability_acquisition_correlation": ("rho", "with the age of acquisition; provisional"),
    "smoothed/ngram_probability_forgettability_correlation": ("rho", "with forgettability; provisional"),
    "smoothed/ngram_probability_variability_correlation": ("rho", "with within-run variability of the last quarter"),
    "smoothed/context_length_surprisal_correlation": (
        "rho",
        "rank correlation of the number of tokens before a token with surprisal now",
    ),
    "smoothed/context_length_acquisition_correlation": ("rho", "with the age of acquisition; provisional"),
    "smoothed/context_length_forgettability_correlation": ("rho", "with forgettability; provisional"),
    "smoothed/context_length_variability_correlation": ("rho", "with within-run variability of the last quarter"),
}  # fmt: skip
SMOOTHED_HISTOGRAMS = {
    "smoothed/acquisition_histogram": ("log10 step", "distribution of the halfway age of acquisition; provisional"),
    "smoothed/forgettability_histogram": ("bit", "distribution of forgettability; provisional"),
}
# For each watched token; "<i> <text>" is its index in the set and its text.
WATCHED_METRICS = {"watched/<i> <text>": ("bit", "surprisal of one watched token")}
# Now and then, and at the end; in W&B only.
TABLES = {
    "watched_curves": ("bit", "the curves of the watched tokens as one chart (needs `plotly`)"),
    "most_forgotten": ("table", "the tokens most forgotten so far, with context, events and surprisal now"),
}
# Behind "curvewatch/watch/": what the watch as a whole costs and how it fares.
WATCH_METRICS = {
    "step": ("step", "updates done: the step under which the row stands in the run file"),
    "seconds": ("s", "wall time that training waited for this observation"),
    "time_share": ("share", "wall time that training waited for the watch, of all since it started"),
    "rows_behind": ("count", "earlier observations not yet committed to the run file"),
    "rows_lost": ("count", "observations given up because the file could not be written"),
    "failures": ("count", "planned observations whose scoring failed"),
    "stepped_aside": ("0 or 1", "1 once the watch has given up, after three failures in a row"),
}
# Behind the same, where the batches are counted.
SEEN_METRICS = {
    "tokens_seen": ("count", "tokens in all batches that were trained on so far"),
    "words_seen": ("count", "words between blanks in them (with a tokenizer)"),
    "bytes_seen": ("byte", "UTF-8 bytes of their text (with a tokenizer)"),
}
# Behind the same, where passages are looked for in the batches.
EXPOSURE_METRICS = {
    "exposures": ("count", "occurrences of the passages in all batches that were trained on so far"),
    "passages_seen_share": ("share", "of the passages that occurred in them"),
}
# Behind "curvewatch/text/", in W&B only.
TEXT_TABLES = {"samples": ("table", "what the model wrote behind the prompts")}

SET_KEYS = {
    **METRICS,
    **TEXT_SET_METRICS,
    **EVENT_METRICS,
    **KIND_METRICS,
    **TREND_METRICS,
    **BAND_METRICS,
    **LABEL_METRICS,
    **SPAN_METRICS,
    **ITEM_METRICS,
    **BASE_METRICS,
    **DROPOUT_METRICS,
    **NGRAM_METRICS,
    **HISTOGRAMS,
    **SMOOTHED_METRICS,
    **SMOOTHED_HISTOGRAMS,
    **WATCHED_METRICS,
    **TABLES,
}
# By prefix, all there are.
ALL_KEYS = {
    "curvewatch/<set>": SET_KEYS,
    "curvewatch/text": {**TEXT_METRICS, **TEXT_TABLES},
    "curvewatch/watch": {**WATCH_METRICS, **SEEN_METRICS, **EXPOSURE_METRICS},
}
