"""Attacks: what an adversary can tell about private text from what it sees, and how sure one can be of that figure.

Arrays of observations in, scores and leakage figures out. Knows nothing of models, protocols, files or command lines.
"""
