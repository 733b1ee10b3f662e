"""What happens with bad shares and bad words: exact totals or none, never others."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from protocols import PROTOCOLS, Step, UnusableTotals
from protocols.additive import recovery as additive_recovery
from protocols.additive.bodies import PeerShares
from protocols.additive.shamir import split
from protocols.wire import ClientPen, decode


@pytest.fixture
def protocol():
    """Only `additive`."""
    return PROTOCOLS["additive"]


def rewritten(parties, message, body):
    """Return a message of a corrupt client: another body under its own signature."""
    parsed = decode(message)
    return ClientPen(parsed.sender, parties.keys[parsed.sender]).write(parsed.frame, body, part=parsed.part).encode()


def revealed_with(parties, bad, *clients):
    """Let clients reveal, the bad ones with a wrong share of client 0."""
    for client in clients:
        (message,) = parties.messages(Step.REVEAL, client)
        body = decode(message).body
        if client in bad:
            # Not in the last bits, which X25519 clears: a key that is wrong there is the same key.
            message = rewritten(parties, message, body[:16] + bytes([body[16] ^ 1]) + body[17:])
        parties.receive(Step.REVEAL, message)


@pytest.mark.parametrize("lost", [False, True], ids=["seed", "key"])
@pytest.mark.parametrize("bad", [{1}, {2}, {5}, {1, 2}, {3, 5}], ids=str)
def test_bad_shares_are_survived_where_others_are_there(make_parties, bad, lost):
    """Up to two bad shares of six are found and left out: the totals are exact."""
    parties = make_parties(7, recovery_threshold=4, minimum_survivors=4)
    parties.walk(Step.ADVERTISE, Step.SHARE)
    survivors = tuple(range(1, 7)) if lost else tuple(range(7))
    for step in (Step.SUBMIT, Step.CONFIRM):
        parties.do(step, *survivors)
    revealed_with(parties, bad, *range(1, 7))

    parties.check_totals(*survivors)


@pytest.mark.parametrize(("lost", "what"), [(False, "self-mask seed"), (True, "masking key")])
def test_too_many_bad_shares_give_no_totals(make_parties, lost, what):
    """With t - 1 good shares the session ends with an error that names the client, again and again: no wrong total."""
    parties = make_parties(7, recovery_threshold=4, minimum_survivors=4)
    parties.walk(Step.ADVERTISE, Step.SHARE)
    survivors = tuple(range(1, 7)) if lost else tuple(range(7))
    for step in (Step.SUBMIT, Step.CONFIRM):
        parties.do(step, *survivors)
    revealed_with(parties, {1, 2, 3}, *range(1, 7))
    for _ in range(2):
        with pytest.raises(UnusableTotals, match=f"reveal, client 0: its {what} cannot be rebuilt"):
            parties.server.totals()


def test_a_bad_share_without_a_spare_gives_no_totals(make_parties):
    """With exactly t shares, one of them bad, there is nothing to try."""
    parties = make_parties(4)
    parties.walk(Step.ADVERTISE, Step.CONFIRM)
    revealed_with(parties, {2}, 0, 1, 2)
    with pytest.raises(UnusableTotals, match="client 0: its self-mask seed cannot be rebuilt"):
        parties.server.totals()


def test_suspects_are_tried_last():
    """A holder once caught is not used again where others are there, and few sets are tried."""
    secret = bytes(range(32))
    tried, suspects = [], set()
    for attempt in range(3):
        shares = dict(zip(range(1, 8), split(secret, threshold=4, points=range(1, 8), largest=7), strict=True))
        shares[2] = (shares[2] + 1) % 2**256
        tried.append(0)

        def is_right(candidate, attempt=attempt):
            tried[attempt] += 1
            return candidate == secret

        assert additive_recovery.rebuild(shares, 4, is_right, suspects) == secret

    assert suspects == {2}
    assert tried[0] > 1
    assert tried[1:] == [1, 1]


def test_trying_is_bounded(monkeypatch):
    """However many shares are bad, no more sets than the bound are tried."""
    monkeypatch.setattr(additive_recovery, "ATTEMPTS", 10)
    tried = []

    shares = dict.fromkeys(range(1, 30), 1)

    assert additive_recovery.rebuild(shares, 10, lambda candidate: tried.append(candidate) or False, set()) is None
    assert len(tried) == 10


def test_every_set_of_shares_is_tried_once():
    """Sets that leave out fewest come first, and none comes twice."""
    sets = list(additive_recovery._sets([1, 2, 3, 4, 5, 6], 3))

    assert sets[0] == (1, 2, 3)
    assert len(set(sets)) == len(sets) == 20
    assert [max(points) for points in sets] == sorted(max(points) for points in sets)


@pytest.mark.parametrize("which", ["masking_key", "seed"])
def test_a_dealer_of_bad_shares_changes_no_total(parties, monkeypatch, which):
    """A client that shares out something else than what it advertised ends the session; it is named."""
    parties.do(Step.ADVERTISE)
    real = parties.clients[3]._split

    def other(fresh, holders):
        return {
            holder: PeerShares(**{"masking_key": shares.masking_key, "seed": shares.seed, which: 5})
            for holder, shares in real(fresh, holders).items()
        }

    monkeypatch.setattr(parties.clients[3], "_split", other)
    parties.do(Step.SHARE)
    survivors = (0, 1, 2) if which == "masking_key" else (0, 1, 2, 3)
    for step in (Step.SUBMIT, Step.CONFIRM, Step.REVEAL):
        parties.do(step, *survivors)
    with pytest.raises(UnusableTotals, match="client 3"):
        parties.server.totals()


def test_words_that_are_no_sum_give_no_totals(parties):
    """A client of the roster can move totals, but not to words that no sum of packed vectors has."""
    parties.walk(Step.ADVERTISE, Step.SUBMIT)
    np.add(parties.server._sums[0], np.uint64(5**27), out=parties.server._sums[0])
    parties.walk(Step.CONFIRM, Step.REVEAL)
    with pytest.raises(UnusableTotals, match="the words of 'votes' are no sum of packed vectors"):
        parties.server.totals()


def test_a_total_above_the_survivors_reach_is_refused(make_parties):
    """Three survivors of four have at most three votes a weight, though the lane has room for four."""
    parties = make_parties(4)
    parties.walk(Step.ADVERTISE, Step.SHARE)
    parties.inputs = {client: {"votes": np.ones(130, int), "energy": np.zeros(9, int)} for client in range(4)}
    parties.do(Step.SUBMIT, 0, 1, 2)
    parties.server._sums[0][0] += np.uint64(1)
    for step in (Step.CONFIRM, Step.REVEAL):
        parties.do(step, 0, 1, 2)
    with pytest.raises(UnusableTotals, match="a total of 'votes' is beyond what the survivors can reach"):
        parties.server.totals()


@pytest.mark.parametrize(("bad", "largest"), [(1, 1023), (2, 43)])
def test_how_many_bad_shares_are_survived_for_certain(bad, largest):
    """At worst the bad ones are those left out last: up to this threshold they are, at the next one no more."""
    for threshold, survived in ((largest, True), (largest + 1, False)):
        points = list(range(1, threshold + bad + 1))
        sets = itertools.islice(additive_recovery._sets(points, threshold), additive_recovery.ATTEMPTS)

        assert any(not set(chosen) & set(range(1, bad + 1)) for chosen in sets) is survived


def test_two_bad_shares_of_many_are_survived():
    """Such as two of 43 and two spare ones, the worst: the secret comes out within the attempts."""
    secret, points = bytes(range(32)), range(1, 24)
    shares = dict(zip(points, split(secret, threshold=21, points=points, largest=23), strict=True))
    shares[1], shares[2] = 5, 6

    assert additive_recovery.rebuild(shares, 21, lambda candidate: candidate == secret, set()) == secret
