"""How often each token occurs in a client's text, from the energies that enter block 0.

Where the input of block 0's first matrices (q, k and v) depends on a token alone, the energy of channel j is linear in
the histogram h of the text's tokens: x_j**2 = sum_v h_v e_vj, e_vj the squared input of channel j for token v. That is
exact for models with a norm before attention whose embeddings carry no position: RMSNorm and rotary positions (LLaMA,
Mistral, Qwen, Gemma; e_vj = (gamma_j E_vj)**2 / (mean_j E_vj**2 + epsilon)), also LayerNorm with rotary or ALiBi
positions. It is wrong for learned positions (GPT-2, OPT). Energies come from statistics, or, up to one constant, from
a prune mask. Knows nothing of models: the table e is an argument, and whoever makes it must refuse the others.

There are more tokens than channels, so that many histograms fit and the likeliest is wanted. Counts are taken as
negative binomial: v occurs Poisson(l_v) times, l_v ~ Gamma with mean m_v (the population's) and such that the variance
is `dispersion` times the mean, for texts repeat their words. Given l, the likeliest h minimises

    sum_j (x_j**2 - sum_v h_v e_vj)**2 / (2 s_j**2)  +  sum_v h_v log(h_v / l_v) - h_v + l_v,    s_j = error * x_j**2,

whose solution is h_v = l_v exp(sum_j e_vj y_j / s_j): as many unknowns y as channels, found by Newton's method. Given
h, the mean of l_v is m_v / dispersion + h_v (1 - 1 / dispersion); a few turns of the two (expectation and maximisation)
sharpen the estimate. A row takes memory for vocabulary times channels, and some 25 steps of that times channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

TURNS = 4
MOST_STEPS = 200
DECREMENT = 1e-10  # stop where a Newton step would gain less, in nats
TOTAL_ERROR = 1e-4  # the number of tokens is known; not 0, for the sake of the Hessian's condition


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrior:
    """What is known of tokens beforehand.

    Attributes:
        shares: float64 (vocabulary,), each token's share of text; positive, 1 in all.
        dispersion: variance of a token's count in a text over its mean, at least 1; it grows with the text's length.
    """

    shares: np.ndarray = field(repr=False)
    dispersion: float

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: naming what is outside.
        """
        if self.shares.ndim != 1 or not (self.shares > 0).all() or abs(self.shares.sum() - 1) > 1e-6:
            raise ValueError(f"shares={self.shares.shape} must be one positive share a token, 1 in all")
        if not 1 <= self.dispersion < np.inf:
            raise ValueError(f"dispersion={self.dispersion} must be at least 1 and finite")

    @classmethod
    def of_texts(cls, counts: np.ndarray) -> TokenPrior:
        """Learn from texts of the population.

        Args:
            counts: integers (texts, vocabulary), at least two texts, each as long as the text to be reconstructed.

        Raises:
            ValueError: fewer than two texts, or no tokens.
        """
        if counts.ndim != 2 or len(counts) < 2 or counts.sum() == 0:
            raise ValueError(f"counts={counts.shape} must be (texts, vocabulary) of at least two texts, not all empty")
        smoothed = counts.sum(0) + 0.5  # Jeffreys: tokens that the population never showed may occur
        dispersion = float(counts.var(0, ddof=1).sum() / counts.mean(0).sum())
        return cls(shares=smoothed / smoothed.sum(), dispersion=max(dispersion, 1.0))


def reconstruct(
    energies: np.ndarray,
    table: np.ndarray,
    *,
    prior: TokenPrior,
    tokens: int,
    error: float | np.ndarray,
    is_scale_known: bool,
) -> np.ndarray:
    """Estimate histograms of tokens.

    Args:
        energies: float64 (rows, channels), positive: squared inputs summed over a text's tokens.
        table: float64 (vocabulary, channels), what one token adds; channels that are 0 for all tokens left out.
        prior: what is known of tokens beforehand.
        tokens: how many tokens a text has.
        error: standard deviation of the logarithm of an energy, positive; broadcast against (rows, channels). For
            exact energies take their rounding, such as 1e-6.
        is_scale_known: False where each row's energies are known up to a factor (mask inversion); the factor is then
            estimated from the number of tokens.

    Returns:
        float64 (rows, vocabulary), positive, about ``tokens`` in all.

    Raises:
        ValueError: shapes or ranges do not fit.
    """
    _check(energies, table, prior, tokens)
    errors = np.broadcast_to(np.asarray(error, np.float64), energies.shape)
    if not (errors > 0).all():
        raise ValueError("error must be positive; for exact energies take their rounding, such as 1e-6")
    expected = tokens * prior.shares
    if not is_scale_known:
        energies = energies / scales(energies, table, prior=prior, tokens=tokens, error=error)[:, None]
    # The number of tokens is one more channel, to which every token adds 1.
    full_table = np.column_stack([table, np.ones(len(table))])
    full_energies = np.column_stack([energies, np.full(len(energies), float(tokens))])
    full_errors = np.column_stack([errors, np.full(len(energies), TOTAL_ERROR)])
    found = np.empty((len(energies), len(table)))
    for row, deviation in enumerate(full_errors * full_energies):
        rates = expected
        for _ in range(TURNS):
            found[row] = _likeliest(full_table / deviation, full_energies[row] / deviation, rates)
            rates = expected / prior.dispersion + found[row] * (1 - 1 / prior.dispersion)
    return found


