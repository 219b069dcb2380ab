#include "core/block_state.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/host_weights.hpp"
#include "core/sweep_plan.hpp"

namespace pathcond {

namespace {

CoarseShape shape_of(const BlockProblem& problem) {
  CoarseShape::Links links;
  for (const Block& block : problem.blocks)
    links.emplace_back(problem.coarse[block.source], problem.coarse[block.target]);
  return {problem.coarse_groups, links};
}

}  // namespace

BlockState::BlockState(BlockProblem problem, const std::vector<double>& u, int threads,
                       Monitor& monitor)
    : BlockState(std::move(problem), nullptr, u) {
  weights_ = std::make_unique<HostWeights>(problem_, threads, monitor);
  move_to(u);
}

BlockState::BlockState(BlockProblem problem, std::unique_ptr<Weights> weights,
                       const std::vector<double>& u)
    : problem_(std::move(problem)),
      weights_(std::move(weights)),
      coarse_of_neuron_(problem_.neurons()),
      coarse_shape_(shape_of(problem_)),
      u_(problem_.neurons()),
      base_(problem_.neurons(), 0.0),
      x_(problem_.neurons(), 1.0),
      y_(problem_.neurons(), 1.0),
      mean_(problem_.neurons()),
      curvature_(problem_.neurons()) {
  for (std::int32_t g = 0; g < problem_.groups(); ++g)
    std::fill(coarse_of_neuron_.begin() + problem_.group_begin[g],
              coarse_of_neuron_.begin() + problem_.group_begin[g + 1], problem_.coarse[g]);
  for (const Block& block : problem_.blocks)
    half_.push_back({std::vector<double>(static_cast<std::size_t>(block.rows)),
                     std::vector<double>(static_cast<std::size_t>(block.columns))});
  products_ = half_;
  if (weights_) move_to(u);
}

void BlockState::count(const Block& block) { touched_ += static_cast<double>(block.stored()); }

void BlockState::sum(const std::vector<Wanted>& wanted, const std::vector<double>& x,
                     const std::vector<double>& y, std::vector<HalfSums>& sums) {
  if (wanted.empty()) return;
  weights_->sum(wanted, x, y, sums);
  for (const Wanted& block : wanted) count(problem_.blocks[block.block]);
}

double BlockState::passes() const {
  return problem_.stored > 0 ? touched_ / static_cast<double>(problem_.stored) : 0;
}

bool BlockState::far() const {
  double farthest = 0;
  for (std::size_t k = 0; k < u_.size(); ++k)
    farthest = std::max(farthest, std::abs(u_[k] - base_[k]));
  return !(farthest <= kSafeExponent);
}

void BlockState::move_to(const std::vector<double>& u) {
  away_ = nullptr;
  u_ = u;
  if (far()) absorb();
  for (std::size_t k = 0; k < u_.size(); ++k) {
    const double from_base = u_[k] - base_[k];  // 0 for all neurons at the usual start
    x_[k] = from_base == 0 ? 1 : std::exp(from_base);
    y_[k] = 1 / x_[k];
  }
  for (HalfSums& half : half_) half.left_valid = half.right_valid = false;
}

void BlockState::absorb() {
  if (!originals_) originals_ = {problem_.constant, problem_.leave_only, problem_.enter_only};
  const Originals& from = *originals_;
  double largest = std::log(from.constant);
  for (std::size_t k = 0; k < u_.size(); ++k) {
    largest = std::max(largest, std::log(from.leave_only[k]) + u_[k]);
    largest = std::max(largest, std::log(from.enter_only[k]) - u_[k]);
  }
  largest = std::max(largest, weights_->largest_exponent(u_));
  problem_.constant = std::exp(std::log(from.constant) - largest);
  for (std::size_t k = 0; k < u_.size(); ++k) {
    problem_.leave_only[k] = std::exp(std::log(from.leave_only[k]) + u_[k] - largest);
    problem_.enter_only[k] = std::exp(std::log(from.enter_only[k]) - u_[k] - largest);
  }
  weights_->absorb(u_, largest);
  for (Block& block : problem_.blocks) {
    block.row_sums.clear();
    block.column_sums.clear();
    count(block);
  }
  offset_ = largest;
  base_ = u_;
}

void BlockState::step(std::int32_t group, const double* t) {
  const std::size_t first = begin(group);
  const std::size_t last = begin(group + 1);
  for (std::size_t k = first; k < last; ++k) {
    u_[k] += std::log(t[k - first]);
    x_[k] *= t[k - first];
    y_[k] = 1 / x_[k];
  }
  for (const auto block : problem_.in_blocks[group]) half_[block].left_valid = false;
  for (const auto block : problem_.out_blocks[group]) half_[block].right_valid = false;
}

Swept BlockState::sweep(Sweeper& sweeper, std::size_t number) {
  const SweepPlan& plan = sweeper.plan(number);
  if (!away()) {
    sweeper.send({u_, x_, y_, base_, half_, rest(0, 0)});
    away_ = &sweeper;
  }
  const Swept swept = sweeper.sweep(number);
  mark_steps(problem_, plan, swept.steps, half_);
  for (std::size_t s = 0; s < swept.steps; ++s)
    for (const Wanted& want : plan.steps[s].wanted) count(problem_.blocks[want.block]);
  return swept;
}

bool BlockState::has(const std::vector<Wanted>& sums) const {
  return std::all_of(sums.begin(), sums.end(), [&](const Wanted& sum) {
    return sum.left ? half_[sum.block].left_valid : half_[sum.block].right_valid;
  });
}

void BlockState::bring(std::vector<double>& u_before) {
  if (!away()) return;
  std::exchange(away_, nullptr)->bring({u_, x_, y_, base_, half_, 0}, u_before);
}

void BlockState::shift(const std::vector<double>& coarse_shift) {
  std::vector<double> grow(coarse_shift.size());
  for (std::size_t c = 0; c < grow.size(); ++c) grow[c] = std::exp(coarse_shift[c]);
  for (std::size_t k = 0; k < u_.size(); ++k) {
    const auto c = static_cast<std::size_t>(coarse_of_neuron_[k]);
    u_[k] += coarse_shift[c];
    x_[k] *= grow[c];
    y_[k] = 1 / x_[k];
  }
  for (std::size_t block = 0; block < half_.size(); ++block) {
    const auto source = problem_.coarse[problem_.blocks[block].source];
    const auto target = problem_.coarse[problem_.blocks[block].target];
    for (double& sum : half_[block].left) sum /= grow[static_cast<std::size_t>(target)];
    for (double& sum : half_[block].right) sum *= grow[static_cast<std::size_t>(source)];
  }
}

void BlockState::refresh(std::int32_t first_group, std::int32_t last_group) {
  std::vector<Wanted> stale;
  for (auto g = first_group; g < last_group; ++g) {
    for (const auto id : problem_.out_blocks[g])
      if (!std::exchange(half_[id].left_valid, true)) stale.push_back({id, true, false});
    for (const auto id : problem_.in_blocks[g])
      if (!std::exchange(half_[id].right_valid, true)) stale.push_back({id, false, true});
  }
  sum(stale, x_, y_, half_);
}

void BlockState::flows(std::int32_t group, double* leaving, double* entering) const {
  const std::size_t first = begin(group);
  const std::size_t size = begin(group + 1) - first;
  std::copy_n(&problem_.leave_only[first], size, leaving);
  std::copy_n(&problem_.enter_only[first], size, entering);
  for (const auto id : problem_.out_blocks[group]) {
    const HalfSums& half = half_[id];
    for (std::size_t k = 0; k < size; ++k) leaving[k] += half.left[k];
  }
  for (const auto id : problem_.in_blocks[group]) {
    const HalfSums& half = half_[id];
    for (std::size_t k = 0; k < size; ++k) entering[k] += half.right[k];
  }
  for (std::size_t k = 0; k < size; ++k) {
    leaving[k] *= x_[first + k];
    entering[k] *= y_[first + k];
  }
}

BlockState::Value BlockState::value(double total) const {
  Swept here;
  here.total = total;
  for (std::size_t k = 0; k < u_.size(); ++k) {
    const double term = problem_.degree[k] * u_[k] / problem_.rows;
    here.linear += term;
    here.size += std::abs(term);
  }
  return value(here);
}

BlockState::Value BlockState::value(const Swept& swept) const {
  const double log_total = std::log(swept.total);
  return {log_total + offset_ - swept.linear,
          rounding_of(std::abs(log_total) + std::abs(offset_) + swept.size)};
}

double BlockState::block_weight(std::size_t id) const {
  const Block& block = problem_.blocks[id];
  const HalfSums& half = half_[id];
  return half.right_valid ? std::inner_product(half.right.begin(), half.right.end(),
                                               &y_[begin(block.target)], 0.0)
                          : std::inner_product(half.left.begin(), half.left.end(),
                                               &x_[begin(block.source)], 0.0);
}

double BlockState::rest(std::int32_t first_group, std::int32_t last_group) const {
  const auto outside = [&](std::int32_t g) { return g < first_group || g >= last_group; };
  double sum = problem_.constant;
  for (std::int32_t g = 0; g < problem_.groups(); ++g) {
    if (!outside(g)) continue;
    for (std::size_t k = begin(g); k < begin(g + 1); ++k)
      sum += problem_.leave_only[k] * x_[k] + problem_.enter_only[k] * y_[k];
  }
  for (std::size_t id = 0; id < half_.size(); ++id)
    if (outside(problem_.blocks[id].source) && outside(problem_.blocks[id].target))
      sum += block_weight(id);
  return sum;
}

CoarseProblem BlockState::coarse_problem() const {
  CoarseProblem coarse(coarse_shape_);
  coarse.constant = problem_.constant;
  for (std::size_t k = 0; k < u_.size(); ++k) {
    const auto c = static_cast<std::size_t>(coarse_of_neuron_[k]);
    coarse.leave[c] += problem_.leave_only[k] * x_[k];
    coarse.enter[c] += problem_.enter_only[k] * y_[k];
    coarse.share[c] += problem_.degree[k] / problem_.rows;
  }
  for (std::size_t id = 0; id < half_.size(); ++id) coarse.link[id] = block_weight(id);
  return coarse;
}

void BlockState::evaluate(Point& point) {
  move_to(point.u);
  const bool at_origin = std::all_of(u_.begin(), u_.end(), [](double u) { return u == 0; });
  std::vector<Wanted> unknown;
  for (std::size_t id = 0; id < half_.size(); ++id) {
    const Block& block = problem_.blocks[id];
    if (!at_origin || block.row_sums.empty()) {
      unknown.push_back({static_cast<std::int32_t>(id), true, true});
      half_[id].left_valid = half_[id].right_valid = true;
      continue;
    }
    half_[id] = {block.row_sums, block.column_sums, true, true};
    for (double& sum : half_[id].left) sum *= block.scale;
    for (double& sum : half_[id].right) sum *= block.scale;
  }
  sum(unknown, x_, y_, half_);
  total_ = problem_.constant;
  std::vector<double> leaving(u_.size()), entering(u_.size());
  for (std::int32_t g = 0; g < problem_.groups(); ++g)
    flows(g, leaving.data() + begin(g), entering.data() + begin(g));
  // Every pair leaves one neuron; what only enters is added apart.
  for (std::size_t k = 0; k < u_.size(); ++k) total_ += leaving[k] + problem_.enter_only[k] * y_[k];
  for (std::size_t k = 0; k < u_.size(); ++k) {
    mean_[k] = (leaving[k] - entering[k]) / total_;
    curvature_[k] = (leaving[k] + entering[k]) / total_;
    point.gradient[k] = mean_[k] - problem_.degree[k] / problem_.rows;
  }
  point.curvature = curvature_;
  const Value at = value(total_);
  point.value = at.objective;
  point.rounding = at.rounding;
}

void BlockState::hessian_product(const std::vector<double>& z, std::vector<double>& out) {
  std::vector<double> xz(u_.size()), yz(u_.size());
  double mean_z = 0;
  for (std::size_t k = 0; k < u_.size(); ++k) {
    xz[k] = x_[k] * z[k];
    yz[k] = y_[k] * z[k];
    mean_z += mean_[k] * z[k];
    out[k] = curvature_[k] * z[k];
  }
  std::vector<Wanted> all;
  for (std::size_t id = 0; id < problem_.blocks.size(); ++id)
    all.push_back({static_cast<std::int32_t>(id), true, true});
  sum(all, xz, yz, products_);
  for (std::size_t id = 0; id < problem_.blocks.size(); ++id) {
    const Block& block = problem_.blocks[id];
    const HalfSums& product = products_[id];
    const std::size_t source = begin(block.source);
    const std::size_t target = begin(block.target);
    for (std::size_t k = 0; k < product.left.size(); ++k)
      out[source + k] -= x_[source + k] * product.left[k] / total_;
    for (std::size_t k = 0; k < product.right.size(); ++k)
      out[target + k] -= y_[target + k] * product.right[k] / total_;
  }
  for (std::size_t k = 0; k < u_.size(); ++k) out[k] -= mean_[k] * mean_z;
}

double BlockState::exponent_change(const std::vector<double>& z) { return 2 * max_norm(z); }

/// Within a group, what is free is taken to have its share of every coupling.
SparseFactor BlockState::coarse_hessian(double damping, const std::vector<char>& free) {
  const CoarsePoint point = pathcond::evaluate(coarse_problem());
  const CoarseTables tables = coarse_shape_.tables();
  const auto n = static_cast<std::size_t>(problem_.coarse_groups);
  std::vector<double> all(n, 0.0), share(n, 0.0), curvature(n), mean(n);
  for (std::size_t k = 0; k < free.size(); ++k) {
    all[coarse_of_neuron_[k]] += curvature_[k];
    if (free[k]) share[coarse_of_neuron_[k]] += curvature_[k];
  }
  for (std::size_t c = 0; c < n; ++c) {
    share[c] = all[c] > 0 ? share[c] / all[c] : 1;
    curvature[c] = point.arrays.curvature[c] * share[c];
    mean[c] = point.arrays.mean[c] * share[c];
  }
  std::vector<double> coupling(static_cast<std::size_t>(tables.entries));
  for (std::size_t e = 0; e < coupling.size(); ++e) {
    // Fill lies between groups without a link of their own.
    if (tables.entry_ptr[e] == tables.entry_ptr[e + 1]) continue;
    const auto link = tables.entry_links[tables.entry_ptr[e]];
    coupling[e] = point.arrays.coupling[e] * share[tables.a[link]] * share[tables.b[link]];
  }
  for (std::size_t k = 0; k < free.size(); ++k)
    if (free[k]) curvature[coarse_of_neuron_[k]] += damping;
  return {coarse_shape_.pattern(), curvature, std::move(coupling), std::move(mean)};
}

std::vector<Coupling> BlockState::strong_couplings() {
  for (const Block& block : problem_.blocks) count(block);
  return weights_->strong_couplings(x_, y_, total_);
}

}  // namespace pathcond
