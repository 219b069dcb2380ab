"""diag(G) by enumerating paths: scalars are lists of (coefficient, parameters on the path)."""

import itertools

import numpy as np

Path = tuple[float, tuple[int, ...]]


def ones(*shape: int) -> np.ndarray:
    """Inputs: each starts one path."""
    x = np.empty(shape, dtype=object)
    for index in np.ndindex(*shape):
        x[index] = [(1.0, ())]
    return x


def times(paths: list[Path], coefficient: float, *parameters: int) -> list[Path]:
    return [(c * coefficient, p + parameters) for c, p in paths]


class Numbering:
    """Row numbers of every parameter, by name."""

    def __init__(self, model) -> None:
        self.rows, self.model, start = {}, model, 0
        for name, x in model.named_parameters():
            self.rows[name] = np.arange(start, start + x.numel()).reshape(x.shape)
            start += x.numel()
        self.theta = np.concatenate(
            [x.detach().double().numpy().reshape(-1) for x in model.parameters()]
        )

    def linear(self, x: np.ndarray, layer: str) -> np.ndarray:
        rows = self.rows[f"{layer}.weight"]
        out = np.empty(len(rows), dtype=object)
        for o, row in enumerate(rows):
            out[o] = [q for i, paths in enumerate(x) for q in times(paths, 1.0, row[i])]
        return self.bias(out, layer)

    def bias(self, out: np.ndarray, layer: str) -> np.ndarray:
        for o, row in enumerate(self.rows.get(f"{layer}.bias", [])):
            for index in np.ndindex(*out.shape[1:]):
                out[(o, *index)] = out[(o, *index)] + [(1.0, (row,))]
        return out

    def conv2d(self, x: np.ndarray, layer: str, padding: int = 0, groups: int = 1) -> np.ndarray:
        rows = self.rows[f"{layer}.weight"]
        n_out, per_group, k, _ = rows.shape
        sizes = [n + 2 * padding - k + 1 for n in x.shape[1:]]
        out = np.empty((n_out, *sizes), dtype=object)
        for o, r, c in np.ndindex(*out.shape):
            out[o, r, c] = []
            for i, a, b in np.ndindex(per_group, k, k):
                row, column = r + a - padding, c + b - padding
                if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                    source = x[o // (n_out // groups) * per_group + i, row, column]
                    out[o, r, c] += times(source, 1.0, rows[o, i, a, b])
        return self.bias(out, layer)

    def batch_norm(self, x: np.ndarray, layer: str) -> np.ndarray:
        module = self.model.get_submodule(layer)
        s = (module.running_var.double() + module.eps).sqrt().numpy()
        mu = module.running_mean.double().numpy()
        out = np.empty_like(x)
        for index in np.ndindex(*x.shape):
            o = index[0]
            row = self.rows[f"{layer}.weight"][o]
            out[index] = times([*x[index], (-mu[o], ())], 1 / s[o], row)
        return self.bias(out, layer)

    def affine(self, shape: tuple[int, ...], layer: str) -> np.ndarray:
        """A normalisation's γ·1 + β along the first axis."""
        out = np.empty(shape, dtype=object)
        for index in np.ndindex(*shape):
            out[index] = [(1.0, (self.rows[f"{layer}.weight"][index[0]],))]
        return self.bias(out, layer)

    def embedding(self, layer: str) -> np.ndarray:
        """The sum of all rows, as a one-hot input of ones sees them."""
        rows = self.rows[f"{layer}.weight"]
        out = np.empty(rows.shape[1], dtype=object)
        for d in range(rows.shape[1]):
            out[d] = [(1.0, (row,)) for row in rows[:, d]]
        return out

    def bilinear(self, x: np.ndarray, y: np.ndarray, layer: str) -> np.ndarray:
        rows = self.rows[f"{layer}.weight"]
        out = np.empty(len(rows), dtype=object)
        for o in range(len(rows)):
            out[o] = [
                (c * d, (*p, *q, rows[o, i, j]))
                for i, j in np.ndindex(*rows.shape[1:])
                for c, p in x[i]
                for d, q in y[j]
            ]
        return self.bias(out, layer)

    def gain(self, x: np.ndarray, name: str) -> np.ndarray:
        """x times a parameter, entry by entry along the first axis."""
        out = np.empty_like(x)
        for index in np.ndindex(*x.shape):
            out[index] = times(x[index], 1.0, self.rows[name][index[0]])
        return out

    def diag_g(self, outputs: np.ndarray) -> np.ndarray:
        g = np.zeros(len(self.theta))
        for coefficient, parameters in itertools.chain(*outputs.reshape(-1)):
            for k, i in enumerate(parameters):
                rest = [j for n, j in enumerate(parameters) if n != k]
                g[i] += (coefficient * np.prod(self.theta[rest])) ** 2
        return g


def pool2d(x: np.ndarray, k: int, stride: int, padding: int, average: bool) -> np.ndarray:
    """Square pooling; averages count the padding."""
    size = (x.shape[1] + 2 * padding - k) // stride + 1
    out = np.empty((len(x), size, size), dtype=object)
    for o, r, c in np.ndindex(*out.shape):
        out[o, r, c] = []
        for a, b in np.ndindex(k, k):
            row, column = r * stride + a - padding, c * stride + b - padding
            if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                out[o, r, c] += times(x[o, row, column], 1 / k**2 if average else 1.0)
    return out


def add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out = np.empty_like(a)
    for index in np.ndindex(*a.shape):
        out[index] = a[index] + b[index]
    return out


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Every path of a with every path of b."""
    out = np.empty_like(a)
    for index in np.ndindex(*a.shape):
        out[index] = [(c * d, p + q) for c, p in a[index] for d, q in b[index]]
    return out


def mapped(x: np.ndarray, matrix: np.ndarray, axis: int) -> np.ndarray:
    """A constant linear map along one axis; matrix is (out, in)."""
    x = np.moveaxis(x, axis, 0)
    out = np.empty((len(matrix), *x.shape[1:]), dtype=object)
    for index in np.ndindex(*out.shape):
        row, rest = matrix[index[0]], index[1:]
        out[index] = [q for i, w in enumerate(row) if w for q in times(x[(i, *rest)], w)]
    return np.moveaxis(out, 0, axis)
