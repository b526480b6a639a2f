"""A run as the tables people work with: pandas (a row a token) and xarray (labelled, read when used)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.cache import measures_of
from curvewatch.analysis.moment import Moment
from curvewatch.analysis.select import label_named
from curvewatch.runfile import layout
from curvewatch.runfile.curves import Curves
from curvewatch.runfile.reader import Reader
from curvewatch.tokens.tokenset import TokenSet

NEEDED = "needs {0}, which is not installed. Install it with: pip install 'curvewatch[analysis]'"


def need(package: str, what: str) -> Any:
    """The optional package.

    Raises:
        ImportError: Saying how to get it.
    """
    from importlib import import_module

    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(f"{what} {NEEDED.format(package.split('.')[0])}") from error


def target_texts(tokens: TokenSet, which_n: NDArray[np.integer] | None = None) -> NDArray[Any] | None:
    """Text of each target, as an object array; None where the set has no texts."""
    texts = tokens.texts()
    if texts is None:
        return None
    targets = tokens.target if which_n is None else tokens.target[which_n]
    ids, place = np.unique(targets, return_inverse=True)
    return np.array([texts.get(int(i), f"<{int(i)}>") for i in ids], object)[place]


def token_frame(run: Reader, *, paper: bool = False, measures: Any = None) -> Any:
    """One row a token: text, place, measures; see `Run.to_pandas`."""
    pandas = need("pandas", "to_pandas")
    tokens = run.tokens
    frame = (measures if measures is not None else measures_of(run, paper=paper)).to_pandas()
    texts = target_texts(tokens)
    frame.insert(0, "sequence_index", tokens.sequence_index)
    frame.insert(1, "position", tokens.position)
    frame.insert(2, "target", tokens.target)
    if texts is not None:
        frame.insert(3, "target_text", texts)
    for name, label in tokens.labels.items():
        frame[f"label.{name}"] = pandas.Categorical.from_codes(label.codes, list(label.values))
    return frame


def by_label(run: Reader, name: str, *, measures: Any = None) -> Any:
    """One row a value of a label: how many tokens, and the means of their measures; see `Run.by_label`."""
    pandas, label = need("pandas", "by_label"), label_named(run.tokens, name)
    table = measures if measures is not None else measures_of(run)
    learned_N = table["acquisition_status"] == "learned"
    rows = []
    for value in label.values:
        chosen_N = label.where(value)
        if not chosen_N.any():
            continue
        age_n = table["age_of_acquisition"][chosen_N & learned_N]
        rows.append({
            name: value,
            "tokens": int(chosen_N.sum()),
            "final_surprisal": _mean(table["final_surprisal"][chosen_N]),
            "within_run_variability": _mean(table["within_run_variability"][chosen_N]),
            "learned_share": float(learned_N[chosen_N].mean()),
            "median_age_of_acquisition": float(np.median(age_n)) if age_n.size else np.nan,
            "forgettability": _mean(table["forgettability"][chosen_N]),
            "forgetting_events_top1": _mean(table["forgetting_events_top1"][chosen_N]),
        })  # fmt: skip
    return pandas.DataFrame(rows).set_index(name)


def _mean(values_n: NDArray[Any]) -> float:
    finite_n = values_n[np.isfinite(values_n)]
    return float(finite_n.mean(dtype=np.float64)) if finite_n.size else float("nan")


def dataset_of(run: Reader, *, measures: bool = False) -> Any:
    """An xarray Dataset of this moment's rows; see `Run.to_xarray`."""
    xr = need("xarray", "to_xarray")
    indexing = need("xarray.core.indexing", "to_xarray")
    moment = Moment.now(run)
    tokens = run.tokens
    variables: dict[str, Any] = {}
    for name in ("surprisal", "correct", "entropy"):
        lazy = indexing.LazilyIndexedArray(_lazy_array(getattr(moment, name)))
        variables[name] = (("step", "token"), lazy, _attributes(name))
    with run.group() as group:
        variables["seconds"] = ("step", group["seconds"][: len(moment)], _attributes("seconds"))
        if "due_step" in group:
            variables["due_step"] = ("step", group["due_step"][: len(moment)], _attributes("due_step"))
        for one in layout.SEEN:
            if one.name in group:
                variables[one.name] = ("step", group[one.name][: len(moment)], _attributes(one.name))
    variables["time"] = ("step", moment.times_T, _attributes("time"))
    for name in ("sequence_index", "position", "target"):
        variables[name] = ("token", getattr(tokens, name), _attributes(name))
    texts = target_texts(tokens)
    if texts is not None:
        variables["target_text"] = ("token", texts, _attributes("target_text"))
    if measures:
        table = measures_of(run)
        for name in table:
            variables[name] = ("token", table[name], {"units": table.units[name]} if table.units[name] else {})
    return xr.Dataset(
        variables,
        {"step": moment.steps_T, "token": np.arange(run.n_tokens, dtype=np.int32)},
        {**moment.identity, "source": run.path.name},
    )


def _attributes(name: str) -> dict[str, str]:
    about = layout.BY_NAME[name]
    # xarray would take "seconds since 1970" for a request to decode only on opening; here the numbers stay as they are.
    return {"long_name": about.about, **({"units": about.units} if about.units else {})}


def _lazy_array(curves: Curves) -> Any:
    """What xarray wants of an array that is read when indexed: rectangles only, the rest it does itself."""
    indexing = need("xarray.core.indexing", "to_xarray")
    backends = need("xarray.backends", "to_xarray")

    class LazyCurves(backends.BackendArray):  # type: ignore[misc, name-defined]
        """Curves of a run file behind xarray's indexing."""

        shape, dtype = curves.shape, curves.dtype

        def __getitem__(self, key: Any) -> Any:
            return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._rectangle)

        def _rectangle(self, key: tuple[Any, ...]) -> Any:
            rows, columns = key
            # h5py reads forward only.
            flips = tuple(slice(None, None, -1) if _backward(part) else slice(None) for part in key if _many(part))
            return curves[_forward(rows, self.shape[0]), _forward(columns, self.shape[1])][flips]

    return LazyCurves()


def _many(part: Any) -> bool:
    return isinstance(part, slice)


def _backward(part: Any) -> bool:
    return isinstance(part, slice) and part.step is not None and part.step < 0


def _forward(part: Any, length: int) -> Any:
    if not isinstance(part, slice):
        return int(part) % length
    positions = range(length)[part]
    if not len(positions):
        return slice(0, 0)
    if positions.step < 0:
        positions = positions[::-1]
    return slice(positions.start, positions[-1] + 1, positions.step)
