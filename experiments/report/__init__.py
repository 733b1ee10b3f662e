"""One report of pruning runs, audits and sweeps: a page that opens offline, and the same as Markdown with pictures.

Reads result files alone (``result.json``, ``audit.json``, ``sweep.json``, and saved votes and prune masks beside them);
runs nothing, measures nothing, and knows no model and no text.
"""
