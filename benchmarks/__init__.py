"""Benchmarks, one per room: `python -m benchmarks.NAME [--json]`."""
