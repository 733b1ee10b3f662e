from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from attacks.token_histogram import TokenPrior, cosine, presence, reconstruct, scales, top_recall

VOCABULARY, CHANNELS, TOKENS = 150, 60, 200


def squared_norms(seed: int, *, scale_varies: bool = True) -> np.ndarray:
    """Make a table of token energies as an RMSNorm would: rows of random directions, then a factor a channel."""
    generator = np.random.default_rng(seed)
    directions = generator.standard_normal((VOCABULARY, CHANNELS)) ** 2
    gamma = generator.uniform(0.5, 2, CHANNELS) if scale_varies else np.ones(CHANNELS)
    return directions / directions.mean(1, keepdims=True) * gamma**2


def texts(seed: int, count: int) -> np.ndarray:
    """Draw histograms of Zipf's tokens, each text with favourites of its own."""
    generator = np.random.default_rng(seed)
    shares = 1 / np.arange(1, VOCABULARY + 1)
    own = generator.gamma(0.5, 2, (count, VOCABULARY)) * shares
    return np.stack([generator.multinomial(TOKENS, row / row.sum()) for row in own])


@pytest.fixture(scope="module")
def prior() -> TokenPrior:
    """Learn from the same population."""
    return TokenPrior.of_texts(texts(1, 400))


def test_exact_energies_give_the_histogram_away(prior: TokenPrior) -> None:
    """From exact energies the estimate is near the truth, where the population's histogram is far from it."""
    truth, table = texts(2, 6), squared_norms(3)

    found = reconstruct(truth @ table, table, prior=prior, tokens=TOKENS, error=1e-6, is_scale_known=True)

    assert cosine(found, truth).min() > 0.95
    assert cosine(prior.shares[None], truth).mean() < 0.85
    assert (
        top_recall(found, truth, top=10, among=20).mean()
        > top_recall(prior.shares[None], truth, top=10, among=20).mean()
    )
    assert np.allclose(found @ table, truth @ table, rtol=1e-4)


def test_the_estimate_is_the_likeliest_for_poisson_counts(prior: TokenPrior) -> None:
    """Without over-dispersion the estimate minimises the stated sum, as a general minimiser finds it."""
    table, truth = squared_norms(4)[:8, :3], np.array([[9, 0, 4, 1, 0, 2, 0, 4]])
    shares = np.arange(8, 0, -1) / 36
    energies = truth @ table * np.exp([[0.1, -0.1, 0.05]])

    found = reconstruct(
        energies, table, prior=TokenPrior(shares=shares, dispersion=1.0), tokens=20, error=0.1, is_scale_known=True
    )

    def stated(logarithms: np.ndarray) -> float:
        counts = np.exp(logarithms)
        misfit = ((energies[0] - counts @ table) / (0.1 * energies[0])) ** 2
        total = ((20 - counts.sum()) / (20 * 1e-4)) ** 2
        return float((misfit.sum() + total) / 2 + (counts * np.log(counts / (20 * shares)) - counts).sum())

    least = minimize(stated, np.log(20 * shares), method="BFGS", options={"gtol": 1e-5, "maxiter": 5000})
    assert stated(np.log(found[0])) == pytest.approx(least.fun, abs=1e-4)
    assert found[0] == pytest.approx(np.exp(least.x), rel=0.01)


def test_over_dispersion_sharpens_the_estimate(prior: TokenPrior) -> None:
    """With texts that repeat their words, taking that into account comes nearer to the truth."""
    truth, table = texts(2, 20), squared_norms(3)[:, :25]
    flat = TokenPrior(shares=prior.shares, dispersion=1.0)
    energies = truth @ table

    def measured(of: TokenPrior) -> float:
        found = reconstruct(energies, table, prior=of, tokens=TOKENS, error=0.01, is_scale_known=True)
        return float(cosine(found, truth).mean())

    assert measured(prior) > measured(flat)


def test_larger_errors_leave_the_estimate_nearer_to_the_prior(prior: TokenPrior) -> None:
    """What is known worse moves the estimate less, down to the population's histogram."""
    truth, table = texts(2, 4), squared_norms(3)

    estimates = [
        reconstruct(truth @ table, table, prior=prior, tokens=TOKENS, error=error, is_scale_known=True)
        for error in (0.001, 0.1, 1e6)
    ]

    near, far, none = (np.linalg.norm(found - TOKENS * prior.shares, axis=1) for found in estimates)
    assert (near > far).all()
    assert (none < 1e-6).all()


def test_an_unknown_channel_changes_nothing(prior: TokenPrior) -> None:
    """A channel of infinite error is as good as absent."""
    truth, table = texts(2, 1), squared_norms(3)
    energies = truth @ table
    energies[:, 5] *= 100
    errors = np.full(CHANNELS, 0.01)
    errors[5] = 1e9
    kept = np.arange(CHANNELS) != 5

    found = reconstruct(energies, table, prior=prior, tokens=TOKENS, error=errors, is_scale_known=True)
    without = reconstruct(
        energies[:, kept], table[:, kept], prior=prior, tokens=TOKENS, error=0.01, is_scale_known=True
    )

    assert np.allclose(found, without, atol=1e-4)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 40.0])
