"""Refuses to be imported into a sub-interpreter, where the native core would wait forever.

The core's bindings share one state per process and take the lock of the main interpreter.
"""

from importlib import import_module


def _in_subinterpreter() -> bool:
    for name in ("_interpreters", "_xxsubinterpreters"):  # Python 3.13 and newer; older
        try:
            interpreters = import_module(name)
        except ImportError:
            continue
        return bool(interpreters.get_current() != interpreters.get_main())
    return False


if _in_subinterpreter():
    raise ImportError(
        "pathcond_native cannot be used in a sub-interpreter; use threads (the lock is released "
        "while the solver works) or processes"
    )
