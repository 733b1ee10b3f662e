"""Room of ``fedprllm plan``: what a run will cost and promise, told before an hour is spent."""
