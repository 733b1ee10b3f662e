"""What attacks make of the same knowledge is made once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from time import sleep

import numpy as np

from attacks.channels import LogNorms
from attacks.companions import Companions
from attacks.knowledge import MadeOnce
from tests.attacks.planted import CHANNELS, plant


def test_the_same_texts_are_gone_through_once():
    """Settings of the same arrays share what is made in the same way; others, or another way, do not."""
    setting = plant("totals", seed=1).setting
    made, calls = MadeOnce[list[int]](), []

    def make():
        calls.append(1)
        return [len(calls)]

    first = made.get(setting, "a", make)
    alike = replace(setting, clients=1, coins=setting.coins[:0])

    assert made.get(alike, "a", make) is first
    assert made.get(setting, "b", make).value == [2]
    assert made.get(replace(setting, energies=setting.energies.copy()), "a", make).value == [3]
    assert made.get(replace(setting, population=setting.population.copy()), "a", make).value == [4]


def test_what_nobody_holds_is_made_anew():
    """Nothing outlives the attacks that use it."""
    setting = plant("totals", seed=1).setting
    made = MadeOnce[list[int]]()
    held = made.get(setting, "a", lambda: [1])

    assert made.get(setting, "a", lambda: [2]).value == [1]
    del held
    assert made.get(setting, "a", lambda: [3]).value == [3]


def test_jobs_share_log_norms_and_companions():
    """Of as many slots a client they are the same, whatever number of clients a row adds up."""
    setting = plant("totals", seed=1, clients=3, per_client=2).setting
    fewer = replace(setting, clients=2, slots=4)
    more, less = LogNorms.of(setting), LogNorms.of(fewer)
    one, other = (Companions(each, draws=8, least_sd=0.1) for each in (setting, fewer))

    assert more.draws is less.draws
    np.testing.assert_allclose(3 * more.shifts, 2 * less.shifts)
    assert one.norms(CHANNELS[0]) is other.norms(CHANNELS[0])
    third = Companions(replace(setting, slots=9), draws=8, least_sd=0.1)
    assert third.norms(CHANNELS[0]) is not one.norms(CHANNELS[0])
    wider = Companions(setting, draws=8, least_sd=0.2).norms(CHANNELS[0])
    assert (wider.usual.sd > one.norms(CHANNELS[0]).usual.sd).all()


def test_what_it_was_made_of_stays_as_long_as_it_does():
    """Or other arrays could come to lie where these did, and be taken for them."""
    setting = plant("totals", seed=1).setting
    made = MadeOnce[list[int]]()
    held = made.get(setting, "a", lambda: [1])

    assert held.made_of[0] is setting.energies
    assert held.made_of[1] is setting.population


def test_who_asks_meanwhile_waits():
    """It is made once, by whoever asks first."""
    setting = plant("totals", seed=1).setting
    made, calls, both = MadeOnce[list[int]](), [], Barrier(2)

    def make():
        calls.append(1)
        sleep(0.05)
        return calls

    def ask():
        both.wait()
        return made.get(setting, "a", make)

    with ThreadPoolExecutor(2) as pool:
        one, other = (each.result() for each in [pool.submit(ask), pool.submit(ask)])

    assert one is other
    assert calls == [1]
