"""`additive`: sums under pairwise and self masks, which survive dropouts and a lying server."""
