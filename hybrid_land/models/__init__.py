"""Models with the `step` interface, and models on disk."""
