"""What an audit says of one adversary: every attack's figures, the strongest one's curve, and what is claimed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from experiments.report.fields import COUNT, DELTA, EPSILON, SHARE, Fields, Unreadable


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured figure.

    Attributes:
        value: None where it is refused.
        low: end of its interval; None where there is none.
        high: likewise.
        reason: why something is missing.
    """

    value: float | None
    low: float | None
    high: float | None
    reason: str

    @classmethod
    def read(cls, found: Fields) -> Figure:
        """Read an AUC or a rate.

        Raises:
            Unreadable: it is not in [0, 1], or half an interval.
        """
        interval = found.maybe_inside("interval")
        return cls(
            found.maybe_number("value", within=SHARE),
            interval.number("low") if interval.entries else None,
            interval.number("high") if interval.entries else None,
            found.maybe_text("reason") or "",
        )

    def __str__(self) -> str:
        """Give it with its interval, or why there is none."""
        if self.value is None:
            return f"not given: {self.reason}"
        return f"{self.value:.3f}" + ("" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """What an attack reached on one view.

    Attributes:
        name: of the attack.
        is_turned: whether its scores were found to point the other way.
        members: coins.
        non_members: coins.
        runs: independent of each other.
        auc: chance that a member scores above a non-member.
        rates: (false positive rate, true positive rate).
        shown: lower bound on epsilon by the one-run bound; None where none is given.
        most: the most that so many coins could show.
        delta: at which both hold.
    """

    name: str
    is_turned: bool
    members: int
    non_members: int
    runs: int
    auc: Figure
    rates: tuple[tuple[float, Figure], ...]
    shown: float | None
    most: float | None
    delta: float

    @classmethod
    def read(cls, found: Fields) -> Attack:
        """Read it."""
        bound = found.inside("one_run")
        return cls(
            name=found.text("attack"),
            is_turned=found.entries.get("is_reversed") is True,
            members=found.whole("members", within=COUNT),
            non_members=found.whole("non_members", within=COUNT),
            runs=found.whole("runs", within=COUNT),
            auc=Figure.read(found.inside("auc")),
            rates=tuple(
                (rate.number("fpr", within=SHARE), Figure.read(rate.inside("tpr"))) for rate in found.each("rates")
            ),
            shown=bound.maybe_number("epsilon", within=EPSILON),
            most=bound.maybe_number("ceiling", within=EPSILON),
            delta=found.number("delta", within=DELTA),
        )


@dataclass(frozen=True, slots=True)
class Curve:
    """A ROC curve.

    Attributes:
        false: rates, rising.
        true: rates, rising; the curve steps up at each point and goes level to the next.
        coins: that it is made of.
        independent: runs with a non-member: how low a rate can be shown.
    """

    false: tuple[float, ...] = field(repr=False)
    true: tuple[float, ...] = field(repr=False)
    coins: int
    independent: int

    @classmethod
    def read(cls, found: Fields) -> Curve:
        """Read it.

        Raises:
            Unreadable: there are not as many rates of both kinds, or none; or nothing that it is made of.
        """
        false = found.numbers("false_positive_rates", within=SHARE)
        true = found.numbers("true_positive_rates", within=SHARE)
        coins, independent = (found.whole(name, within=COUNT) for name in ("coins", "independent_non_members"))
        if len(false) != len(true) or not false or coins < 1 or independent < 1:
            raise Unreadable(f"{found.file}: {found.place} must have as many rates of both kinds, and coins; left out")
        return cls(false, true, coins, independent)


@dataclass(frozen=True, slots=True)
class Claim:
    """What is claimed of a cell's game.

    Attributes:
        epsilon: claimed.
        delta: claimed.
        adjacency: of what.
        adversary: against whom.
    """

    epsilon: float
    delta: float
    adjacency: str
    adversary: str

    def __str__(self) -> str:
        """Give it without its adversary."""
        return f"epsilon {self.epsilon:.3g}, delta {self.delta:g}, {self.adjacency}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one adversary of one configuration learns.

    Attributes:
        protocol: how vectors were summed.
        configuration: protocol and noise.
        adversary: who looks.
        sees: the view; equal names are the very same thing.
        claim: None where nothing is claimed.
        no_claim: why not.
        attacks: strongest first (of a recorded run: as named).
        not_made: attacks that could not be made, with the reason.
        curve: of the first attack; None in files that have none.
    """

    protocol: str
    configuration: str
    adversary: str
    sees: str
    claim: Claim | None
    no_claim: str
    attacks: tuple[Attack, ...]
    not_made: Mapping[str, str]
    curve: Curve | None = field(repr=False)

    @property
    def best(self) -> Attack:
        """The strongest attack, as chosen on other runs."""
        return self.attacks[0]

    @classmethod
    def read(cls, found: Fields) -> Cell:
        """Read it.

        Raises:
            Unreadable: something is missing, or there is no attack.
        """
        attacks = tuple(Attack.read(attack) for attack in found.each("attacks"))
        if not attacks:
            raise Unreadable(f"{found.file}: {found.place}attacks must not be empty; left out")
        claim = found.maybe_inside("claim")
        return cls(
            protocol=found.text("protocol"),
            configuration=found.text("configuration"),
            adversary=found.text("adversary"),
            sees=found.text("sees"),
            claim=Claim(
                claim.number("epsilon", within=EPSILON),
                claim.number("delta", within=DELTA),
                claim.text("adjacency"),
                claim.text("adversary"),
            )
            if claim.entries
            else None,
            no_claim=found.maybe_text("no_claim") or "",
            attacks=attacks,
            not_made={name: str(why) for name, why in found.maybe_inside("attacks_not_made").entries.items()},
            curve=Curve.read(found.inside("roc")) if found.has("roc") else None,
        )
