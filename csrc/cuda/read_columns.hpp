#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "core/incidence.hpp"
#include "core/recognise.hpp"
#include "cuda/lane.hpp"
#include "cuda/memory.hpp"

/// `recognise` for a matrix on a device: every column is read where it lies, and comes to the host
/// as a few progressions.
namespace pathcond::cuda {

struct ColumnPart {
  Progression progression;
  std::int32_t sign;
};

/// The progressions of a column, one block of threads per column.
template <class Index, class Value>
struct ColumnKernel {
  struct Shared {};

  IncidenceView<Index, Value> B;
  const std::int64_t* begin;  ///< where the parts of each column go; null: `room` for each
  std::int32_t room;
  ColumnPart* parts;    ///< as many as there is room for
  std::int32_t* count;  ///< of every column; -1: it is anything else

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    const std::int64_t column = lane.block();
    const std::int64_t first = begin ? begin[column] : column * room;
    const std::int64_t end = B.indptr[column + 1];
    std::int64_t k = B.indptr[column], previous = -1;
    bool fits = k >= 0 && k <= end && end <= B.entries && (column > 0 || k == 0);
    std::int32_t found = 0;
    while (fits && k < end) {
      const Value value = B.values[k];
      const auto row = static_cast<std::int64_t>(B.indices[k]);
      fits = found < kMostProgressions && (value == Value(1) || value == Value(-1)) &&
             row > previous && row < B.rows;
      if (!fits) break;
      const Progression next = progression(lane, k, end, static_cast<std::int32_t>(column));
      fits = next.within(B.rows);
      if (!fits) break;
      if (found < room)
        lane.for_each(1, [&](int) { parts[first + found] = {next, value == Value(1) ? 1 : -1}; });
      previous = next.last();
      k += next.taps * next.count;
      ++found;
    }
    lane.for_each(1, [&](int) { count[column] = fits ? found : -1; });
  }

 private:
  template <class Lane>
  PATHCOND_KERNEL Progression progression(const Lane& lane, std::int64_t k, std::int64_t end,
                                          std::int32_t neuron) const {
    const auto row = static_cast<std::int64_t>(B.indices[k]);
    Progression p{row, 1 + follow(lane, k, end, 1, 1), 0, 1, neuron};
    if (2 * p.taps > end - k) return p;
    const auto following = static_cast<std::int64_t>(B.indices[k + p.taps]);
    if (following < 0) return p;  // may be anything yet
    const std::int64_t stride = following - row;
    if (stride <= p.taps || stride > B.rows) return p;
    p.count += follow(lane, k, end, p.taps, stride) / p.taps;
    if (p.count > 1) p.stride = stride;
    return p;
  }

  /// How many entries from k + lag on follow on the one `lag` places before by `stride`, with the
  /// sign of entry k.
  template <class Lane>
  PATHCOND_KERNEL std::int64_t follow(const Lane& lane, std::int64_t k, std::int64_t end,
                                      std::int64_t lag, std::int64_t stride) const {
    constexpr std::int64_t kFirst = 1 << 10, kMost = 1 << 20;
    const Value sign = B.values[k];
    std::int64_t size = kFirst;
    for (std::int64_t from = k + lag; from < end;
         from += size, size = size < kMost ? 2 * size : kMost) {
      const std::int64_t left = end - from;
      const int n = static_cast<int>(left < size ? left : size);
      const auto follows = [&](int i) {
        const std::int64_t at = from + i;
        // Rows may be anything yet: unsigned, they may wrap.
        return static_cast<std::uint64_t>(B.indices[at]) ==
                   static_cast<std::uint64_t>(B.indices[at - lag]) +
                       static_cast<std::uint64_t>(stride) &&
               B.values[at] == sign;
      };
      const Earliest odd =
          lane.fold(n, Earliest{}, follows, [](int i, bool good, Earliest& earliest) {
            if (!good) earliest.see(i);
          });
      if (odd.entry < n) return from + odd.entry - k - lag;
    }
    return end - k - lag;
  }
};

/// nullopt where B is anything but the tensors of a network, be it invalid.
template <class Machine, class Index, class Value>
std::optional<Recognised> recognise(Machine& machine, const IncidenceView<Index, Value>& B) {
  constexpr std::int32_t kUsual = 4;  // progressions: an input and an output weight, a bias
  const auto H = B.columns;
  if (H >= std::numeric_limits<std::int32_t>::max()) return std::nullopt;
  // The kernel writes to the host, which any device may: what it finds is little, and tells how
  // much memory there has to be on the device.
  machine.expect({0, usual_bytes(H)});
  std::vector<std::int64_t> begin;
  const auto read = [&](std::int32_t room, std::int64_t size, std::vector<ColumnPart>& parts) {
    Region all;
    const auto count_slot = all.reserve<std::int32_t>(H);
    const auto part_slot = all.reserve<ColumnPart>(size);
    const auto begin_slot = all.reserve<std::int64_t>(std::ssize(begin));
    void* memory = machine.host(all.bytes());
    std::copy(begin.begin(), begin.end(), at(memory, begin_slot));
    ColumnPart* found = at(memory, part_slot);
    std::int32_t* count = at(memory, count_slot);
    machine.launch(H, ColumnKernel<Index, Value>{
                          B, begin.empty() ? nullptr : at(memory, begin_slot), room, found, count});
    machine.wait();
    parts.assign(found, found + size);
    std::vector<std::int32_t> counts(count, count + H);
    machine.give_back_host(memory, all.bytes());
    return counts;
  };
  std::vector<ColumnPart> parts;
  const auto count = read(kUsual, kUsual * H, parts);
  std::int32_t most = 0;
  for (const auto n : count) {
    if (n < 0) return std::nullopt;
    most = std::max(most, n);
  }
  if (most > kUsual) {
    std::int64_t next = 0;
    for (const auto n : count) begin.push_back(std::exchange(next, next + n));
    read(most, next, parts);
  }
  std::vector<Progression> leaving, entering;
  for (std::int64_t h = 0; h < H; ++h) {
    const ColumnPart* first = parts.data() + (begin.empty() ? h * kUsual : begin[h]);
    for (const ColumnPart* part = first; part < first + count[h]; ++part)
      (part->sign > 0 ? leaving : entering).push_back(part->progression);
  }
  return assemble(B.rows, static_cast<std::int32_t>(H), entering, std::move(leaving));
}

}  // namespace pathcond::cuda
