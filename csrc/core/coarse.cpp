#include "core/coarse.hpp"

#include <algorithm>

#include "core/serial_lane.hpp"

namespace pathcond {
namespace {

/// Lists of numbers, one after the other, by what they belong to.
struct Lists {
  std::vector<std::int32_t> ptr, numbers;

  explicit Lists(const std::vector<std::vector<std::int32_t>>& lists) : ptr{0} {
    for (const auto& list : lists) {
      numbers.insert(numbers.end(), list.begin(), list.end());
      ptr.push_back(static_cast<std::int32_t>(numbers.size()));
    }
  }
};

SparsePattern pattern_of(std::int32_t groups, CoarseShape::Links links) {
  std::erase_if(links, [](const auto& link) { return link.first == link.second; });
  return {groups, links};
}

}  // namespace

CoarseShape::CoarseShape(std::int32_t groups, const Links& links)
    : pattern_(pattern_of(groups, links)), links_(static_cast<std::int32_t>(links.size())) {
  std::vector<std::vector<std::int32_t>> of_group(pattern_.size()), of_entry(pattern_.entries());
  std::vector<std::int32_t> a, b;
  for (std::int32_t k = 0; k < links_; ++k) {
    const auto [left, entered] = links[k];
    a.push_back(left);
    b.push_back(entered);
    if (left == entered) continue;
    of_group[left].push_back(2 * k);
    of_group[entered].push_back(2 * k + 1);
    of_entry[pattern_.place(left, entered)].push_back(k);
  }
  const PatternView view = pattern_.view();
  const Lists by_group(of_group), by_entry(of_entry);
  const auto add = [this](const std::int32_t* first, std::size_t size) {
    begin_.push_back(numbers_.size());
    numbers_.insert(numbers_.end(), first, first + size);
  };
  const std::size_t n = pattern_.size(), entries = pattern_.entries();
  add(view.order, n);
  add(view.ptr, n + 1);
  add(view.row, entries);
  add(view.left_ptr, n + 1);
  add(view.column, entries);
  add(view.place, entries);
  const auto add_all = [&add](const auto&... tables) { (add(tables.data(), tables.size()), ...); };
  add_all(a, b, by_group.ptr, by_group.numbers, by_entry.ptr, by_entry.numbers);
}

CoarseTables CoarseShape::tables(const std::int32_t* numbers) const {
  const auto at = [&](std::size_t table) { return numbers + begin_[table]; };
  const auto n = static_cast<std::int32_t>(groups());
  return {{n, at(0), at(1), at(2), at(3), at(4), at(5)},
          links_,
          static_cast<std::int32_t>(entries()),
          at(6),
          at(7),
          at(8),
          at(9),
          at(10),
          at(11)};
}

namespace {

std::vector<double> room_for(const CoarseShape& shape) {
  return std::vector<double>(
      static_cast<std::size_t>(CoarseRoom::size(shape.groups(), shape.links(), shape.entries())));
}

CoarseRoom room_in(std::vector<double>& memory, const CoarseShape& shape) {
  return CoarseRoom::in(memory.data(), shape.groups(), shape.links(), shape.entries());
}

}  // namespace

CoarsePoint evaluate(const CoarseProblem& problem) {
  CoarsePoint point{{}, {}, room_for(problem.shape)};
  point.arrays = room_in(point.memory, problem.shape).point;  // shifts of 0 so far
  point.value = evaluate(SerialLane(), problem.shape.tables(), problem.weights(), point.arrays);
  return point;
}

CoarseShifts minimise(const CoarseProblem& problem) {
  auto memory = room_for(problem.shape);
  const auto minimum = minimise(SerialLane(), problem.shape.tables(), problem.weights(),
                                room_in(memory, problem.shape));
  return {{minimum.shift, minimum.shift + problem.shape.groups()}, minimum.value};
}

}  // namespace pathcond
