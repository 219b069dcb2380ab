#pragma once

#include <cstdint>

#include "core/incidence.hpp"
#include "cuda/lane.hpp"

/// The rows of a matrix on a device, from its columns: one pass over its entries, each of which
/// writes one number of its row.
namespace pathcond::cuda {

/// The neurons that a row of B leaves and enters, -1 standing for none.
struct Ends {
  std::int32_t left = -1, entered = -1;

  PATHCOND_KERNEL bool operator==(const Ends& other) const {
    return left == other.left && entered == other.entered;
  }
  PATHCOND_KERNEL bool are_pair() const { return left >= 0 && entered >= 0; }
  /// In ascending order of this, rows that enter one neuron follow each other, by the neuron that
  /// they leave; none comes last.
  PATHCOND_KERNEL std::uint64_t rank(std::uint64_t neurons) const {
    return (entered < 0 ? neurons : static_cast<std::uint64_t>(entered)) * (neurons + 1) +
           (left < 0 ? neurons : static_cast<std::uint64_t>(left));
  }
};

template <class G>
struct Row {
  Ends ends;
  G g;
};

/// Rows leave and enter one neuron at most, and not the same, if there are as many entries as rows
/// that have one, and no misfits.
struct Census {
  std::uint64_t leaving, entering;  ///< entries
  std::uint64_t left, entered;      ///< rows
  std::uint64_t misfits;            ///< anything that is not to be

  bool fits() const { return leaving == left && entering == entered && misfits == 0; }
};

inline constexpr int kEndsTile = 4096;

template <class T>
struct FillKernel {
  struct Shared {};

  T* to;
  std::int64_t size;
  T value;

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    T* first = to + lane.block() * kEndsTile;
    const T filling = value;
    lane.for_each(entries_of_tile(lane.block(), kEndsTile, size),
                  [=](int i) { first[i] = filling; });
  }
};

template <class Machine, class T>
void fill(Machine& machine, T* to, std::int64_t size, const T& value) {
  machine.launch(tiles_of(size, kEndsTile), FillKernel<T>{to, size, value});
}

/// Counts misfits among the begins of columns. No other kernel trusts them.
template <class Index, class Value>
struct CheckColumnsKernel {
  struct Shared {};

  IncidenceView<Index, Value> B;
  Census* census;

  static std::int64_t tiles(std::int64_t columns) { return tiles_of(columns + 1, kEndsTile); }

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    const std::int64_t first = lane.block() * kEndsTile;
    lane.for_each(entries_of_tile(lane.block(), kEndsTile, B.columns + 1), [&](int i) {
      const std::int64_t h = first + i;
      const auto begin = static_cast<std::int64_t>(B.indptr[h]);
      const bool fits = h == 0 ? begin == 0 : begin >= static_cast<std::int64_t>(B.indptr[h - 1]);
      if (!fits || (h == B.columns && begin > B.entries)) lane.add(census->misfits, 1);
    });
  }
};

/// Writes every entry to its row. Two that write to one place differ in number from the rows that
/// they make, whichever is the last.
template <class Index, class Value>
struct EndsKernel {
  struct Shared {
    std::int64_t column[2];  ///< of the first and the last entry of the tile
  };

  IncidenceView<Index, Value> B;
  Ends* rows;
  Census* census;

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared& shared) const {
    const std::int64_t begin = lane.block() * kEndsTile;
    const int n = entries_of_tile(lane.block(), kEndsTile, B.entries);
    lane.for_each(2, [&](int k) {
      shared.column[k] = column_of(k == 0 ? begin : begin + n - 1, 0, B.columns);
    });
    const auto end = static_cast<std::int64_t>(B.indptr[B.columns]);
    const auto read = [&](int i) { return Entry{B.indices[begin + i], B.values[begin + i]}; };
    const auto use = [&](int i, const Entry& entry, Found& found) {
      const auto row = static_cast<std::int64_t>(entry.row);
      if (begin + i >= end) return;
      const bool leaves = entry.value == Value(1), enters = entry.value == Value(-1);
      if (row < 0 || row >= B.rows || !(leaves || enters || entry.value == Value(0))) {
        ++found.misfits;
        return;
      }
      if (!leaves && !enters) return;
      const auto h =
          static_cast<std::int32_t>(column_of(begin + i, shared.column[0], shared.column[1] + 1));
      (leaves ? rows[row].left : rows[row].entered) = h;
      ++(leaves ? found.leaving : found.entering);
    };
    const Found found = lane.fold(n, Found{}, read, use);
    lane.for_each(1, [&](int) {
      lane.add(census->leaving, found.leaving);
      lane.add(census->entering, found.entering);
      lane.add(census->misfits, found.misfits);
    });
  }

 private:
  struct Entry {
    Index row;
    Value value;
  };
  struct Found {
    std::uint64_t leaving = 0, entering = 0, misfits = 0;
    PATHCOND_KERNEL void join(const Found& other) {
      leaving += other.leaving;
      entering += other.entering;
      misfits += other.misfits;
    }
  };

  /// The column in [first, end) with entry k; some column whatever they begin with.
  PATHCOND_KERNEL std::int64_t column_of(std::int64_t k, std::int64_t first,
                                         std::int64_t end) const {
    while (end - first > 1) {
      const std::int64_t middle = first + (end - first) / 2;
      (static_cast<std::int64_t>(B.indptr[middle]) <= k ? first : end) = middle;
    }
    return first;
  }
};

/// Counts rows for the census.
struct CountRowsKernel {
  struct Shared {};

  const Ends* rows;
  std::int64_t size;
  Census* census;

  template <class Lane>
  PATHCOND_KERNEL void operator()(const Lane& lane, Shared&) const {
    const Ends* first = rows + lane.block() * kEndsTile;
    const Found found = lane.fold(
        entries_of_tile(lane.block(), kEndsTile, size), Found{}, [=](int i) { return first[i]; },
        [](int, const Ends& row, Found& part) {
          part.left += row.left >= 0;
          part.entered += row.entered >= 0;
          part.misfits += row.left >= 0 && row.left == row.entered;
        });
    lane.for_each(1, [&](int) {
      lane.add(census->left, found.left);
      lane.add(census->entered, found.entered);
      lane.add(census->misfits, found.misfits);
    });
  }

 private:
  struct Found {
    std::uint64_t left = 0, entered = 0, misfits = 0;
    PATHCOND_KERNEL void join(const Found& other) {
      left += other.left;
      entered += other.entered;
      misfits += other.misfits;
    }
  };
};

}  // namespace pathcond::cuda
