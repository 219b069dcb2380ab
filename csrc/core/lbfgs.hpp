#pragma once

#include "core/objective.hpp"
#include "core/progress.hpp"

namespace pathcond {

/// Limited-memory BFGS from an evaluated point, which it moves. Its initial matrix is the diagonal
/// plus the coarse groups, so that it only has to learn what these leave. One pass over the merged
/// weights per step, which counts as one sweep; F never increases. Stops like `newton`.
Status lbfgs(Objective& objective, Point& point, double tolerance, Progress& progress);

}  // namespace pathcond
