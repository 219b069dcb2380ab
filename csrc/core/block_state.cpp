#include "core/block_state.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace pathcond {

namespace {

SparsePattern pattern_of(const BlockProblem& problem) {
  std::vector<std::pair<std::int32_t, std::int32_t>> edges;
  for (const Block& block : problem.blocks) {
    const auto a = problem.coarse[block.source];
    const auto b = problem.coarse[block.target];
    if (a != b) edges.emplace_back(a, b);
  }
  return {problem.coarse_groups, edges};
}

}  // namespace

BlockState::BlockState(BlockProblem problem, const std::vector<double>& u, int threads,
                       Monitor& monitor)
    : problem_(std::move(problem)),
      threads_(threads),
      monitor_(monitor),
      coarse_of_neuron_(problem_.neurons()),
      coarse_pattern_(pattern_of(problem_)),
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
  move_to(u);
}

void BlockState::count(const Block& block) {
  touched_ += static_cast<double>(block.stored());
  monitor_.advance(block.stored());
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
  u_ = u;
  if (far()) absorb();
  for (std::size_t k = 0; k < u_.size(); ++k) {
    x_[k] = std::exp(u_[k] - base_[k]);
    y_[k] = 1 / x_[k];
  }
  for (HalfSums& half : half_) half.left_valid = half.right_valid = false;
}

