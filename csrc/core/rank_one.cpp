#include "core/rank_one.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/block_state.hpp"
#include "core/dense.hpp"

namespace pathcond {
namespace {

/// Weights per neuron below which a pass over them costs no more than a few sweeps of the model.
constexpr std::int64_t kWorthwhile = 64;
constexpr int kMostSweeps = 30;
/// Beyond, weights of the model could leave the range of doubles.
constexpr double kFarthest = 1e60;

double sum(const std::vector<double>& x) { return std::accumulate(x.begin(), x.end(), 0.0); }

double dot(const std::vector<double>& w, const double* x) {
  return pathcond::dot(w.data(), x, std::ssize(w));
}

}  // namespace

std::optional<RankOneModel> RankOneModel::of(const BlockState& state) {
  const BlockProblem& problem = state.problem();
  const bool dense = std::all_of(problem.blocks.begin(), problem.blocks.end(),
                                 [](const auto& block) { return block.dense(); });
  if (!dense || problem.stored < kWorthwhile * static_cast<std::int64_t>(problem.neurons()))
    return std::nullopt;
  return RankOneModel(state);
}

RankOneModel::RankOneModel(const BlockState& state)
    : state_(state),
      z_(state.problem().neurons(), 1.0),
      inverse_(z_),
      leaves_(static_cast<std::size_t>(state.problem().groups())),
      enters_(leaves_),
      group_share_(leaves_) {
  const BlockProblem& problem = state.problem();
  for (const double degree : problem.degree) share_.push_back(degree / problem.rows);
  for (std::int32_t g = 0; g < problem.groups(); ++g)
    group_share_[g] = std::accumulate(&share_[begin(g)], &share_[begin(g + 1)], 0.0);
  const double unit = 1 / state.total();
  const auto scaled = [](std::vector<double> weights, const double* by, double factor) {
    for (std::size_t k = 0; k < weights.size(); ++k) weights[k] *= by[k] * factor;
    return weights;
  };
  constant_ = problem.constant * unit;
  leave_only_ = scaled(problem.leave_only, state.x().data(), unit);
  enter_only_ = scaled(problem.enter_only, state.y().data(), unit);
  for (std::size_t id = 0; id < problem.blocks.size(); ++id) {
    const auto& from = problem.blocks[id];
    Block block{from.source, from.target, {}, {}, 0, 0};
    block.left = scaled(state.left(id), &state.x()[begin(from.source)], unit);
    const double weight = sum(block.left);
    block.right =
        scaled(state.right(id), &state.y()[begin(from.target)], weight > 0 ? unit / weight : 0);
    blocks_.push_back(std::move(block));
  }
  for (std::int32_t g = 0; g < problem.groups(); ++g) refresh(g);
}

std::size_t RankOneModel::begin(std::int32_t group) const {
  return static_cast<std::size_t>(state_.problem().group_begin[group]);
}

std::optional<std::vector<double>> RankOneModel::minimum(double tolerance) {
  double previous = 0;
  for (int k = 0; k < kMostSweeps; ++k) {
    const double worst = sweep(k % 2 == 0);
    // Sweeps converge linearly: what comes next shrinks by the same factor.
    const double rate = previous > 0 ? std::min(1.0, worst / previous) : 1.0;
    if (worst * rate <= tolerance) break;
    previous = worst;
  }
  std::vector<double> u(z_.size());
  for (std::size_t k = 0; k < u.size(); ++k) {
    if (!(1 / kFarthest <= z_[k] && z_[k] <= kFarthest)) return std::nullopt;
    u[k] = std::log(z_[k]);
  }
  return u;
}

double RankOneModel::sweep(bool forward) {
  const std::int32_t levels = state_.problem().levels();
  total_ = rest(0, 0);
  double worst = 0;
  for (std::int32_t k = 0; k < levels; ++k)
    worst = std::max(worst, step(forward ? k : levels - 1 - k));
  coarse_step();
  return worst;
}

double RankOneModel::step(std::int32_t level) {
  const BlockProblem& problem = state_.problem();
  const auto first_group = problem.level_begin[level];
  const auto last_group = problem.level_begin[level + 1];
  const std::size_t first = begin(first_group), last = begin(last_group);
  flows_.resize(last - first);
  for (auto g = first_group; g < last_group; ++g) flows(g, first);
  std::copy(&share_[first], &share_[last], flows_.share.begin());
  const double worst = flows_.stationarity(total_);
  total_ = level_total(flows_, total_, rest(first_group, last_group));
  level_steps(flows_, total_, t_);
  for (std::size_t k = first; k < last; ++k) {
    z_[k] *= t_[k - first];
    inverse_[k] = 1 / z_[k];
  }
  for (auto g = first_group; g < last_group; ++g) refresh(g);
  return worst;
}

void RankOneModel::flows(std::int32_t group, std::size_t first) {
  const BlockProblem& problem = state_.problem();
  const std::size_t from = begin(group), size = begin(group + 1) - from;
  double* leaving = &flows_.leaving[from - first];
  double* entering = &flows_.entering[from - first];
  std::copy_n(&leave_only_[from], size, leaving);
  std::copy_n(&enter_only_[from], size, entering);
  const auto n = static_cast<std::int64_t>(size);
  for (const auto id : problem.out_blocks[group])
    add_scaled(leaving, blocks_[id].left.data(), blocks_[id].y, n);
  for (const auto id : problem.in_blocks[group])
    add_scaled(entering, blocks_[id].right.data(), blocks_[id].x, n);
  for (std::size_t k = 0; k < size; ++k) {
    leaving[k] *= z_[from + k];
    entering[k] *= inverse_[from + k];
  }
}

void RankOneModel::refresh(std::int32_t group) {
  const BlockProblem& problem = state_.problem();
  const std::size_t first = begin(group);
  const auto n = static_cast<std::int64_t>(begin(group + 1) - first);
  leaves_[group] = pathcond::dot(&leave_only_[first], &z_[first], n);
  enters_[group] = pathcond::dot(&enter_only_[first], &inverse_[first], n);
  for (const auto id : problem.out_blocks[group]) blocks_[id].x = dot(blocks_[id].left, &z_[first]);
  for (const auto id : problem.in_blocks[group])
    blocks_[id].y = dot(blocks_[id].right, &inverse_[first]);
}

double RankOneModel::rest(std::int32_t first_group, std::int32_t last_group) const {
  const auto outside = [&](std::int32_t g) { return g < first_group || g >= last_group; };
  double weight = constant_;
  for (std::int32_t g = 0; g < state_.problem().groups(); ++g)
    if (outside(g)) weight += leaves_[g] + enters_[g];
  for (const Block& block : blocks_)
    if (outside(block.source) && outside(block.target)) weight += block.x * block.y;
  return weight;
}

void RankOneModel::coarse_step() {
  const BlockProblem& problem = state_.problem();
  CoarseProblem coarse(state_.coarse_shape());
  coarse.constant = constant_;
  for (std::int32_t g = 0; g < problem.groups(); ++g) {
    const auto c = problem.coarse[g];
    coarse.leave[c] += leaves_[g];
    coarse.enter[c] += enters_[g];
    coarse.share[c] += group_share_[g];
  }
  for (std::size_t id = 0; id < blocks_.size(); ++id)
    coarse.link[id] = blocks_[id].x * blocks_[id].y;
  const auto shift = minimise(coarse).shift;
  for (std::int32_t g = 0; g < problem.groups(); ++g) {
    const double grow = std::exp(shift[problem.coarse[g]]), shrink = 1 / grow;
    for (std::size_t k = begin(g); k < begin(g + 1); ++k) {
      z_[k] *= grow;
      inverse_[k] *= shrink;
    }
    leaves_[g] *= grow;
    enters_[g] *= shrink;
    for (const auto id : problem.out_blocks[g]) blocks_[id].x *= grow;
    for (const auto id : problem.in_blocks[g]) blocks_[id].y *= shrink;
  }
}

}  // namespace pathcond
