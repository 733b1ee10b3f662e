"""Games beside membership: whose domain, which client again, which tokens; each a game of its own with its own figures.

Every game plays on real decisions and real sessions, over windows whose statistics are kept as for membership.
"""

from __future__ import annotations

MEMBERSHIP = "membership"
GAMES = (MEMBERSHIP, "domain", "linkage", "reconstruction")

__all__ = ["GAMES", "MEMBERSHIP"]
