"""What a target of differential privacy accepts."""

from __future__ import annotations

from typing import Any

import pytest

from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy.target import PrivacyTarget

GOOD: dict[str, Any] = {"place": "central", "adjacency": "client-replace", "delta": 1e-5, "epsilon": 3.0}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"place": "none"}, "dp=none must be one of none, central, distributed"),
        ({"noise": "laplace"}, "noise=laplace must be one of skellam, discrete-gaussian, gumbel"),
        ({"adjacency": "client"}, "adjacency=client must be one of client-zero-out"),
        ({"delta": 0.0}, "delta=0.0 must be"),
        ({"delta": 1.0}, "delta=1.0 must be"),
        ({"epsilon": 0.0}, "epsilon=0.0 must be"),
        ({"epsilon": None}, "give either epsilon, which finds the noise, or noise_multiplier"),
        ({"noise_multiplier": 1.0}, "give either epsilon"),
        ({"epsilon": None, "noise_multiplier": 1e-7}, "noise_multiplier=1e-07 must be between 1e-6 and 1e6"),
        ({"epsilon": None, "noise_multiplier": float("nan")}, "noise_multiplier=nan must be between"),
        ({"noise": "gumbel", "place": "distributed"}, "noise=gumbel does not go with dp=distributed"),
        ({"noise": "gumbel", "epsilon": None, "noise_multiplier": 1.0}, "noise=gumbel takes epsilon"),
    ],
)
def test_bad_targets_are_refused(changes: dict[str, Any], match: str) -> None:
    """The message names the field."""
    with pytest.raises(InputError, match=match):
        PrivacyTarget(**(GOOD | changes))


def test_the_adversary_follows_from_who_adds_noise_and_the_protocol() -> None:
    """Additive holds against colluders, encryption against the server alone, central noise against readers."""
    central = PrivacyTarget(**GOOD)
    shared = PrivacyTarget(**(GOOD | {"place": "distributed"}))

    assert central.adversary("plain", assumed_colluders=0) == "readers of the output; the server is trusted"
    assert shared.adversary("additive", assumed_colluders=2) == "server with 2 colluding clients"
    assert shared.adversary("bfv", assumed_colluders=2) == shared.adversary("ckks", assumed_colluders=2)
    assert shared.adversary("bfv", assumed_colluders=2) == "the server alone, if it follows the protocol"
    with pytest.raises(InputError, match="dp=distributed does not go with protocol=plain"):
        shared.adversary("plain", assumed_colluders=1)


def test_parties_agree_on_every_field() -> None:
    """What differs between two targets shows in what they bind."""
    changed = [{"place": "distributed"}, {"adjacency": "client-zero-out"}, {"delta": 1e-6}, {"epsilon": 1.0}]
    changed += [{"noise": "discrete-gaussian"}, {"epsilon": None, "noise_multiplier": 3.0}, {}]

    assert len({str(PrivacyTarget(**(GOOD | change)).public()) for change in changed}) == len(changed)
