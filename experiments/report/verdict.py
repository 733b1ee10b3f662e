"""The verdict in three sentences: utility, leakage, cost. Nothing is said that the figures do not hold.

Means stand with their interval where there are several seeds; one seed is called one. No difference is called one here:
that needs intervals that both sides have, and the reader sees them.
"""

from __future__ import annotations

from collections.abc import Sequence

from experiments.audit.matrix import SERVER
from experiments.report.audited import Cell
from experiments.report.audits import Audit
from experiments.report.document import Points, Section
from experiments.report.groups import Setting, panels_of, settings_of
from experiments.report.intervals import listed, size
from experiments.report.leakage import most_shown
from experiments.report.matching import BY_PLACE
from experiments.report.runs import Run
from experiments.report.saved import masks_digest

MOST_NAMED = 6
SMALL_BITS = 0.1
TOLD = {
    "window-replace": "which of two windows is in",
    "client-replace": "which of two clients is in",
    "window-zero-out": "whether a window is in",
    "client-zero-out": "whether a client is in",
}


def verdict(runs: Sequence[Run], audits: Sequence[Audit]) -> Section:
    """Write it."""
    return Section("verdict", "Verdict", (Points((utility(runs), learnt(runs, audits), cost(runs))),))


def utility(runs: Sequence[Run]) -> str:
    """Say what pruning and protection do to perplexity."""
    panels = panels_of(runs)
    if not panels:
        return "Utility was not measured: no run among the inputs has a perplexity."
    panel = panels[0]
    settings = settings_of(panel.runs)
    start = f"At sparsity {panel.runs[0].sparsity} perplexity is " + _perplexities(settings)
    beside = [
        f"{shown} {words}"
        for name, words in (
            ("dense", "unpruned"),
            ("central", "for one party that holds all text"),
            ("public", "with public text alone"),
        )
        if (shown := _range_of(panel.values(name)))
    ]
    against = f", against {listed(beside)}" if beside else "; no baseline was measured"
    seeds = {len({run.seed for run in setting.runs}) for setting in settings}
    single = (
        " (one seed each: no interval, so small differences mean nothing)"
        if max(seeds) == 1
        else f" (95 % intervals over {'up to ' if len(seeds) > 1 else ''}{max(seeds)} seeds)"
    )
    same = _same_masks(panel.runs)
    more = f"; further below: {len(panels) - 1} more such comparison(s)" if len(panels) > 1 else ""
    return f"{start}{against}{single}{same}{more}."


def _perplexities(settings: Sequence[Setting]) -> str:
    figures = [(setting, setting.figure(lambda run: run.value)) for setting in settings]
    if len(figures) <= MOST_NAMED:
        return listed(
            [f"{'infinite' if spread is None else spread.shown()} for {setting.name}" for setting, spread in figures]
        )
    means = [(spread.mean, setting.name) for setting, spread in figures if spread is not None]
    if not means:
        return f"infinite for all {len(figures)} settings"
    (low, lowest), (high, highest) = min(means), max(means)
    return f"between {low:.2f} ({lowest}) and {high:.2f} ({highest}) over {len(figures)} settings"


def _range_of(values: Sequence[float]) -> str:
    """Give one figure for values that two digits do not tell apart, else from where to where they reach."""
    ends = list(dict.fromkeys(f"{value:.2f}" for value in (min(values), max(values)))) if values else []
    return " to ".join(ends)


def _same_masks(runs: Sequence[Run]) -> str:
    """Say which settings without noise gave the same prune masks, seed by seed, where all files are there to tell."""
    same: dict[frozenset[tuple[str, str]], list[str]] = {}
    for setting in settings_of(runs):
        digests = [(str(run.seed), masks_digest(run) or "") for run in setting.runs if not run.is_private]
        seeds, by_seed = {seed for seed, _ in digests}, frozenset(digests)
        # Runs of one setting and seed that disagree make more pairs than seeds: of such a setting nothing is said.
        if digests and len(by_seed) == len(seeds) and all(digest for _, digest in digests):
            same.setdefault(by_seed, []).append(setting.name)
    largest = max(same.values(), key=len, default=[])
    return f"; {listed(largest)} gave the same prune masks, bit for bit" if len(largest) > 1 else ""


def learnt(runs: Sequence[Run], audits: Sequence[Audit]) -> str:
    """Say what the strongest attacks reached and what is claimed."""
    played = [(audit, cell) for audit in audits for cell in audit.cells if cell.adversary in BY_PLACE.values()]
    rest = "; ".join(filter(None, (_fates(audits), _claims(runs))))
    if not played:
        who = "a server that nobody helps learns" if any(audit.cells for audit in audits) else "adversaries learn"
        start = f"What {who} was not measured (no audit of a server is among the inputs)"
        return f"{start}, and {rest}." if rest else f"{start}."
    cells = [(audit, cell) for audit, cell in played if cell.best.auc.value is not None]
    if not cells:
        told = "that these coins cannot give"
    elif len(cells) > MOST_NAMED:
        told = _range(cells)
    else:
        told = listed([f"{cell.best.auc} under {_name(cell, each, audits)}" for each, cell in cells])
    games = list(dict.fromkeys(f"{each.adjacency}, knowledge {each.knowledge}" for each, _ in played))
    is_recorded = {audit.run_config is not None for audit, _ in played}
    strongest = " or ".join(
        "the first attack named" if each else "the strongest attack" for each in sorted(is_recorded)
    )
    return (
        f"A server that nobody helps tells {_what(played)} with AUC {told} (0.5 is guessing; {strongest}; "
        f"{'; '.join(games)}){f'; {rest}' if rest else ''}."
    )


