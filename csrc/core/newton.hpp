#pragma once

#include "core/box.hpp"
#include "core/objective.hpp"
#include "core/progress.hpp"

namespace pathcond {

/// Newton's method from an evaluated point of the box, which it moves within the box; the steps
/// found by conjugate gradients preconditioned by the diagonal plus the coarse groups, with a line
/// search that never lets F increase. Neurons that F pushes against the edge of the box are left
/// out of a step (projected Newton, Bertsekas 1982). Stops at box.stationarity <= tolerance, when
/// `progress` says so, or when rounding allows no further step (Status::stalled). Every accepted
/// step counts as one sweep.
Status newton(Objective& objective, const Box& box, Point& point, double tolerance,
              Progress& progress);

}  // namespace pathcond
