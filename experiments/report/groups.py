"""Sorts runs into settings, whose runs differ in the seed alone, and names them by what tells them apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from experiments.report.intervals import Spread, spread
from experiments.report.runs import Run

# What may tell settings apart, most telling first; what is not here changes no result, or follows from these.
TELLING = (
    "protocol", "noise strength", "payload", "sparsity", "clients", "windows_per_client", "partition", "data",
    "model", "dp", "adjacency", "delta", "schedule", "propagate", "group", "local_group", "ties", "scale", "pruner",
    "graph", "neighbours", "dropout", "noise", "rank", "clip", "assumed_colluders", "minimum_survivors",
    "recovery_threshold", "public_data", "public_windows", "window_length", "dtype", "canaries", "client_field",
    "label_field", "text_field", "eval_data", "eval_windows", "evaluation",
)  # fmt: skip
OF_NOISE = frozenset({"noise strength", "dp", "adjacency", "delta", "noise"})


@dataclass(frozen=True, slots=True)
class Setting:
    """Runs that differ in the seed alone.

    Attributes:
        name: the shortest that tells it from the others.
        runs: its repetitions.
    """

    name: str
    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """Any of them."""
        return self.runs[0]

    def figure(self, read: Callable[[Run], float | None]) -> Spread | None:
        """Give a figure's mean over seeds, with its interval; None where a run lacks it.

        Runs of one seed are of one text and count once, by their mean.
        """
        by_seed: dict[object, list[float]] = {}
        for run in self.runs:
            value = read(run)
            if value is None:
                return None
            by_seed.setdefault(run.seed, []).append(value)
        return spread([sum(values) / len(values) for values in by_seed.values()])


def trait(run: Run, name: str) -> str:
    """Give one of :data:`TELLING` of a run, in words; empty where it does not apply."""
    if name in OF_NOISE and not run.is_private:
        return "no DP" if name == "noise strength" else ""
    if name == "noise strength":
        asked = run.config.get("epsilon")
        return (
            f"epsilon {asked:g}" if isinstance(asked, int | float) else f"multiplier {run.config['noise_multiplier']}"
        )
    if name == "evaluation":
        return "" if run.evaluation is None else f"{run.evaluation[0]} windows of {run.evaluation[1]} tokens"
    if name == "model":
        return f"{run.model} {run.model_sha256[:8]}"
    own = {"protocol": run.protocol, "payload": run.payload, "sparsity": run.sparsity, "partition": run.partition}
    value = own.get(name, run.config.get(name))
    return "" if value is None else str(value)


def in_words(name: str, value: str) -> str:
    """Write a trait so that it says what it is of."""
    if name in ("protocol", "noise strength", "payload", "partition", "adjacency", "evaluation", "data"):
        return value
    if not value:
        return f"no {name.replace('_', ' ')}"
    if name == "dp":
        return f"{value} noise"
    if name == "clients":
        return f"{value} clients"
    return f"{name.replace('_', ' ')} {value}"


def names_of(runs: Sequence[Run], *, but: Iterable[str] = ()) -> Mapping[str, str]:
    """Name runs by protocol and by what else tells them apart, and no more.

    Args:
        runs: any.
        but: traits that are not to be told apart.

    Returns:
        by the run's own name.
    """
    left_out = set(but)
    words = {run.name: [in_words("protocol", run.protocol)] for run in runs}
    for name in TELLING[1:]:
        if name in left_out:
            continue
        same: dict[tuple[str, ...], set[str]] = {}
        for run in runs:
            same.setdefault(tuple(words[run.name]), set()).add(trait(run, name))
        # Whether there is noise is said wherever there is some, even if names differ without.
        is_said = name == "noise strength" and any(run.is_private for run in runs)
        if is_said or any(len(values) > 1 for values in same.values()):
            for run in runs:
                value = trait(run, name)
                if value or name not in OF_NOISE:
                    words[run.name].append(in_words(name, value))
    return {name: _put_together(each) for name, each in words.items()}


def _put_together(words: Sequence[str]) -> str:
    """Write a name with what tells it apart in brackets: names stand in lists, whose commas are their own."""
    further = ", ".join(filter(None, words[1:]))
    return f"{words[0]} ({further})" if further else words[0]


def settings_of(runs: Sequence[Run], *, but: Iterable[str] = ()) -> list[Setting]:
    """Sort runs into settings, in the order in which they come."""
    names, but = names_of(runs, but=but), set(but)
    grouped: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        key = tuple(trait(run, name) for name in TELLING if name not in but)
        grouped.setdefault(key, []).append(run)
    return [Setting(names[each[0].name], tuple(each)) for each in grouped.values()]


@dataclass(frozen=True, slots=True)
class Panel:
    """Runs whose perplexities may be compared: one model, one sparsity, one evaluation text, one source of text.

    Attributes:
        title: what they have in common.
        runs: all of them.
    """

    title: str
    runs: tuple[Run, ...]

    def values(self, variant: str) -> list[float]:
        """Give a variant's perplexities in all runs that have one."""
        return [value for run in self.runs if (value := run.perplexity.get(variant)) is not None]


def panels_of(runs: Sequence[Run]) -> list[Panel]:
    """Sort runs whose perplexity was measured into panels, the largest first."""
    grouped: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        if run.evaluation is not None:
            key = (run.model_sha256, run.sparsity, run.evaluation, str(run.config.get("eval_data")), run.data)
            grouped.setdefault(key, []).append(run)
    found = [Panel(_title(each[0]), tuple(each)) for each in grouped.values()]
    return sorted(found, key=lambda panel: -len(panel.runs))


def _title(run: Run) -> str:
    assert run.evaluation is not None
    windows, tokens = run.evaluation
    text = run.config.get("eval_data") or f"the test text of {run.data}"
    return (
        f"model {run.model}, sparsity {run.sparsity}, calibrated on {run.data}, perplexity on {windows} windows of "
        f"{tokens} tokens of {text}"
    )
