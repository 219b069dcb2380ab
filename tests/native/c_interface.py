"""`pathcond/pathcond.h` in the words of ctypes."""

import ctypes
from ctypes import POINTER, c_char, c_double, c_int, c_int32, c_int64, c_size_t, c_void_p

import numpy as np

OK, INVALID_INPUT, NOT_CANONICAL, OUT_OF_MEMORY, INTERRUPTED, FAILED = range(6)
TYPES = {"int8": 1, "int32": 2, "int64": 3, "float32": 4, "float64": 5}
AUTO, CD, NEWTON = range(3)
CONVERGED, MAX_SWEEPS, STOPPED_BY_CALLBACK, STALLED = range(4)

Callback = ctypes.CFUNCTYPE(c_int, c_int64, c_double, c_double, c_void_p)
Poll = ctypes.CFUNCTYPE(c_int, c_void_p)


class Problem(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("rows", c_int64),
        ("columns", c_int64),
        ("entries", c_int64),
        ("index_type", c_int32),
        ("value_type", c_int32),
        ("weight_type", c_int32),
        ("indptr", c_void_p),
        ("indices", c_void_p),
        ("values", c_void_p),
        ("g", c_void_p),
    ]

    @classmethod
    def of(cls, B, g):
        """B a scipy CSC matrix; the arrays must stay alive and are kept with the problem."""
        problem = cls(
            ctypes.sizeof(cls),
            *B.shape,
            len(B.indices),
            TYPES[B.indices.dtype.name],
            TYPES[B.data.dtype.name],
            TYPES[g.dtype.name],
            B.indptr.ctypes.data,
            B.indices.ctypes.data,
            B.data.ctypes.data,
            g.ctypes.data,
        )
        problem.arrays = B, g
        return problem


class Options(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("method", c_int32),
        ("threads", c_int32),
        ("tolerance", c_double),
        ("max_sweeps", c_int64),
        ("max_scale", c_double),
        ("u0", POINTER(c_double)),
        ("callback", Callback),
        ("poll", Poll),
        ("user_data", c_void_p),
    ]


class LaterOptions(Options):
    """What they may become."""

    _fields_ = [("new", c_int64)]


class Solution(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("u", POINTER(c_double)),
        ("frozen", POINTER(ctypes.c_uint8)),
        ("objective", c_double),
        ("initial_objective", c_double),
        ("gradient_norm", c_double),
        ("passes", c_double),
        ("sweeps", c_int64),
        ("rows", c_int64),
        ("merged_rows", c_int64),
        ("status", c_int32),
        ("message", c_char * 252),
    ]

    @classmethod
    def of(cls, neurons):
        """Room for a solution; u and frozen are filled with what no solution contains."""
        solution = cls(ctypes.sizeof(cls))
        solution.arrays = np.full(neurons, np.nan), np.full(neurons, 77, np.uint8)
        solution.u = solution.arrays[0].ctypes.data_as(POINTER(c_double))
        solution.frozen = solution.arrays[1].ctypes.data_as(POINTER(ctypes.c_uint8))
        return solution


class Library:
    """The shared library."""

    def __init__(self, path):
        self._library = ctypes.CDLL(str(path))
        self._library.pathcond_version.restype = ctypes.c_char_p
        self.solve = self._library.pathcond_solve
        self.solve.argtypes = [POINTER(Problem), POINTER(Options), POINTER(Solution)]
        self._init = self._library.pathcond_options_init
        self._init.argtypes = [POINTER(Options), c_size_t]
        self._init.restype = None

    def version(self):
        return self._library.pathcond_version().decode()

    def options(self, **values):
        options = Options()
        self._init(options, ctypes.sizeof(options))
        for name, value in values.items():
            setattr(options, name, value)
        return options
