"""Every tolerance of the solver's tests, each with its reason.

Objectives and gradients are quoted per row: F/p and max |dF/du| / p. A gap in F itself may be as
large as p times the rounding of log(sum), so that only the quotient means something.
"""

ITERATE = 1e-9
"""Absolute, on u: our cd against the authors' iterates. Their v drifts over 100 sweeps; the
issue promises this number."""

STATIONARITY = 1e-12
"""Absolute, on max |dF/du| / p: the default tol of "auto" and "newton"."""

STATIONARITY_SEEN = 1.1e-12
"""STATIONARITY as an independent evaluation sees it: exp((Bu)_i) with |Bu| up to 100 has a
relative rounding of 1e-14, and so have the shares that make up the gradient."""

GAP = 1e-12
"""Absolute, on (F - F*)/p. At STATIONARITY the gap is far smaller; what is left is the rounding of
log(sum) and of Bu."""

MONOTONE = 4e-15
"""Relative to 1 + max |F|/p, on an increase of F/p between sweeps: about 16 roundings, one or two
for each of the sums, the logarithm and the difference that make up F."""

SAME_OBJECTIVE = 1e-13
"""Relative to 1 + |F|/p, on F/p by the solver against F/p by NumPy: the two sum up to 1e5 terms
in a different order."""

OPTIMUM = 1e-8
"""Absolute, on u or v at two optima of one well-conditioned problem: STATIONARITY divided by the
smallest curvature per row, which is above 1e-4 for the problems used with it."""

EXACT_STEP = 1e-10
"""Absolute, on u after a few sweeps of cd against numpy.roots, whose companion matrix loses a few
digits where the weights of a neuron differ by powers of ten."""

ROOTS_FAR_APART = 1e-7
"""Relative to 1 + |u|, on F/p by which our cd may be below numpy.roots after a few sweeps: where
weights of one neuron lie ten decades apart the roots keep six digits, and F is that flat."""

FINITE_DIFFERENCE = 1e-7
"""Absolute, on max |dF/du| / p by central differences with a step of 1e-5: truncation 1e-10 and
rounding of F/p divided by the step, 1e-11, with room for |F|/p of 100."""

ROUNDING = 1e-13
"""Relative: the same sums taken in another order (rows permuted, rows added first)."""

POSTERIOR = 1e-9
"""Absolute, on the shares pi of two optima. pi is unique even where u is not; F is at least
1/2-strongly convex in pi, in the 1-norm, so the square root of the rounding of F/p would do."""

LONG_SUM = 1e-12
"""Absolute, on u after one sweep of cd from the optimum: every step divides sums of up to 1e4
equal terms whose roundings, all of one sign, add up."""
