"""From scores and coins to leakage figures: curves, intervals, lower bounds on epsilon, and what could be shown.

    game = Game("window-replace", "server")
    strongest, *others = leakage_reports({"blind": blind, "whitened": whitened}, game=game, claim=None, level=0.05, ...)

Scores are `samples.Samples`: higher says that a coin's first candidate is in. `report` makes reports of them, each
figure with its interval or with the reason why it has none.
"""
