"""The experiments of arXiv 2602.19799, each one command: ``python -m benchmarks.paper.figure1``."""