def test_an_unknown_factor_is_estimated(prior: TokenPrior, factor: float) -> None:
    """Energies known up to a factor give the same histograms as energies known outright."""
    truth, table = texts(2, 3), squared_norms(3)
    energies = truth @ table * np.exp(0.01 * np.random.default_rng(5).standard_normal((3, CHANNELS)))
    given = {"prior": prior, "tokens": TOKENS, "error": 0.01}

    found = reconstruct(factor * energies, table, is_scale_known=False, **given)
    known = reconstruct(energies, table, is_scale_known=True, **given)

    assert np.allclose(scales(factor * energies, table, **given) / factor, 1, atol=0.005)
    assert np.allclose(cosine(found, truth), cosine(known, truth), atol=0.01)


def test_a_planted_token_is_told(prior: TokenPrior) -> None:
    """The score of a rare token is higher in texts that hold it than in the same texts without it."""
    table, rare = squared_norms(3), VOCABULARY - 1
    absent = texts(6, 20)
    absent[:, rare] = 0
    present = absent.copy()
    present[np.arange(20), absent.argmax(1)] -= 3
    present[:, rare] = 3
    planted = np.full(20, rare)

    scores = [
        presence(
            reconstruct(rows @ table, table, prior=prior, tokens=TOKENS, error=0.01, is_scale_known=True),
            planted,
            prior=prior,
            tokens=TOKENS,
        )
        for rows in (absent, present)
    ]

    assert (scores[1][:, None] > scores[0][None]).mean() > 0.95


def test_presence_is_the_ratio_to_the_prior() -> None:
    """An estimate as large as the population's scores 0, one e times as large 1."""
    prior = TokenPrior(shares=np.array([0.5, 0.25, 0.25]), dispersion=1.0)
    estimated = np.array([[5.0, 2.5, 2.5], [5.0, 2.5 * np.e, 1.0]])

    assert np.allclose(presence(estimated, np.array([0, 1]), prior=prior, tokens=10), [0, 1])


def test_prior_of_texts_counts_shares_and_dispersion() -> None:
    """Shares are smoothed counts; dispersion is summed variance over summed mean, never below 1."""
    uneven = TokenPrior.of_texts(np.array([[8, 0, 0], [0, 8, 0]]))
    even = TokenPrior.of_texts(np.array([[4, 4, 0], [4, 4, 0]]))

    assert np.allclose(uneven.shares, np.array([8.5, 8.5, 0.5]) / 17.5)
    assert uneven.dispersion == pytest.approx(8.0)
    assert even.dispersion == 1.0


def test_top_recall_counts_what_occurs_only() -> None:
    """Tokens that do not occur are no top tokens, and of equal counts the lower token is first."""
    truth = np.array([[3, 1, 1, 0], [2, 0, 0, 0]])
    estimated = np.array([[9.0, 1.0, 5.0, 4.0]])

    assert top_recall(estimated, truth, top=2, among=2).tolist() == [0.5, 1.0]
    assert top_recall(estimated, truth, top=3, among=2).tolist() == [pytest.approx(2 / 3), 1.0]


def test_what_does_not_fit_is_refused(prior: TokenPrior) -> None:
    """Each wrong argument is named."""
    table, energies = squared_norms(3), texts(2, 2) @ squared_norms(3)
    given = {"prior": prior, "tokens": TOKENS, "error": 0.01, "is_scale_known": True}

    with pytest.raises(ValueError, match="must have the channels of table"):
        reconstruct(energies[:, 1:], table, **given)
    with pytest.raises(ValueError, match="must be one a row of table"):
        reconstruct(energies, table[1:], **given)
    with pytest.raises(ValueError, match="tokens=0 must be at least 1"):
        reconstruct(energies, table, **(given | {"tokens": 0}))
    with pytest.raises(ValueError, match="energies must be positive"):
        reconstruct(energies - energies.max(), table, **given)
    with pytest.raises(ValueError, match="error must be positive"):
        reconstruct(energies, table, **(given | {"error": 0.0}))
    with pytest.raises(ValueError, match="must be one positive share a token"):
        TokenPrior(shares=np.array([0.5, 0.6]), dispersion=1.0)
    with pytest.raises(ValueError, match=r"dispersion=0\.5 must be at least 1"):
        TokenPrior(shares=np.array([0.5, 0.5]), dispersion=0.5)
    with pytest.raises(ValueError, match="must be \\(texts, vocabulary\\) of at least two"):
        TokenPrior.of_texts(np.array([[1, 2]]))


def test_energies_of_another_table_are_refused_where_the_scale_says_so() -> None:
    """A scale that comes out negative is no scale."""
    table = np.array([[1.0, 2.0], [2.0, 3.0]])  # tokens are counted by the second channel less the first
    prior = TokenPrior(shares=np.array([0.5, 0.5]), dispersion=1.0)

    with pytest.raises(ValueError, match="at any scale"):
        scales(np.array([[10.0, 1.0]]), table, prior=prior, tokens=10, error=1e-3)
