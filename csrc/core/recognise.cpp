#include "core/recognise.hpp"

#include <algorithm>
#include <limits>
#include <type_traits>
#include <utility>

#include "core/instantiate.hpp"
#include "core/parallel.hpp"
#include "core/simd.hpp"

namespace pathcond {
namespace {

/// Zero if and only if the values are equal.
template <class T>
[[gnu::always_inline]] inline auto difference(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<std::make_unsigned_t<T>>(a ^ b);
  else
    return static_cast<std::uint8_t>(a != b);
}

/// How many entries from row[lag] on follow on the one `lag` places before by `stride`, with the
/// same sign; of n entries in all.
template <class Index, class Value>
[[gnu::always_inline]] inline std::int64_t following(const Index* row, const Value* value,
                                                     std::int64_t n, std::int64_t lag,
                                                     std::int64_t stride) {
  using Row = std::make_unsigned_t<Index>;  // may wrap; the last row is looked at later
  constexpr std::int64_t kChunk = 64;       // entries that are compared at once
  const auto step = static_cast<Row>(stride);
  const Value sign = value[0];
  std::int64_t k = lag;
  for (; k + kChunk <= n; k += kChunk) {
    Row rows = 0;
    decltype(difference(sign, sign)) signs = 0;
    // Apart, since a vector holds another number of each.
    for (std::int64_t j = k; j < k + kChunk; ++j)
      rows |= static_cast<Row>(row[j]) ^ (static_cast<Row>(row[j - lag]) + step);
    for (std::int64_t j = k; j < k + kChunk; ++j) signs |= difference(value[j], sign);
    if (rows != 0 || signs != 0) break;
  }
  while (k < n && static_cast<Row>(row[k]) == static_cast<Row>(row[k - lag]) + step &&
         value[k] == sign)
    ++k;
  return k - lag;
}

// What most matrices come with is compiled for several machines, the rest for any.
template <class Index, class Value>
std::int64_t follow(const Index* row, const Value* value, std::int64_t n, std::int64_t lag,
                    std::int64_t stride) {
  return following(row, value, n, lag, stride);
}
PATHCOND_SIMD std::int64_t follow(const std::int32_t* row, const std::int8_t* value, std::int64_t n,
                                  std::int64_t lag, std::int64_t stride) {
  return following(row, value, n, lag, stride);
}
PATHCOND_SIMD std::int64_t follow(const std::int32_t* row, const double* value, std::int64_t n,
                                  std::int64_t lag, std::int64_t stride) {
  return following(row, value, n, lag, stride);
}

template <class Index, class Value>
class ColumnReader {
 public:
  explicit ColumnReader(const IncidenceView<Index, Value>& B) : B_(B) {}

  /// Appends the progressions of one column; false if it has too many or other values than +-1.
  bool read(std::int64_t column, std::vector<Progression>& leaving,
            std::vector<Progression>& entering) const {
    std::int64_t k = B_.begin(column), previous = -1;
    const std::int64_t end = B_.end(column);
    if (k < 0 || k > end || end > B_.entries) return false;
    for (int found = 0; k < end; ++found) {
      if (found == kMostProgressions || !(B_.values[k] == 1 || B_.values[k] == -1)) return false;
      const auto row = static_cast<std::int64_t>(B_.indices[k]);
      if (row <= previous || row >= B_.rows) return false;
      const Progression next = progression(k, end, static_cast<std::int32_t>(column));
      if (!next.within(B_.rows)) return false;
      (B_.values[k] == 1 ? leaving : entering).push_back(next);
      previous = next.last();
      k += next.taps * next.count;
    }
    return true;
  }

 private:
  Progression progression(std::int64_t k, std::int64_t end, std::int32_t neuron) const {
    const Index* row = B_.indices + k;
    const Value* value = B_.values + k;
    const std::int64_t n = end - k;
    Progression p{static_cast<std::int64_t>(*row), 1 + follow(row, value, n, 1, 1), 0, 1, neuron};
    if (2 * p.taps > n) return p;
    if (row[p.taps] < 0) return p;  // may be anything yet
    const std::int64_t stride = static_cast<std::int64_t>(row[p.taps]) - p.first;
    if (stride <= p.taps || stride > B_.rows) return p;
    p.count += follow(row, value, n, p.taps, stride) / p.taps;
    if (p.count > 1) p.stride = stride;
    return p;
  }

  const IncidenceView<Index, Value>& B_;
};

/// Consecutive rows that enter one neuron.
struct Entering {
  std::int64_t first, size;
  std::int32_t neuron;

  std::int64_t end() const { return first + size; }
};

class Assembly {
 public:
  Assembly(std::int64_t rows, std::int32_t neurons, const std::vector<Progression>& entering,
           std::vector<Progression> leaving)
      : leaving_(std::move(leaving)) {
    found_.neurons = neurons;
    found_.rows = rows;
    for (const Progression& p : entering)
      for (std::int64_t j = 0; j < p.count; ++j)
        entering_.push_back({p.first + j * p.stride, p.taps, p.neuron});
    const auto by_row = [](const auto& a, const auto& b) { return a.first < b.first; };
    std::sort(entering_.begin(), entering_.end(), by_row);
    std::sort(leaving_.begin(), leaving_.end(), by_row);
  }

  std::optional<Recognised> run() {
    std::size_t k = 0;
    while (k < leaving_.size()) {
      std::size_t end = k + 1;
      while (end < leaving_.size() && continues(leaving_[end - 1], leaving_[end])) ++end;
      if (!add_weight(k, end)) return std::nullopt;
      k = end;
    }
    if (!add_entering_until(found_.rows)) return std::nullopt;
    return std::move(found_);
  }

