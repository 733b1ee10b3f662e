"""The command line and what it needs: configurations, benchmarks, and the built-in demo."""
