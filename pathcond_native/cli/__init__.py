"""The commands behind ``pathcond``, one module per command."""
