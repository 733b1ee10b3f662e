"""Statistics under differential privacy: clipped residuals of log-energies to a public prior, in a public basis.

One noisy sum leaves the clients. The prior, the basis, the clip and how the noise is spread over directions come from
public text alone; everything after the sum is computed from it and from public text, and costs nothing.
"""
