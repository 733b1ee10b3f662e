"""Models: checkpoints on disk, networks streamed block by block, and their prunable matrices."""
