"""From scores and coins to leakage figures: curves, intervals, lower bounds on epsilon, and what could be shown."""
