#pragma once

#include "core/objective.hpp"
#include "core/progress.hpp"

namespace pathcond {

/// Newton's method from an evaluated point, which it moves; the steps found by conjugate gradients
/// preconditioned by the diagonal plus the coarse groups, with a line search that never lets F
/// increase. Stops at max |dF/du| / p <= tolerance, when `progress` says so, or when rounding
/// allows no further step (Status::stalled). Every accepted step counts as one sweep.
Status newton(Objective& objective, Point& point, double tolerance, Progress& progress);

}  // namespace pathcond
