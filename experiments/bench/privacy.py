"""What differential privacy leaves: perplexity, layers' output error and masks at epsilon 1, 3 and 8, several draws.

Demo model, 2 windows of 256 tokens a client, dense propagation, central noise of the shipped samplers at delta 1e-5;
prior, basis and clip from the demo's public text. For every draw of clients the federated result is set against
central without noise and public-only. A share kept is (public-only - private) / (public-only - central), of means over
draws; its interval is a paired bootstrap over draws of clients, releases going with their draw.
"""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor

from experiments import inputs
from experiments.bench.output_error import OutputError
from experiments.bench.privacy_figures import Figures, FiguresFile, print_tables
from fedprllm_secure import Baselines, Federation, Method, Partition, Schedule, Sparsity, StreamedModel, WorkFolder
from fedprllm_secure.calibration import InputEnergy
from fedprllm_secure.data import Windows, cut_evaluation, cut_windows, read_documents, split_documents
from fedprllm_secure.editing import EditableBlock
from fedprllm_secure.errors import InputError
from fedprllm_secure.evaluation import perplexities
from fedprllm_secure.models.matrices import PrunableMatrix, prunable_matrices
from fedprllm_secure.payloads import PartyView, Statistics, Units, Votes
from fedprllm_secure.privacy import Sensitivity, epsilon_of
from fedprllm_secure.privacy.session_noise import SessionNoise, plan_noise
from fedprllm_secure.privacy.target import PrivacyTarget
from fedprllm_secure.residuals.public_basis import PublicBasis, public_basis
from fedprllm_secure.survey import Survey
from fedprllm_secure.survey_state import SurveyState
from fedprllm_secure.surveyed import RESIDUALS, NoisyResiduals
from fedprllm_secure.thresholds import Thresholds
from fedprllm_secure.variants import masked

DRAWS, CLIENTS, PER_CLIENT, LENGTH = 5, (8, 64), 2, 256
EVALUATION_WINDOWS = 64
EPSILONS, DELTA = (1.0, 3.0, 8.0), 1e-5
SPARSITIES = ("0.5", "0.7")
RANKS = (32, 1000)
UNIT_SPARSITY = "0.25"
UNITS = f"units {UNIT_SPARSITY}"
HEADLINE = ("0.7", 64, 1000, "window-zero-out")  # where private text is another domain's
HEADLINE_RELEASES, FEWER_RELEASES, VOTE_RELEASES = 20, 3, 1
Masks = dict[str, Tensor]


def _looked_up(masks: Masks, _index: int, matrix: PrunableMatrix) -> Tensor:
    return masks[matrix.name]


@dataclass(slots=True)
class Study:
    """The survey of all draws and what was measured so far."""

    federation: Federation
    state: SurveyState
    evaluation: Tensor
    error: OutputError
    is_headline: bool
    figures: list[Figures] = field(default_factory=list)
    waiting: list[tuple[Figures, Masks]] = field(default_factory=list)
    bases: dict[int, PublicBasis] = field(default_factory=dict)

    def add(
        self, cell: tuple[str, ...], draw: int, masks: Masks, central: Masks, *, with_perplexity: bool = True
    ) -> None:
        """Measure a mask; perplexities wait until several can be taken in one pass."""
        same = sum(int((masks[name] == mask).sum()) for name, mask in central.items())
        agreement = same / sum(mask.numel() for mask in central.values())
        figures = Figures(cell, draw, self.error(masks), agreement)
        self.figures.append(figures)
        if with_perplexity:
            self.waiting.append((figures, masks))
        if len(self.waiting) >= 16:
            self.flush()

    def taken(self) -> list[Figures]:
        """Give what was measured since the last call, perplexities too."""
        self.flush()
        taken, self.figures = self.figures, []
        return taken

    def flush(self) -> None:
        """Measure the perplexities that wait."""
        variants = {str(number): masked(partial(_looked_up, masks)) for number, (_, masks) in enumerate(self.waiting)}
        if variants:
            found = perplexities(self.federation.model, self.evaluation, variants, batch_windows=8)
            for number, (figures, _) in enumerate(self.waiting):
                figures.perplexity = found[str(number)].value
        self.waiting.clear()


