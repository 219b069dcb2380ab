"""Models in files: read, rescaled, and written back in the same format.

`registry` finds the format; one module per format; `atomic` writes.
"""