void BlockState::absorb() {
  if (!originals_) {
    originals_ = {problem_.constant, problem_.leave_only, problem_.enter_only, {}};
    for (const Block& block : problem_.blocks) originals_->blocks.push_back(block.copied());
  }
  const Originals& from = *originals_;
  double largest = std::log(from.constant);
  for (std::size_t k = 0; k < u_.size(); ++k) {
    largest = std::max(largest, std::log(from.leave_only[k]) + u_[k]);
    largest = std::max(largest, std::log(from.enter_only[k]) - u_[k]);
  }
  for (std::size_t id = 0; id < from.blocks.size(); ++id) {
    const Block& block = problem_.blocks[id];
    largest = std::max(largest, block.largest_exponent(from.blocks[id], &u_[begin(block.source)],
                                                       &u_[begin(block.target)]));
  }
  problem_.constant = std::exp(std::log(from.constant) - largest);
  for (std::size_t k = 0; k < u_.size(); ++k) {
    problem_.leave_only[k] = std::exp(std::log(from.leave_only[k]) + u_[k] - largest);
    problem_.enter_only[k] = std::exp(std::log(from.enter_only[k]) - u_[k] - largest);
  }
  for (std::size_t id = 0; id < from.blocks.size(); ++id) {
    Block& block = problem_.blocks[id];
    block.absorb(from.blocks[id], &u_[begin(block.source)], &u_[begin(block.target)], largest);
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

void BlockState::flows(std::int32_t group, double* leaving, double* entering) {
  const std::size_t first = begin(group);
  const std::size_t size = begin(group + 1) - first;
  std::copy_n(&problem_.leave_only[first], size, leaving);
  std::copy_n(&problem_.enter_only[first], size, entering);
  for (const auto id : problem_.out_blocks[group]) {
    HalfSums& half = half_[id];
    if (!half.left_valid) {
      const Block& block = problem_.blocks[id];
      block.scatter(&y_[begin(block.target)], half.left.data(), threads_);
      half.left_valid = true;
      count(block);
    }
    for (std::size_t k = 0; k < size; ++k) leaving[k] += half.left[k];
  }
  for (const auto id : problem_.in_blocks[group]) {
    HalfSums& half = half_[id];
    if (!half.right_valid) {
      const Block& block = problem_.blocks[id];
      block.gather(&x_[begin(block.source)], half.right.data(), threads_);
      half.right_valid = true;
      count(block);
    }
    for (std::size_t k = 0; k < size; ++k) entering[k] += half.right[k];
  }
  for (std::size_t k = 0; k < size; ++k) {
    leaving[k] *= x_[first + k];
    entering[k] *= y_[first + k];
  }
}

BlockState::Value BlockState::value(double total) const {
  double linear = 0, size = std::abs(std::log(total)) + std::abs(offset_);
  for (std::size_t k = 0; k < u_.size(); ++k) {
    const double term = problem_.degree[k] * u_[k] / problem_.rows;
    linear += term;
    size += std::abs(term);
  }
  return {std::log(total) + offset_ - linear, rounding_of(size)};
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
  CoarseProblem coarse(coarse_pattern_);
  coarse.constant = problem_.constant;
  for (std::size_t k = 0; k < u_.size(); ++k) {
    const auto c = static_cast<std::size_t>(coarse_of_neuron_[k]);
    coarse.leave[c] += problem_.leave_only[k] * x_[k];
    coarse.enter[c] += problem_.enter_only[k] * y_[k];
    coarse.share[c] += problem_.degree[k] / problem_.rows;
  }
  for (std::size_t id = 0; id < half_.size(); ++id) {
    const Block& block = problem_.blocks[id];
    coarse.add_pair(problem_.coarse[block.source], problem_.coarse[block.target], block_weight(id));
  }
  return coarse;
}

void BlockState::evaluate(Point& point) {
  move_to(point.u);
  const bool at_origin = std::all_of(u_.begin(), u_.end(), [](double u) { return u == 0; });
  for (std::size_t id = 0; id < half_.size(); ++id) {
    const Block& block = problem_.blocks[id];
    if (at_origin && !block.row_sums.empty()) {
      half_[id] = {block.row_sums, block.column_sums, true, true};
      for (double& sum : half_[id].left) sum *= block.scale;
      for (double& sum : half_[id].right) sum *= block.scale;
      continue;
    }
    block.gather_scatter(&x_[begin(block.source)], &y_[begin(block.target)], half_[id].right.data(),
                         half_[id].left.data(), threads_);
    half_[id].left_valid = half_[id].right_valid = true;
    count(block);
  }
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
  std::vector<double> xz(u_.size()), yz(u_.size()), left, right;
  double mean_z = 0;
  for (std::size_t k = 0; k < u_.size(); ++k) {
    xz[k] = x_[k] * z[k];
    yz[k] = y_[k] * z[k];
    mean_z += mean_[k] * z[k];
    out[k] = curvature_[k] * z[k];
  }
  for (const Block& block : problem_.blocks) {
    left.resize(static_cast<std::size_t>(block.rows));
    right.resize(static_cast<std::size_t>(block.columns));
    const std::size_t source = begin(block.source);
    const std::size_t target = begin(block.target);
    block.gather_scatter(&xz[source], &yz[target], right.data(), left.data(), threads_);
    count(block);
    for (std::size_t k = 0; k < left.size(); ++k)
      out[source + k] -= x_[source + k] * left[k] / total_;
    for (std::size_t k = 0; k < right.size(); ++k)
      out[target + k] -= y_[target + k] * right[k] / total_;
  }
  for (std::size_t k = 0; k < u_.size(); ++k) out[k] -= mean_[k] * mean_z;
}

double BlockState::exponent_change(const std::vector<double>& z) { return 2 * max_norm(z); }

SparseFactor BlockState::coarse_hessian(double damping) {
  const CoarseProblem coarse = coarse_problem();
  auto point = pathcond::evaluate(coarse, std::vector<double>(coarse.share.size(), 0.0));
  for (const auto c : coarse_of_neuron_) point.curvature[c] += damping;
  return {coarse_pattern_, point.curvature, std::move(point.coupling), std::move(point.mean)};
}

std::vector<Coupling> BlockState::strong_couplings() {
  StrongCouplings strong(u_.size());
  for (const Block& block : problem_.blocks) {
    const auto source = problem_.group_begin[block.source];
    const auto target = problem_.group_begin[block.target];
    block.for_each_weight([&](std::int32_t a, std::int32_t b, double w) {
      strong.offer(source + a, target + b, -x_[source + a] * w * y_[target + b] / total_);
    });
    count(block);
  }
  return strong.list();
}

}  // namespace pathcond