def bench_privacy(private: Path | None, evaluation: Path | None, table: Path | None) -> None:
    """Run every cell that the table does not hold yet, and print the tables.

    Raises:
        InputError: one of the texts is missing, or the table holds figures of another run.
    """
    if (private is None) != (evaluation is None):
        raise InputError("--private and --evaluation go together: text of one kind, and held-out text of that kind")
    settings = {
        "private": None if private is None else private.name,
        "evaluation": None if evaluation is None else evaluation.name,
        "per_client": PER_CLIENT,
        "length": LENGTH,
        "evaluation_windows": EVALUATION_WINDOWS,
        "epsilons": EPSILONS,
        "delta": DELTA,
        "ranks": RANKS,
        "releases": (HEADLINE_RELEASES, FEWER_RELEASES, VOTE_RELEASES),
    }
    kept = FiguresFile(table, settings)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        study = _survey(Path(folder), private, evaluation)
        cells = [(sparsity, clients) for clients in reversed(CLIENTS) for sparsity in (*SPARSITIES, UNITS)]
        for sparsity, clients in cells:
            for draw in track(range(DRAWS), f"sparsity {sparsity}, {clients} clients: draws"):
                if kept.has(sparsity, str(clients), str(draw)):
                    continue
                if sparsity == UNITS:
                    _measure_units(study, clients, draw)
                else:
                    _measure(study, sparsity, clients, draw)
                kept.add(study.taken(), sparsity, str(clients), str(draw))
    print_tables(kept.all(), windows_per_client=PER_CLIENT)
    print(_under_replace(study.federation))


def _survey(folder: Path, private: Path | None, evaluation: Path | None) -> Study:
    flags = Namespace(
        model="demo", model_sha256=None, dtype="auto", device="auto", public_data="demo", public_windows=None,
        data="demo", payload="statistics", dp="central", eval_data=None, eval_windows=EVALUATION_WINDOWS,
        partition="iid", seed=0, text_field=None, client_field=None, label_field=None,
        clients=DRAWS * max(CLIENTS), windows_per_client=PER_CLIENT,
    )  # fmt: skip
    model = inputs.open_model(flags)
    if private is None or evaluation is None:
        windows = inputs.client_windows(flags, model, LENGTH, [])
        cut = inputs.evaluation_windows(flags, model, LENGTH)
        assert cut is not None  # the demo has evaluation text
        ids = cut[0]
    else:
        windows, ids = _cut(model, private, evaluation)
    public = inputs.public_windows(flags, model, LENGTH, 0)
    method = Method(
        sparsity=Sparsity.parse("0.5"),
        schedule=Schedule("one-shot", "dense"),
        payload="statistics",
        privacy=PrivacyTarget(place="central", adjacency="window-zero-out", delta=DELTA, epsilon=1.0),
        rank=max(RANKS),
    )
    federation = Federation(model, windows, method, WorkFolder(folder / "work"), baselines=Baselines(public=public))
    with federation.work.locked():
        state = Survey(federation, progress=lambda *_: None).survey()
    return Study(federation, state, ids, OutputError(model, ids), is_headline=private is not None)


def _cut(model: StreamedModel, private: Path, evaluation: Path) -> tuple[Windows, Tensor]:
    tokenizer = inputs.open_tokenizer(model)
    count = DRAWS * max(CLIENTS)
    documents = read_documents(str(private), split="train")
    parts = split_documents(documents, Partition.parse("iid"), num_clients=count, seed=0)
    size = model.vocabulary_size
    windows = cut_windows(parts, tokenizer, length=LENGTH, per_client=PER_CLIENT, vocabulary_size=size)
    held_out = read_documents(str(evaluation), split="test")
    ids = cut_evaluation(held_out, tokenizer, length=LENGTH, limit=EVALUATION_WINDOWS, vocabulary_size=size)
    return windows, ids