def _fates(audits: Sequence[Audit]) -> str:
    """Say how the claims of all cells fare, whoever looks; empty where nothing is claimed."""
    claimed = [(audit, cell) for audit in audits for cell in audit.cells if cell.claim is not None]
    broken = [
        f"{cell.configuration} to {cell.adversary}" + (f" ({audit.name})" if len(audits) > 1 else "")
        for audit, cell in claimed
        if audit.exceeded_by(cell)
    ]
    untested = [cell for audit, cell in claimed if audit.untested(cell)]
    words = [f"a claim was EXCEEDED under {listed(broken)}"] if broken else []
    if untested:
        words.append(f"{len(untested)} of {len(claimed)} audited claims were not tested under every attack")
    if claimed and not words:
        words.append(f"no claim was exceeded{_unseen(claimed)}")
    return "; ".join(words)


def _unseen(claimed: Sequence[tuple[Audit, Cell]]) -> str:
    """Say for how many claims the coins could not have shown that they are exceeded."""
    pairs = [(cell, most_shown(audit, cell)) for audit, cell in claimed]
    short = [most for cell, most in pairs if cell.claim is not None and most < cell.claim.epsilon]
    if not short:
        return ""
    which = "any" if len(short) == len(pairs) else f"{len(short)} of {len(pairs)}"
    return f", but for {which} the coins could not have shown it: epsilon {_range_of(short)} at most"


def _what(played: Sequence[tuple[Audit, Cell]]) -> str:
    """Say what was guessed, where all games guess the same."""
    kinds = {TOLD.get(audit.adjacency, "what is in") for audit, _ in played}
    return kinds.pop() if len(kinds) == 1 else "what is in"


def _range(cells: Sequence[tuple[Audit, Cell]]) -> str:
    ordered = sorted(cells, key=lambda pair: pair[1].best.auc.value or 0.0)
    low, high = ordered[0][1], ordered[-1][1]
    return f"between {low.best.auc} ({_whose(low)}) and {high.best.auc} ({_whose(high)})"


def _name(cell: Cell, audit: Audit, audits: Sequence[Audit]) -> str:
    return _whose(cell) if len(audits) == 1 else f"{_whose(cell)} ({audit.name})"


def _whose(cell: Cell) -> str:
    """Name a configuration, and who sees it where that is not the server."""
    return cell.configuration if cell.adversary == SERVER else f"{cell.configuration} to {cell.adversary}"


def _claims(runs: Sequence[Run]) -> str:
    """Say what is proven of the runs; empty where there are none."""
    if not runs:
        return ""
    private = [run for run in runs if run.is_private]
    claimed = [run for run in private if run.epsilon is not None]
    if not private:
        return "no run used differential privacy, so that nothing bounds what totals and prune masks tell"
    if not claimed:
        return "of the noisy runs nothing is proven: their noise is too small for any claim"
    least = min(claimed, key=lambda run: run.epsilon or 0.0)
    claim = least.privacy.entries.get("claim")
    text = claim if claim and isinstance(claim, str) else f"epsilon {least.epsilon:g}"
    number = f"{len(claimed)} of {len(runs)} runs carry a proven claim"
    return f"{number}, the strongest {text} ({least.name})"


def cost(runs: Sequence[Run]) -> str:
    """Say what a client sends and how long the protocol takes it."""
    if not runs:
        return "Cost was not measured: no pruning run is among the inputs."
    settings = settings_of(runs, but=("delta", "adjacency"))
    figures = [(setting, setting.figure(lambda run: run.costs.up_bytes)) for setting in settings]
    means = [(spread.mean, setting) for setting, spread in figures if spread is not None]
    if len(means) <= MOST_NAMED:
        told = listed([_cost(bytes_up, setting) for bytes_up, setting in means])
    else:
        (low, cheap), (high, dear) = min(means, key=_first), max(means, key=_first)
        told = f"from {_cost(low, cheap)} to {_cost(high, dear)}, over {len(means)} settings"
    return f"In a whole run a client sends, at most, {told}."


def _first(pair: tuple[float, Setting]) -> float:
    return pair[0]


def _cost(bytes_up: float, setting: Setting) -> str:
    bits = setting.first.costs.bits_a_weight
    shown = f"{bits:.2f}" if bits >= SMALL_BITS else f"{bits:.2g}"
    return f"{size(bytes_up)} ({shown} bits a weight submitted) under {setting.name}"
