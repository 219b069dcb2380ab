"""The commands behind ``python -m pathcond_native``, one module per command."""
