#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "core/box.hpp"
#include "core/step.hpp"
#include "cuda/lane.hpp"

/// Steps of a sweep on a device, see `SweepPlan`, one block of threads each: the neurons of a step
/// are few beside the weights that they read.
namespace pathcond::cuda {

/// How far a sweep has come, for the next step and for the host.
struct SweepProgress {
  double total;
  double gradient_norm, change;
  std::int64_t steps;  ///< taken; a step that is not the next one does nothing
};

/// Arrays over neurons, in the problem's order, and over the neurons of the current step.
struct SweepArrays {
  double rows;  ///< p
  const double *leave_only, *enter_only, *degree;
  double *u, *x, *y;
  const std::int32_t* group;             ///< of a neuron
  const std::int32_t *out_ptr, *in_ptr;  ///< of a group, in the two below
  const std::int64_t *out, *in;          ///< a neuron's place in a half-sum is this plus its number
  const double* half;
  double *leaving, *entering, *t, *before;  ///< of the neurons of a step; total before its own
  SweepProgress* progress;
};

/// What leaves and enters one neuron.
struct Flow {
  double leaving, entering, share;
};

/// O_h and I_h of the neurons of a step, into its arrays.
template <class Lane>
PATHCOND_KERNEL void take_flows(const Lane& lane, const SweepArrays& all,
                                const std::int32_t* neurons, int count) {
  lane.for_each(count, [&](int i) {
    const std::int32_t k = neurons[i], g = all.group[k];
    double leaving = all.leave_only[k], entering = all.enter_only[k];
    for (auto e = all.out_ptr[g]; e < all.out_ptr[g + 1]; ++e) leaving += all.half[all.out[e] + k];
    for (auto e = all.in_ptr[g]; e < all.in_ptr[g + 1]; ++e) entering += all.half[all.in[e] + k];
    all.leaving[i] = leaving * all.x[k];
    all.entering[i] = entering * all.y[k];
  });
}

/// `LevelSweep::step`: the exact step of all neurons at once.
struct LevelStepKernel {
  struct Shared {};

  SweepArrays all;
  const std::int32_t* neurons;
  int count;
  std::int64_t number;  ///< of the step

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    const SweepProgress before = *all.progress;
    if (before.steps != number) return;
    take_flows(lane, all, neurons, count);
    const auto flow = [&](int i) {
      return Flow{all.leaving[i], all.entering[i], all.degree[neurons[i]] / all.rows};
    };
    const Touched touched =
        lane.fold(count, Touched{}, flow, [&](int, const Flow& f, Touched& part) {
          part.add(f.leaving + f.entering,
                   std::abs((f.leaving - f.entering) / before.total - f.share));
        });
    const double rest = before.total - touched.weight;
    if (!(rest > kOutweighed * before.total)) return;
    const double total = level_root(before.total, rest, [&](double S) {
      return lane
          .fold(count, Roots{}, flow,
                [&](int, const Flow& f, Roots& part) {
                  part.add(level_term(S, f.share, f.leaving, f.entering));
                })
          .sum;
    });
    lane.for_each(count, [&](int i) {
      const Flow f = flow(i);
      const double moved = f.share * total;
      const double t = bounded_step(plain_step_for_total(moved, f.leaving, f.entering), moved,
                                    f.leaving, f.entering);
      const std::int32_t k = neurons[i];
      all.u[k] += std::log(t);
      all.x[k] *= t;
      all.y[k] = 1 / all.x[k];
    });
    lane.for_each(1, [&](int) {
      const double worst = before.gradient_norm;
      *all.progress = {total, touched.worst > worst ? touched.worst : worst, 0, number + 1};
    });
  }

 private:
  struct Touched {
    double weight = 0, worst = 0;
    PATHCOND_KERNEL void add(double more, double gradient) {
      weight += more;
      worst = gradient > worst ? gradient : worst;
    }
    PATHCOND_KERNEL void join(const Touched& other) { add(other.weight, other.worst); }
  };
  struct Roots {
    LevelTerm sum{0, 0};
    PATHCOND_KERNEL void add(const LevelTerm& term) {
      sum.root += term.root;
      sum.change += term.change;
    }
    PATHCOND_KERNEL void join(const Roots& other) { add(other.sum); }
  };
};

/// `NeuronSweep::step` for neurons that share no row: only the sum of all weights goes from one to
/// the next, by one thread.
struct TurnsKernel {
  struct Shared {
    double total;
    bool taken;
  };

  SweepArrays all;
  Box box;
  const std::int32_t* neurons;
  int count;
  std::int64_t number;  ///< of the step

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared& shared) const {
    const SweepProgress before = *all.progress;
    if (before.steps != number) return;
    take_flows(lane, all, neurons, count);
    lane.for_each(1, [&](int) { take_turns(before.total, shared); });
    if (!shared.taken) return;
    const Change change = lane.fold(
        count, Change{}, [&](int i) { return all.t[i]; },
        [&](int i, double t, Change& part) {
          const std::int32_t k = neurons[i];
          const double u = all.u[k], mean = (all.leaving[i] - all.entering[i]) / all.before[i];
          const Move move = towards(u, t);
          part.add(std::abs(move.end - u),
                   std::abs(box.projected(u, mean - all.degree[k] / all.rows)));
          all.u[k] = move.end;
          all.x[k] *= move.factor;
          all.y[k] = 1 / all.x[k];
        });
    lane.for_each(1, [&](int) {
      const double worst = before.gradient_norm;
      *all.progress = {shared.total, change.worst > worst ? change.worst : worst,
                       before.change + change.sum, number + 1};
    });
  }

 private:
  struct Change {
    double sum = 0, worst = 0;
    PATHCOND_KERNEL void add(double more, double gradient) {
      sum += more;
      worst = gradient > worst ? gradient : worst;
    }
    PATHCOND_KERNEL void join(const Change& other) { add(other.sum, other.worst); }
  };

  struct Move {
    double end, factor;
  };
  /// As far from u as the step with this factor leads inside the box.
  PATHCOND_KERNEL Move towards(double u, double t) const {
    const double minimum = u + std::log(t), end = box.clip(minimum);
    return {end, end == minimum ? t : std::exp(end - u)};
  }

  PATHCOND_KERNEL void take_turns(double total, Shared& shared) const {
    shared.taken = false;
    for (int i = 0; i < count; ++i) {
      const double O = all.leaving[i], I = all.entering[i], d = all.degree[neurons[i]];
      const double C = total - O - I;
      if (!(C > kOutweighed * total)) return;
      const double t =
          O > 0 && I > 0
              ? positive_root(all.rows, d, O, I, C)
              : std::exp(coordinate_step(all.rows, d, std::log(O), std::log(I), std::log(C)));
      all.t[i] = t;
      all.before[i] = total;
      const bool bounded = box.bound < std::numeric_limits<double>::infinity();
      const double factor = bounded ? towards(all.u[neurons[i]], t).factor : t;
      total = C + O * factor + I / factor;
    }
    shared.total = total;
    shared.taken = true;
  }
};

}  // namespace pathcond::cuda
