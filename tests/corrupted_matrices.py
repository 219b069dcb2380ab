"""Matrices whose arrays were replaced behind SciPy's back, each solved in a process of its own.

Reading out of bounds need not raise, it may also end the process. As a script: prints, as JSON,
what every case came to with every method.
"""

import json
import os
import tempfile

import numpy as np
import scipy.sparse as sp

CASES = {
    "row too large": {"indices": [0, 1, 1, 4]},
    "row far too large": {"indices": [0, 1, 1, 2**31 - 1]},
    "negative row": {"indices": [0, 1, -1, 2]},
    "64-bit row": {"indices": [0, 1, 1, 2**40]},
    "most negative row": {"indices": [0, 1, 1, -(2**63)]},
    "largest row alone": {"indptr": [0, 1, 1], "indices": [2**63 - 1], "data": [1.0]},
    "strides beyond 64 bits": {"indices": [0, 2**63 - 1, 1, -(2**63)]},
    "decreasing indptr": {"indptr": [0, 4, 2]},
    "indptr beyond the entries": {"indptr": [0, 2, 5]},
    "32-bit indptr far beyond the entries": {"indptr": np.array([0, 2, 2**31 - 1], np.int32)},
    "64-bit indptr far beyond the entries": {"indptr": [0, 2, 2**62]},
    "indptr beyond the entries, then back": {"indptr": [0, 2**40, 4]},
    "negative indptr": {"indptr": [0, -2, 4]},
    "indptr not from 0": {"indptr": [1, 2, 4]},
    "negative start": {"indptr": [-4, 0, 4]},
    "too few indices": {"indices": [0, 1]},
    "too few values": {"data": [1.0]},
    "no values": {"data": np.empty(0)},
    "empty indptr": {"indptr": np.empty(0, np.int32)},
    "indptr for one column": {"indptr": [0, 2]},
    "indptr for three columns": {"indptr": [0, 2, 4, 4]},
    "fractional indices": {"indices": [0.0, 1.0, 1.0, 2.5]},
    "fractional indptr": {"indptr": [0.0, 2.5, 4.0]},
    "two-dimensional values": {"data": np.ones((4, 1))},
    "two-dimensional indices": {"indices": [[0], [1], [1], [2]]},
    "two-dimensional indptr": {"indptr": [[0, 2, 4]]},
    "complex values": {"data": np.ones(4) * 1j},
    "values that are objects": {"data": np.array([1, -1, 1, None])},
    "infinite value": {"data": [1, -1, np.inf, -1]},
}


def verdict(arrays, method):
    import pathcond_native as pc

    B = sp.csc_array(np.array([[1, 0], [-1, 1], [0, -1], [0, 0]]))
    for name, array in arrays.items():
        setattr(B, name, np.asarray(array))
    try:
        pc.solve(B, [1.0, 2.0, 3.0, 4.0], method=method)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"


def in_a_process(task, *args):
    with tempfile.TemporaryFile("w+") as answer:
        child = os.fork()
        if child == 0:
            answer.write(task(*args))
            answer.flush()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        answer.seek(0)
        return answer.read() if status == 0 else f"ended with status {status}"


if __name__ == "__main__":
    verdicts = {
        f"{case}, {method}": in_a_process(verdict, arrays, method)
        for case, arrays in CASES.items()
        for method in ("auto", "cd", "newton")
    }
    print(json.dumps(verdicts))
