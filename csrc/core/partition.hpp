#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/columns.hpp"
#include "core/merge.hpp"

namespace pathcond {

/// How the neurons of a pair problem are arranged for level sweeps.
/// Groups: neurons with the same neighbours (the channels of one layer), or whole levels.
/// Levels: sets of groups without a row in common, so that one exact step serves all of them:
/// the depth in a graph without cycles, else colours.
struct Partition {
  std::vector<std::int32_t> group;            ///< H: group of a neuron
  std::vector<std::int32_t> level_of_group;   ///< non-decreasing: groups are sorted by level
  std::vector<std::int32_t> coarse_of_group;  ///< common shift that the coarse step gives it
  std::int32_t coarse = 0;

  std::int32_t groups() const { return static_cast<std::int32_t>(level_of_group.size()); }
};

/// Where a neuron stands: its group, or -1 for none, and its number in the group.
struct Place {
  std::int32_t group, neuron;
};

/// Groups of neurons none of which shares a row with itself, numbered by first appearance.
struct Grouping {
  Grouping() = default;
  /// Group of every neuron.
  explicit Grouping(const std::vector<std::int32_t>& group);

  std::int32_t groups() const { return static_cast<std::int32_t>(size.size()); }
  /// Position of every group in a partition made from it.
  std::vector<std::int32_t> positions(const Partition& partition) const;

  std::vector<Place> place;                                 ///< of every neuron
  std::vector<std::int32_t> size;                           ///< of every group
  std::vector<std::pair<std::int32_t, std::int32_t>> arcs;  ///< rows leave the first for the second
};

/// No groups at all (groups() == 0) when the graph has cycles and its neurons share too few
/// neighbours: sweeps by sets would then be slower than a general method.
Partition partition(const PairProblem& problem);

/// Numbers equal keys by first appearance.
std::vector<std::int32_t> number_groups(const std::vector<std::uint64_t>& keys);

/// The names, hash_bits of their numbers, of the neurons that enter what a neuron leaves, and of
/// those that leave what it enters, added up; 1 stands for rows that touch no other neuron.
using TwinKey = std::array<std::uint64_t, 2>;

/// Neurons that leave to the same and are entered from the same neurons, by first appearance. Two
/// such never share a row: the arc between them would make each a neighbour of itself.
std::vector<std::int32_t> number_groups(const std::vector<TwinKey>& keys);

/// The coarse step factors a sparse matrix with one unknown per coarse group: cheap next to a sweep
/// up to this many groups, as long as each is linked to a few others only.
inline constexpr std::int32_t kMaxGroups = 1024;

/// No groups at all where they are too many and too closely linked.
Partition arrange_groups(const Grouping& grouping);

/// Coarse groups for problems without levels, H entries: neurons with the same
/// neighbours, or, where these are too many sets, with the same kinds of neighbours.
std::vector<std::int32_t> coarse_groups(const ColumnProblem& problem);

}  // namespace pathcond
