"""What the sessions of a run sum, what noise that takes and what clients let out by it, before any text is read.

Sizes follow from the model's shapes, public counts and the target of differential privacy. Does not run sessions, and
knows no client's text: of public text it knows how many windows there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from torch import Tensor

from fedprllm_secure.errors import InputError
from fedprllm_secure.method import Method
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.parties import Parties
from fedprllm_secure.payloads import PartyView, Payload, Units
from fedprllm_secure.privacy.adjacency import Adjacency
from fedprllm_secure.privacy.noisy_choice import plan_choices
from fedprllm_secure.privacy.release import Release, Sensitivity
from fedprllm_secure.privacy.sensitivity import clipped_sensitivity, score_range
from fedprllm_secure.privacy.session_noise import SessionNoise, plan_noise
from fedprllm_secure.privacy.target import GUMBEL
from fedprllm_secure.residuals.clipping import grid_bound
from fedprllm_secure.residuals.public_basis import Rows
from fedprllm_secure.residuals.synthetic_windows import synthetic_windows
from fedprllm_secure.sessions import Contents
from fedprllm_secure.survey_state import SurveyState
from fedprllm_secure.surveyed import without_weights
from fedprllm_secure.thresholds import Thresholds
from fedprllm_secure.work import WorkFolder

FEWEST_PUBLIC = 32
HELD_OUT_SHARE = 4


class PrivateSessions:
    """The sessions of one run, a place each: its blocks in order, or 0 alone for a session over all blocks.

    Attributes:
        payload: what clients share, made ready for noise or for a noisy choice where the target asks for one.
        chooses: whether a trusted server releases a noisy choice, and no totals.
    """

    def __init__(
        self,
        model: StreamedModel,
        method: Method,
        payload: Payload,
        *,
        parties: Parties,
        thresholds: Thresholds,
        work: WorkFolder,
    ) -> None:
        """Size noisy choices; noise is sized when it is asked for.

        Args:
            model: the public model.
            method: how to prune; its target may be None, and sessions are then exact.
            payload: what clients share, fitted to the model.
            parties: who takes part, and whose windows are public.
            thresholds: how many clients must stay, and how many may collude.
            work: remembers which sessions were begun and finished.

        Raises:
            InputError: the payload takes no noise, or noisy choices cannot be made of it or meet the target.
        """
        self._model, self._method, self._parties = model, method, parties
        self._thresholds, self._work = thresholds, work
        self.payload = payload
        self.chooses = method.privacy is not None and method.privacy.noise == GUMBEL
        if self.chooses:
            self._choose_among(payload)
        elif method.privacy is not None and not method.is_surveyed:
            self.payload = payload.centred()

    def _choose_among(self, payload: Payload) -> None:
        """Size the noisy choices of all blocks."""
        target = self._method.privacy
        assert target is not None
        if not isinstance(payload, Units):
            raise InputError(f"noise={GUMBEL} goes with payload=units alone: it chooses among few things")
        by_block = [payload.choices(self._shapes(index)) for index in range(self._model.num_blocks)]
        planned = iter(
            plan_choices(target, [each for block in by_block for each in block], num_clients=self._parties.num_clients)
        )
        self._choices = [tuple(next(planned) for _ in block) for block in by_block]
        first = next(release for block in self._choices for release in block)
        self.payload = replace(payload, epsilon_each=first.epsilon_each, score_range=score_range(target.adjacency))

    @cached_property
    def noises(self) -> list[SessionNoise]:
        """The noise of each session, in order; none without a target of differential privacy.

        Raises:
            InputError: the target cannot be met, or has no meaning for the payload.
        """
        target = self._method.privacy
        if target is None or self.chooses:
            return []
        if self._method.is_surveyed:
            exact = [self.residual_sensitivity(target.adjacency, self._method.rank)]
        else:
            exact = [self._block_sensitivity(index, target.adjacency) for index in range(self._model.num_blocks)]
        return plan_noise(
            target,
            exact,
            protocol=self._method.protocol,
            thresholds=self._thresholds,
            num_clients=self._parties.num_clients,
        )

    def _block_sensitivity(self, index: int, adjacency: Adjacency) -> tuple[Sensitivity, int]:
        """Say how far one participant moves a block's totals, and how many numbers those are."""
        view = self._shapes(index)
        return self.payload.sensitivity(view, adjacency), sum(spec.length for spec in self.payload.specs(view))

    def residual_sensitivity(self, adjacency: Adjacency, most: int) -> tuple[Sensitivity, int]:
        """Say how far one participant moves the sum of clipped residuals, and in how many directions (at most)."""
        rows = self.public_rows().basis
        rank = min(most, rows.stop - rows.start)
        bound = grid_bound(rank)
        return clipped_sensitivity(l2_bound_squared=bound**2, dimension=rank, adjacency=adjacency), rank

    def public_rows(self) -> Rows:
        """Say which windows are whose: a quarter of the public ones is held out to set the clip."""
        assert self._parties.public is not None
        public, synthetic = self._parties.streams[self._parties.public : self._parties.public + 2]
        middle = public.start + (public.stop - public.start) // HELD_OUT_SHARE
        return Rows(
            clients=slice(0, self._parties.all_clients.stop),
            held_out=slice(public.start, middle),
            prior=slice(middle, public.stop),
            synthetic=slice(synthetic.start, synthetic.stop),
        )

    def contents(self, place: int) -> Contents:
        """Describe a session by the shapes of its block, before the payload is fitted to what enters it."""
        return self.contents_of(place, self.payload, self._shapes(place))

    def contents_of(self, place: int, payload: Payload, view: PartyView) -> Contents:
        """Describe a session whose payload was fitted to the block."""
        noise = self.noises[place] if self.noises else None
        choices = self._choices[place] if self.chooses else None
        return Contents(place, payload.specs(view), payload.public(), noise, choices)

    @property
    def releases(self) -> list[Release]:
        """What an uninterrupted run lets out, in order: of the noisy totals, or exact ones."""
        return _flat(self._releases_by_place())

    @property
    def releases_made(self) -> list[Release]:
        """What a finished run let out: a session that was interrupted after a client had submitted counts too."""
        made = self._work.sessions_by_place()
        by_place = self._releases_by_place()
        return _flat([by_place[place] * max(1, made.get(place, 0)) for place in range(len(by_place))])

    @property
    def releases_left(self) -> list[Release]:
        """What a run will still let out: nothing of sessions whose totals, or choices, an earlier attempt stored."""
        if self._method.is_surveyed:
            state = SurveyState(self._work.folder, num_segments=len(self._parties.segments))
            return [] if state.has_totals else self.releases
        return _flat(self._releases_by_place()[self._work.finished_blocks(needs_states=True) :])

    def _releases_by_place(self) -> list[tuple[Release, ...]]:
        if self.noises:
            return [(noise.release,) for noise in self.noises]
        places = 1 if self._method.is_surveyed else self._model.num_blocks
        return [self.contents(place).releases for place in range(places)]

    def _shapes(self, index: int) -> PartyView:
        return PartyView(prunable_matrices(self._model, index), without_weights)


