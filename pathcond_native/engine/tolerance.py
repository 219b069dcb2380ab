"""How far outputs may move when weights are rounded once."""

__all__ = ["TOLERANCE"]

# Relative to the largest output. Rescaled weights are rounded once, so the outputs of a sound
# rescaling move by a few roundings per layer; a wrong one moves them by order 1.
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 2e-2, "bfloat16": 1e-1}