def _measure(study: Study, sparsity: str, clients: int, draw: int) -> None:
    """Measure one draw: the references, votes and statistics under every noise."""
    federation, chosen = study.federation, range(draw * max(CLIENTS), draw * max(CLIENTS) + clients)
    statistics = Statistics(sparsity=Sparsity.parse(sparsity))
    rows = slice(chosen.start * PER_CLIENT, chosen.stop * PER_CLIENT)
    public = federation.parties.streams[federation.parties.public or 0]
    here = (sparsity, str(clients))
    central = _by_energies(study, statistics, rows)
    study.add((*here, "central"), draw, central, central)
    study.add((*here, "public-only"), draw, _by_energies(study, statistics, slice(public.start, public.stop)), central)
    _measure_votes(study, Sparsity.parse(sparsity), chosen, here, draw, central)
    for rank in RANKS:
        for adjacency in ("window-zero-out", "client-zero-out"):
            for epsilon in EPSILONS:
                noise = _planned(adjacency, epsilon, clients, federation, rank)
                noisy = _residuals(study, statistics, rank, adjacency, noise, clients)
                exact = sum(noisy.vectors(client)[RESIDUALS] for client in chosen)
                assert isinstance(exact, Tensor)
                cell = (sparsity, clients, rank, adjacency)
                for _ in range(HEADLINE_RELEASES if study.is_headline and cell == HEADLINE else FEWER_RELEASES):
                    totals = noise.released({RESIDUALS: exact.numpy()})
                    masks: Masks = {}
                    for _index, view, sums in _views(study):
                        masks |= noisy.choose(view, sums, totals, survivors=clients)
                    name = f"statistics, rank {rank}, {adjacency}, epsilon {epsilon:g}"
                    # Rank 32 and clients are told apart well enough by the output error alone.
                    full = rank == max(RANKS) and (adjacency == "window-zero-out" or clients == max(CLIENTS))
                    study.add((*here, name), draw, masks, central, with_perplexity=full)


def _measure_votes(
    study: Study, sparsity: Sparsity, chosen: range, here: tuple[str, str], draw: int, central: Masks
) -> None:
    votes = Votes(sparsity=sparsity, group="layer")
    centred = votes.centred()
    exact_totals: dict[str, Tensor] = {}
    sensitivities = []
    for _index, view, sums in _views(study):
        sensitivities.append((centred.sensitivity(view, "client-zero-out"), sum(m.numel for m in view.matrices)))
        for client in chosen:
            energies = study.federation.parties.energies(sums, client)
            own = PartyView(view.matrices, view.stored, sums.sources, energies)
            decision = votes.decide(own)
            for name, values in decision.votes.items():
                exact_totals[name] = values.to(torch.int32) + exact_totals.get(name, 0)
    low, step = centred.centre
    totals = {name: (step * total - len(chosen) * low).numpy() for name, total in exact_totals.items()}
    masks: Masks = {}
    for _index, view, _sums in _views(study):
        masks |= votes.choose(
            view, {name: total.numpy() for name, total in exact_totals.items()}, survivors=len(chosen)
        )
    study.add((*here, "votes, exact"), draw, masks, central)
    for epsilon in EPSILONS:
        target = PrivacyTarget(place="central", adjacency="client-zero-out", delta=DELTA, epsilon=epsilon)
        thresholds = Thresholds(minimum_survivors=len(chosen))
        noises = plan_noise(target, sensitivities, protocol="plain", thresholds=thresholds, num_clients=len(chosen))
        for _ in range(VOTE_RELEASES):
            masks = {}
            for (_index, view, _sums), noise in zip(_views(study), noises, strict=True):
                noisy = noise.released({matrix.name: totals[matrix.name] for matrix in view.matrices})
                masks |= centred.choose(view, noisy, survivors=len(chosen))
            study.add((*here, f"votes, client-zero-out, epsilon {epsilon:g}"), draw, masks, central)


