"""Audits: membership inference on what each adversary of a run really sees."""
