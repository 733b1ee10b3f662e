"""Who sees what of every protocol, with noise of either place or none, and where a claim holds."""

from __future__ import annotations

import pytest

from experiments.audit.matrix import ADVERSARIES, Configuration, cells_of
from fedprllm_secure.privacy.target import PrivacyTarget
from tests.experiments.audit.tiny_audit import target

SERVER, COLLUDERS, KEY_HOLDER, READERS, PUBLIC = ADVERSARIES
PLACES = {"none": None, "central": target("central"), "distributed": target("distributed")}
# By protocol and place of noise: adversary, what it sees, whether the claim is about it.
EXPECTED = {
    ("plain", "none"): [(SERVER, "masks", False), (PUBLIC, "choice", False)],
    ("plain", "central"): [(SERVER, "masks", False), (READERS, "released", True), (PUBLIC, "choice", True)],
    ("additive", "none"): [(SERVER, "totals", False), (COLLUDERS, "less", False), (PUBLIC, "choice", False)],
    ("additive", "central"): [
        (SERVER, "totals", False),
        (COLLUDERS, "less", False),
        (READERS, "released", True),
        (PUBLIC, "choice", True),
    ],
    ("additive", "distributed"): [(SERVER, "totals", True), (COLLUDERS, "less", True), (PUBLIC, "choice", True)],
    **{
        (protocol, place): cells
        for protocol in ("ckks", "bfv")
        for place, cells in {
            "none": [(SERVER, "totals", False), (KEY_HOLDER, "masks", False), (PUBLIC, "choice", False)],
            "central": [
                (SERVER, "totals", False),
                (KEY_HOLDER, "masks", False),
                (READERS, "released", True),
                (PUBLIC, "choice", True),
            ],
            "distributed": [(SERVER, "totals", True), (KEY_HOLDER, "masks", False), (PUBLIC, "choice", True)],
        }.items()
    },
}


@pytest.mark.parametrize(("protocol", "place"), EXPECTED)
def test_adversaries_see_what_the_protocol_lets_them(protocol: str, place: str) -> None:
    """A claim is about nobody whom the noise does not stand against: above all not about key holders."""
    cells = cells_of(Configuration(protocol, PLACES[place]), colluders=1)

    assert [(each.adversary, each.what, each.is_claimed) for each in cells] == EXPECTED[protocol, place]
    assert all(each.configuration == Configuration(protocol, PLACES[place]) for each in cells)
    assert len({each.job for each in cells}) == len(cells)


def test_without_colluders_there_is_no_such_adversary() -> None:
    """Nobody tells the server anything."""
    cells = cells_of(Configuration("additive"), colluders=0)

    assert [each.adversary for each in cells] == [SERVER, PUBLIC]


def test_the_same_thing_has_the_same_name() -> None:
    """Exact totals are attacked once, however many protocols show them; under noise everything is its own."""
    by_place = {
        place: {protocol: cells_of(Configuration(protocol, privacy), colluders=1) for protocol in ("additive", "ckks")}
        for place, privacy in PLACES.items()
    }

    def names(place: str, protocol: str) -> dict[str, str]:
        return {each.what: each.job for each in by_place[place][protocol]}

    for what in ("totals", "choice"):
        assert names("none", "additive")[what] == names("none", "ckks")[what]
    assert names("central", "additive")["totals"] == names("none", "ckks")["totals"]
    for place, protocol in (("central", "additive"), ("distributed", "ckks")):
        noisy = {"released", "choice"} if place == "central" else {"totals", "masks", "choice"}
        for what, name in names(place, protocol).items():
            assert name.endswith(f" of {Configuration(protocol, PLACES[place]).name}") is (what in noisy)


@pytest.mark.parametrize(
    ("privacy", "name"),
    [
        (None, "ckks"),
        (target("central", multiplier=0.25), "ckks, central multiplier 0.25"),
        (
            PrivacyTarget(place="distributed", adjacency="client-replace", delta=1e-5, epsilon=8),
            "ckks, distributed epsilon 8",
        ),
    ],
)
def test_configurations_have_names(privacy: PrivacyTarget | None, name: str) -> None:
    """Of protocol, place and strength of noise."""
    assert Configuration("ckks", privacy).name == name
