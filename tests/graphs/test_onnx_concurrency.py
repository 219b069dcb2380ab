"""Different and equal graphs rescaled at the same time by eight threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from small_graphs import convolutions, mlp

import pathcond_native as pc


def refused():
    """A graph that cannot be rescaled, since a weight is NaN."""
    model = mlp()
    model.graph.initializer[0].raw_data = np.full(20, np.nan, np.float32).tobytes()
    return model


def outcome(build):
    """The rescaled graph, byte by byte, or what it was refused for."""
    model = build()
    try:
        pc.rescale_onnx(model)
    except pc.PathcondError as error:
        return type(error), str(error)
    return model.SerializeToString(deterministic=True)


def test_eight_threads_rescale_graphs():
    builds = [mlp, convolutions, refused] * 8
    alone = {build: outcome(build) for build in builds}
    assert alone[refused][0] is pc.InvalidInputError
    with ThreadPoolExecutor(8) as pool:
        for build, found in zip(builds, pool.map(outcome, builds), strict=True):
            assert found == alone[build]
