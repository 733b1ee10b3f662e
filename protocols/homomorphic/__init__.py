"""`bfv` and `ckks`: sums under homomorphic encryption, with one secret key that every client holds."""
