"""A few of the random networks of `random_checks`, whose command checks thousands."""

import collections
import warnings

import pytest
from random_checks import run


@pytest.mark.parametrize("first", [0, 4])
def test_random_networks(first):
    counts: collections.Counter[str] = collections.Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about batches of one value
        for what, became in run(range(first, first + 2), collections.Counter()):
            assert "FAILED" not in became and "not converged" not in became, f"{what}: {became}"
            counts[became] += 1
    assert counts["rescaled"] > 15
