"""Exceptions of the package: every one is a `PathcondError`, and also the built-in it resembles."""

__all__ = [
    "DeviceError",
    "DeviceMemoryError",
    "InvalidInputError",
    "OutOfMemoryError",
    "OutputError",
    "PathcondError",
    "TraceError",
    "VerificationError",
]


class PathcondError(Exception):
    """Base class of every exception raised on purpose by this package."""


class InvalidInputError(PathcondError, ValueError):
    """An argument is unusable; the message says which, what was expected and what came."""


class DeviceError(PathcondError, RuntimeError):
    """The CUDA runtime failed during a solve; nothing has been changed."""


class OutOfMemoryError(PathcondError, MemoryError):
    """Memory ran out; nothing has been changed."""


class DeviceMemoryError(OutOfMemoryError):
    """A device has too little memory for a solve; nothing has been changed."""


class TraceError(PathcondError, RuntimeError):
    """The model's operator graph could not be captured; the model is untouched."""


class VerificationError(PathcondError, RuntimeError):
    """A rescaling changed the function; every parameter was restored bit for bit."""


class OutputError(PathcondError, OSError):
    """A file could not be written; what was there before is still there."""