 private:
  static bool continues(const Progression& a, const Progression& b) {
    return b.first == a.first + a.taps && b.taps == a.taps && b.stride == a.stride &&
           b.count == a.count;
  }

  /// Neurons [begin, end) of `leaving_` leave all of a weight, whose output channels follow each
  /// other.
  bool add_weight(std::size_t begin, std::size_t end) {
    const Progression& p = leaving_[begin];
    const auto inputs = static_cast<std::int64_t>(end - begin);
    const std::int64_t channel = inputs * p.taps;
    if (p.count > 1 && p.stride != channel) return false;
    if (!add_entering_until(p.first)) return false;
    std::vector<std::int32_t> left, entered;
    for (std::size_t k = begin; k < end; ++k) left.push_back(leaving_[k].neuron);
    bool enters = false;
    for (std::int64_t j = 0; j < p.count; ++j, row_ += channel) {
      entered.push_back(-1);
      if (next_ == entering_.size() || entering_[next_].first >= row_ + channel) continue;
      const Entering& e = entering_[next_++];
      if (e.first != row_ || e.size != channel) return false;
      entered.back() = e.neuron;
      enters = true;
    }
    if (!enters) entered.assign(1, -1);
    const std::int64_t outputs = std::ssize(entered);
    add({nullptr, 1, outputs, inputs, p.count / outputs, p.taps, 0, channel, p.taps, channel, 1,
         nullptr, nullptr},
        p.first, std::move(entered), std::move(left));
    return true;
  }

  /// What enters or touches no neuron in front of a row, and leaves none.
  bool add_entering_until(std::int64_t row) {
    while (next_ < entering_.size() && entering_[next_].first < row) {
      const Entering& first = entering_[next_];
      if (first.first < row_) return false;
      add_untouched_until(first.first);
      std::vector<std::int32_t> entered;
      for (; next_ < entering_.size(); ++next_) {
        const Entering& e = entering_[next_];
        if (e.first != row_ || e.size != first.size || e.end() > row) break;
        entered.push_back(e.neuron);
        row_ = e.end();
      }
      if (entered.empty()) return false;
      const std::int64_t outputs = std::ssize(entered);
      add({nullptr, 1, outputs, 1, 1, first.size, 0, first.size, 0, 0, 1, nullptr, nullptr},
          first.first, std::move(entered), {-1});
    }
    if (row_ > row) return false;
    add_untouched_until(row);
    return true;
  }

  void add_untouched_until(std::int64_t row) {
    if (row_ < row)
      add({nullptr, 1, 1, 1, 1, row - row_, 0, 0, 0, 0, 1, nullptr, nullptr}, row_, {-1}, {-1});
    row_ = row;
  }

  void add(Panel<char> panel, std::int64_t first, std::vector<std::int32_t> entered,
           std::vector<std::int32_t> left) {
    panel.entered = found_.ids.emplace_back(std::move(entered)).data();
    panel.left = found_.ids.emplace_back(std::move(left)).data();
    found_.tensors.push_back({first, panel});
  }

  Recognised found_;
  std::vector<Entering> entering_;
  std::vector<Progression> leaving_;
  std::size_t next_ = 0;  ///< of entering_
  std::int64_t row_ = 0;  ///< all rows before are in a panel
};

}  // namespace

std::optional<Recognised> assemble(std::int64_t rows, std::int32_t neurons,
                                   const std::vector<Progression>& entering,
                                   std::vector<Progression> leaving) {
  return Assembly(rows, neurons, entering, std::move(leaving)).run();
}

template <class Index, class Value>
std::optional<Recognised> recognise(const IncidenceView<Index, Value>& B, int threads) {
  if (B.columns >= std::numeric_limits<std::int32_t>::max() || B.indptr[0] != 0 ||
      B.indptr[B.columns] < 0 || B.indptr[B.columns] > B.entries)
    return std::nullopt;
  const auto workers = static_cast<int>(
      std::clamp<std::int64_t>(B.indptr[B.columns] / kEntriesPerWorker, 1, threads));
  const auto bounds = split_columns(B.indptr, B.columns, workers);
  struct Found {
    std::vector<Progression> leaving, entering;
    bool all = true;
  };
  std::vector<Found> parts(static_cast<std::size_t>(workers));
  run_workers(workers, [&](int worker) {
    const ColumnReader<Index, Value> reader(B);
    Found& part = parts[static_cast<std::size_t>(worker)];
    for (auto h = bounds[static_cast<std::size_t>(worker)];
         h < bounds[static_cast<std::size_t>(worker) + 1] && part.all; ++h)
      part.all = reader.read(h, part.leaving, part.entering);
  });
  Found all;
  for (const Found& part : parts) {
    if (!part.all) return std::nullopt;
    all.leaving.insert(all.leaving.end(), part.leaving.begin(), part.leaving.end());
    all.entering.insert(all.entering.end(), part.entering.begin(), part.entering.end());
  }
  return assemble(B.rows, static_cast<std::int32_t>(B.columns), all.entering,
                  std::move(all.leaving));
}

#define PATHCOND_RECOGNISE(Index, Value) \
  template std::optional<Recognised> recognise(const IncidenceView<Index, Value>&, int);
PATHCOND_FOR_EACH_INCIDENCE(PATHCOND_RECOGNISE)

}  // namespace pathcond