def scales(
    energies: np.ndarray, table: np.ndarray, *, prior: TokenPrior, tokens: int, error: float | np.ndarray
) -> np.ndarray:
    """Estimate the factor by which each row's energies are too large, by generalised least squares.

    After an RMSNorm some weighted sum of the energies counts tokens whatever they are (weights 1 / gamma_j**2), so that
    the factor is known as well as an average over channels. In general the covariance of energies over the population's
    texts of this length says which directions tell.

    Args:
        energies: as for :func:`reconstruct`.
        table: likewise.
        prior: likewise.
        tokens: likewise.
        error: likewise.

    Returns:
        float64 (rows,).

    Raises:
        ValueError: shapes or ranges do not fit, or the estimate is not positive.
    """
    _check(energies, table, prior, tokens)
    expected = tokens * prior.shares
    mean = expected @ table
    # That the total is fixed would take a multiple of mean times mean away, which does not move this estimate.
    between = prior.dispersion * (table * expected[:, None]).T @ table
    found = np.empty(len(energies))
    for row, errors in enumerate(np.broadcast_to(np.asarray(error, np.float64), energies.shape)):
        weights = np.linalg.solve(between + np.diag((errors * mean) ** 2), mean)
        found[row] = energies[row] @ weights / (mean @ weights)
    if not (found > 0).all():
        raise ValueError("energies fit no histogram of the prior's tokens at any scale; is the table another model's?")
    return found


def cosine(estimated: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Compare histograms, broadcast against each other over rows; gives float64 (rows,), 1 for the same up to scale."""
    lengths = np.linalg.norm(estimated, axis=-1) * np.linalg.norm(truth, axis=-1)
    return (estimated * truth).sum(-1) / lengths


def top_recall(estimated: np.ndarray, truth: np.ndarray, *, top: int = 20, among: int = 40) -> np.ndarray:
    """Give the share of a text's ``top`` tokens that are ``among`` as many of the highest estimates.

    Args:
        estimated: float64 (rows, vocabulary), or (1, vocabulary) for a prior.
        truth: counts (rows, vocabulary). Of equal counts the lower token comes first; a token that does not occur is
            never a top one.
        top: how many of the truth.
        among: how many of the estimate.

    Returns:
        float64 (rows,).
    """
    estimated = np.broadcast_to(estimated, truth.shape)
    wanted = np.argsort(-truth, axis=1, kind="stable")[:, :top]
    guessed = np.argsort(-estimated, axis=1, kind="stable")[:, :among]
    occurs = np.take_along_axis(truth, wanted, 1) > 0
    hits = (wanted[:, :, None] == guessed[:, None, :]).any(2) & occurs
    return hits.sum(1) / occurs.sum(1)


def presence(estimated: np.ndarray, planted: np.ndarray, *, prior: TokenPrior, tokens: int) -> np.ndarray:
    """Score whether a token occurs in a text: its estimated count in relation to the population's.

    The logarithm of their ratio, for tokens of unlike shares to be compared; a difference would rank them by share.

    Args:
        estimated: float64 (rows, vocabulary).
        planted: int64 (rows,), the token in question in each row.
        prior: what is known of tokens beforehand.
        tokens: how many tokens a text has.

    Returns:
        float64 (rows,), higher = the token is more likely in the text.
    """
    return np.log(estimated[np.arange(len(estimated)), planted] / (tokens * prior.shares[planted]))


def _check(energies: np.ndarray, table: np.ndarray, prior: TokenPrior, tokens: int) -> None:
    if table.ndim != 2 or energies.ndim != 2 or energies.shape[1] != table.shape[1]:
        raise ValueError(f"energies={energies.shape} must have the channels of table={table.shape}")
    if len(prior.shares) != len(table):
        raise ValueError(f"shares={prior.shares.shape} must be one a row of table={table.shape}")
    if tokens < 1:
        raise ValueError(f"tokens={tokens} must be at least 1")
    if not ((energies > 0) & np.isfinite(energies)).all():
        raise ValueError("energies must be positive and finite")


def _likeliest(table: np.ndarray, energies: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Find the likeliest histogram for Poisson rates; table and energies in units of their errors."""
    dual = np.zeros(table.shape[1])
    value = rates.sum()
    for _ in range(MOST_STEPS):
        counts = rates * np.exp(table @ dual)
        gradient = counts @ table + dual - energies
        step = np.linalg.solve((table * counts[:, None]).T @ table + np.eye(len(dual)), gradient)
        gain = gradient @ step
        if gain < DECREMENT:
            return counts
        length = 1.0
        with np.errstate(over="ignore"):  # a step too long may overflow, and is then shortened
            while length > 1e-12:
                tried = dual - length * step
                found = (rates * np.exp(table @ tried)).sum() + tried @ tried / 2 - energies @ tried
                if found <= value - 1e-4 * length * gain:
                    break
                length /= 2
            else:
                return counts  # rounding leaves nothing to gain
        dual, value = tried, found
    return rates * np.exp(table @ dual)
