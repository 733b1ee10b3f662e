"""Draws of clients on the tiny model, for studies of votes."""

from __future__ import annotations

import pytest

from experiments.studies.voters import Setting, draws


@pytest.fixture(scope="session")
def setting(inputs):
    """Three clients with two windows each, two draws of them."""
    return Setting(
        model=str(inputs.model),
        data=str(inputs.text),
        eval_data=str(inputs.eval_text),
        clients=3,
        windows_per_client=2,
        eval_windows=4,
        seeds=(0, 1),
        sparsity="0.5",
    )


@pytest.fixture(scope="session")
def draw(setting):
    """The first draw."""
    return next(draws(setting))
