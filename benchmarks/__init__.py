"""Benchmarks; each checks the answer that it times."""
