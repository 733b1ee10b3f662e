"""Where the ``fedprllm`` command starts: before anything slow is imported, so that Ctrl-C is always answered."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line and return its exit status."""
    try:
        from experiments import cli  # torch and transformers take seconds

        return cli.main()
    except KeyboardInterrupt:
        print("interrupted before anything was begun", file=sys.stderr)
        return 130