def synthetic_public(public: Tensor | None, method: Method, *, vocabulary_size: int) -> Tensor | None:
    """Make synthetic windows (windows, tokens), as many as public ones, where a basis is to be made of them.

    Raises:
        InputError: there is too little public text to make prior, basis and clip of.
    """
    if not method.is_surveyed or method.privacy is None or method.privacy.noise == GUMBEL:
        return None
    if public is None or len(public) < FEWEST_PUBLIC:
        raise InputError(
            f"payload=statistics under differential privacy needs public text for prior, basis and clip, at least "
            f"{FEWEST_PUBLIC} windows of it; here are {0 if public is None else len(public)} (--public-data)"
        )
    return synthetic_windows(public, vocabulary_size=vocabulary_size, count=len(public))


def check_apart(private: Tensor, public: Tensor) -> None:
    """Refuse public windows that are a client's: what is made of public text is released without any noise.

    Raises:
        InputError: a client's window stands among them.
    """
    known = {row.numpy().tobytes() for row in public}
    if any(row.numpy().tobytes() in known for row in private):
        raise InputError(
            "a client's window stands among the public windows: whatever is made of public text is released without "
            "noise, so under differential privacy it must be other text (--public-data)"
        )


def _flat(by_place: Sequence[tuple[Release, ...]]) -> list[Release]:
    return [release for place in by_place for release in place]
