"""What a job cuts out of what was seen of a block."""

from __future__ import annotations

import numpy as np

from experiments.audit.jobs import Job, Truth
from experiments.audit.victims import SeenBlock


def test_what_colluders_submitted_is_taken_off_the_totals() -> None:
    """The server and its colluders see the totals of the others."""
    honest, colluders = np.array([[[0, 2], [1, 2]]], np.int32), np.array([[[1, 0], [1, 1]]], np.int32)
    totals = {"w": honest + colluders}
    seen = SeenBlock(masks=None, totals=totals, released=totals, choice=totals, colluders={"w": colluders})
    job = Job(
        name="less", what="less", configuration="additive", kind="totals", clients=2, noise_sd=0.0,
        truth=Truth(np.ones((1, 1), np.int8), np.zeros(1, np.int64)),
    )  # fmt: skip
    assert np.array_equal(job.observed({"additive": seen}, "w"), honest)