def _measure_units(study: Study, clients: int, draw: int) -> None:
    """Measure one draw of votes on heads and neurons, exact and under noise."""
    federation, chosen = study.federation, range(draw * max(CLIENTS), draw * max(CLIENTS) + clients)
    units = Units(sparsity=Sparsity.parse(UNIT_SPARSITY)).in_model(federation.model)
    centred, here = units.centred(), (UNITS, str(clients))
    public = federation.parties.streams[federation.parties.public or 0]
    references = {
        "central": slice(chosen.start * PER_CLIENT, chosen.stop * PER_CLIENT),
        "public-only": slice(public.start, public.stop),
    }
    masks: dict[str, Masks] = {name: {} for name in (*references, "votes, exact")}
    totals: dict[str, Tensor] = {}
    sensitivities = []
    for _index, view, sums in _views(study):
        dimension = sum(spec.length for spec in centred.specs(view))
        sensitivities.append((centred.sensitivity(view, "client-zero-out"), dimension))
        for name, rows in references.items():
            masks[name] |= units.decide(replace(view, energies=sums.of(rows))).prune_masks
        for client in chosen:
            own = replace(view, energies=federation.parties.energies(sums, client))
            for name, votes in units.decide(own).votes.items():
                totals[name] = votes.to(torch.int32) + totals.get(name, 0)
        exact = {name: total.numpy() for name, total in totals.items()}
        masks["votes, exact"] |= units.choose(view, exact, survivors=clients)
    for name, found in masks.items():
        study.add((*here, name), draw, found, masks["central"])
    low, step = centred.centre
    for epsilon in EPSILONS:
        target = PrivacyTarget(place="central", adjacency="client-zero-out", delta=DELTA, epsilon=epsilon)
        thresholds = Thresholds(minimum_survivors=clients)
        noises = plan_noise(target, sensitivities, protocol="plain", thresholds=thresholds, num_clients=clients)
        for _ in range(FEWER_RELEASES):
            noisy_masks: Masks = {}
            for (_index, view, _sums), noise in zip(_views(study), noises, strict=True):
                names = [spec.name for spec in centred.specs(view)]
                noisy = noise.released({name: (step * totals[name] - clients * low).numpy() for name in names})
                noisy_masks |= centred.choose(view, noisy, survivors=clients)
            study.add((*here, f"votes, client-zero-out, epsilon {epsilon:g}"), draw, noisy_masks, masks["central"])


def _views(study: Study) -> Iterator[tuple[int, PartyView, InputEnergy]]:
    """Give every block: its number, the server's view, and the statistics of all windows."""
    model = study.federation.model
    for index in range(model.num_blocks):
        with model.block(index) as module:
            matrices = prunable_matrices(model, index)
            sums = study.state.block(index)
            yield index, PartyView(matrices, EditableBlock(module, matrices).weight, sums.sources), sums


def _by_energies(study: Study, statistics: Statistics, rows: slice) -> Masks:
    masks: Masks = {}
    for _index, view, sums in _views(study):
        masks |= statistics.prune(PartyView(view.matrices, view.stored, sums.sources, sums.of(rows)))
    return masks


def _residuals(
    study: Study, statistics: Statistics, rank: int, adjacency: str, noise: SessionNoise, clients: int
) -> NoisyResiduals:
    """Fit basis and clip to the noise; the basis itself is made once for each rank."""
    federation = study.federation
    rows = federation.public_rows()
    if rank not in study.bases:
        study.bases[rank] = public_basis(study.state.blocks, rows, rank=rank)
    return NoisyResiduals(
        federation.model,
        federation.parties,
        study.state,
        statistics,
        basis=study.bases[rank],
        rows=rows,
        noise=noise,
        num_clients=clients,
        per_client=PER_CLIENT,
        by_window=adjacency.startswith("window"),
        clip=None,
    )


def _planned(adjacency: str, epsilon: float, clients: int, federation: Federation, rank: int) -> SessionNoise:
    target = PrivacyTarget(place="central", adjacency=adjacency, delta=DELTA, epsilon=epsilon)  # type: ignore[arg-type]
    exact = [federation.residual_sensitivity(target.adjacency, rank)]
    thresholds = Thresholds(minimum_survivors=clients)
    return plan_noise(target, exact, protocol="plain", thresholds=thresholds, num_clients=clients)[0]


def _under_replace(federation: Federation) -> str:
    """Say what the noise of zero-out releases is worth where a contribution is replaced instead."""
    found = []
    for epsilon in EPSILONS:
        release = _planned("window-zero-out", epsilon, max(CLIENTS), federation, max(RANKS)).release
        assert release.sensitivity is not None  # a release of noise
        twice = Sensitivity(2 * release.sensitivity.l1, 4 * release.sensitivity.l2_squared)
        found.append(epsilon_of([replace(release, sensitivity=twice, adjacency="window-replace")], DELTA))
    pairs = ", ".join(f"{epsilon:g}: {other:.3g}" for epsilon, other in zip(EPSILONS, found, strict=True))
    return f"epsilon of the same noise under replace instead of zero-out: {pairs}"
