#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

#include "core/instantiate.hpp"
#include "core/merge.hpp"
#include "core/parallel.hpp"

namespace pathcond {
namespace {

/// Entries that are handled together where their rows follow each other.
constexpr std::int64_t kStretch = 64;

/// One bit per row of B.
class RowSet {
 public:
  explicit RowSet(std::int64_t rows) : words_(static_cast<std::size_t>(rows) / 64 + 2, 0) {}

  /// False if the row was there already.
  bool insert(std::int64_t row) {
    auto& word = words_[static_cast<std::size_t>(row) / 64];
    const std::uint64_t bit = std::uint64_t{1} << (row % 64);
    const bool fresh = (word & bit) == 0;
    word |= bit;
    return fresh;
  }
  bool contains(std::int64_t row) const {
    return words_[static_cast<std::size_t>(row) / 64] >> (row % 64) & 1;
  }
  /// The same for kStretch rows from `row` on; false if any was there already.
  bool insert_stretch(std::int64_t row) {
    const auto k = static_cast<std::size_t>(row) / 64;
    const int shift = static_cast<int>(row % 64);
    const std::uint64_t low = ~std::uint64_t{0} << shift;
    bool fresh = (words_[k] & low) == 0;
    words_[k] |= low;
    if (shift > 0) {
      fresh &= (words_[k + 1] & ~low) == 0;
      words_[k + 1] |= ~low;
    }
    return fresh;
  }
  /// Whether kStretch rows from `row` on, as far as there are so many, are not in the set.
  bool lacks_stretch(std::int64_t row) const {
    const auto k = static_cast<std::size_t>(row) / 64;
    const int shift = static_cast<int>(row % 64);
    return words_[k] >> shift == 0 && (shift == 0 || words_[k + 1] << (64 - shift) == 0);
  }
  /// Adds the rows of another set; false if they have one in common.
  bool merge(const RowSet& other) {
    std::uint64_t common = 0;
    for (std::size_t k = 0; k < words_.size(); ++k) {
      common |= words_[k] & other.words_[k];
      words_[k] |= other.words_[k];
    }
    return common == 0;
  }
  std::uint64_t word(std::size_t k) const { return words_[k]; }
  std::size_t words() const { return words_.size(); }

 private:
  std::vector<std::uint64_t> words_;
};

/// Which neuron every row leaves, and which rows leave or enter one at all.
struct RowEnds {
  explicit RowEnds(std::int64_t rows)
      : leaves(static_cast<std::int32_t*>(
                   std::calloc(static_cast<std::size_t>(rows) + 1, sizeof(std::int32_t))),
               std::free) {
    if (!leaves) throw std::bad_alloc();
  }

  /// Neuron + 1, or 0. From calloc, so that rows which leave no neuron never touch memory.
  std::unique_ptr<std::int32_t[], decltype(&std::free)> leaves;
  std::optional<RowSet> leaving, entering;
};

template <class Index, class Value, class G>
class PairMerge {
 public:
  PairMerge(const IncidenceView<Index, Value>& B, std::span<const G> g,
            const WeightSummary& summary, int threads, Monitor& monitor)
      : B_(B),
        g_(g),
        scale_(scale_for(summary)),
        all_positive_(summary.positive == std::ssize(g)),
        bounds_(split_columns(B.indptr, B.columns, workers_for(threads))),
        monitor_(monitor),
        ends_(B.rows) {
    const auto H = static_cast<std::size_t>(B.columns);
    problem_.neurons = static_cast<std::int32_t>(B.columns);
    problem_.rows = summary.positive;
    problem_.log_scale = -std::log(scale_);
    problem_.degree.assign(H, 0.0);
    problem_.frozen.assign(H, 1);
    problem_.leave_only.assign(H, 0.0);
    problem_.enter_only.assign(H, 0.0);
    problem_.enter_ptr.reserve(H + 1);
    problem_.enter_ptr.push_back(0);
  }

  std::optional<PairProblem> run() {
    if (!scatter_ends()) return std::nullopt;
    add_constant();
    std::vector<PairRange> ranges(workers());
    run_workers(static_cast<int>(workers()), [&](int worker) {
      merge_range(static_cast<std::size_t>(worker), ranges[static_cast<std::size_t>(worker)]);
    });
    for (PairRange& range : ranges) append(std::move(range));
    return std::move(problem_);
  }

 private:
  /// The pairs that enter one range of columns.
  struct PairRange {
    std::vector<std::int64_t> count;
    std::vector<std::int32_t> leave;
    std::vector<double> weight;
  };

  int workers_for(int threads) const {
    return static_cast<int>(
        std::clamp<std::int64_t>(B_.begin(B_.columns) / kEntriesPerWorker, 1, threads));
  }
  std::size_t workers() const { return bounds_.size() - 1; }
  void advance(std::size_t worker, std::int64_t work) {
    if (worker == 0) monitor_.advance(work);  // signals are for the calling thread
  }
  double weight(std::int64_t row) const {
    return static_cast<double>(g_[static_cast<std::size_t>(row)]) * scale_;
  }

  /// Whether the kStretch entries from k on are -1 in rows that follow each other, as where a
  /// weight matrix enters a neuron.
  bool enters_by_stretch(std::int64_t k, std::int64_t end) const {
    if (k + kStretch > end || B_.indices[k + kStretch - 1] - B_.indices[k] != kStretch - 1)
      return false;
    bool entering = true;
    for (std::int64_t j = 0; j < kStretch; ++j) entering &= B_.values[k + j] == -1;
    return entering;
  }

  /// False if some row has another value than +-1, or leaves or enters two neurons.
  bool scatter_ends() {
    std::vector<RowSet> leaving(workers(), RowSet(B_.rows));
    std::vector<RowSet> entering(workers(), RowSet(B_.rows));
    std::vector<char> pairs(workers(), 1);
    run_workers(static_cast<int>(workers()), [&](int k) {
      const auto worker = static_cast<std::size_t>(k);
      pairs[worker] = scatter_range(worker, leaving[worker], entering[worker]);
    });
    bool all_pairs = pairs[0] != 0;
    for (std::size_t worker = 1; worker < workers(); ++worker)
      all_pairs = leaving[0].merge(leaving[worker]) && entering[0].merge(entering[worker]) &&
                  pairs[worker] && all_pairs;
    ends_.leaving = std::move(leaving[0]);
    ends_.entering = std::move(entering[0]);
    return all_pairs;
  }

  bool scatter_range(std::size_t worker, RowSet& leaving, RowSet& entering) {
    bool pairs = true;
    for (std::int64_t h = bounds_[worker]; h < bounds_[worker + 1] && pairs; ++h) {
      std::int64_t out = 0, in = 0;
      const std::int64_t end = B_.end(h);
      for (std::int64_t k = B_.begin(h); k < end; ++k) {
        const auto row = static_cast<std::int64_t>(B_.indices[k]);
        if (all_positive_ && enters_by_stretch(k, end)) {
          pairs &= entering.insert_stretch(row);
          in += kStretch;
          k += kStretch - 1;
          continue;
        }
        const bool counts = all_positive_ || g_[static_cast<std::size_t>(row)] > 0;
        if (B_.values[k] == 1) {
          // Two workers meet here only if the row leaves two neurons, which `merge` finds.
          std::atomic_ref(ends_.leaves[static_cast<std::size_t>(row)])
              .store(static_cast<std::int32_t>(h) + 1, std::memory_order_relaxed);
          pairs &= leaving.insert(row);
          out += counts;
        } else if (B_.values[k] == -1) {
          pairs &= entering.insert(row);
          in += counts;
        } else if (B_.values[k] != 0) {
          return false;
        }
      }
      problem_.degree[static_cast<std::size_t>(h)] = static_cast<double>(out - in);
      problem_.frozen[static_cast<std::size_t>(h)] = out + in == 0;
      advance(worker, end - B_.begin(h));
    }
    return pairs;
  }

  void add_constant() {
    for (std::size_t k = 0; k < ends_.leaving->words(); ++k) {
      std::uint64_t empty = ~(ends_.leaving->word(k) | ends_.entering->word(k));
      for (; empty != 0; empty &= empty - 1) {
        const auto row = static_cast<std::int64_t>(64 * k) + std::countr_zero(empty);
        if (row < B_.rows) problem_.constant += weight(row);
      }
    }
  }

  /// A column belongs to one worker, so no sum depends on the number of workers.
  void merge_range(std::size_t worker, PairRange& range) {
    // Where the current column has the pair with each neuron, if at or after its first pair.
    std::vector<std::int64_t> place(static_cast<std::size_t>(B_.columns), -1);
    // Address space, not memory: what is not written never becomes real.
    const auto entries =
        static_cast<std::size_t>(B_.begin(bounds_[worker + 1]) - B_.begin(bounds_[worker]));
    range.leave.reserve(entries);
    range.weight.reserve(entries);
    for (std::int64_t h = bounds_[worker]; h < bounds_[worker + 1]; ++h) {
      double leave_only = 0, enter_only = 0;
      const std::int64_t first_pair = std::ssize(range.leave);
      const std::int64_t end = B_.end(h);
      for (std::int64_t k = B_.begin(h); k < end;) {
        const auto row = static_cast<std::int64_t>(B_.indices[k]);
        if (B_.values[k] != -1) {
          if (B_.values[k] == 1 && !ends_.entering->contains(row)) leave_only += weight(row);
          ++k;
          continue;
        }
        if (ends_.leaving->lacks_stretch(row) && enters_by_stretch(k, end)) {
          enter_only += sum_stretch(row);
          k += kStretch;
          continue;
        }
        if (leave_in_order(row) && enters_by_stretch(k, end) &&
            append_stretch(row, first_pair, place, range)) {
          k += kStretch;
          continue;
        }
        const auto left = ends_.leaves[static_cast<std::size_t>(row)];
        // Taps of one kernel follow each other: add them before going through memory.
        double run = 0;
        do {
          run += weight(static_cast<std::int64_t>(B_.indices[k++]));
        } while (k < end && B_.values[k] == -1 &&
                 ends_.leaves[static_cast<std::size_t>(B_.indices[k])] == left);
        if (left == 0) {
          enter_only += run;
        } else if (auto& at = place[static_cast<std::size_t>(left) - 1]; at >= first_pair) {
          range.weight[static_cast<std::size_t>(at)] += run;
        } else if (run > 0) {
          at = std::ssize(range.leave);
          range.leave.push_back(left - 1);
          range.weight.push_back(run);
        }
      }
      problem_.leave_only[static_cast<std::size_t>(h)] = leave_only;
      problem_.enter_only[static_cast<std::size_t>(h)] = enter_only;
      range.count.push_back(std::ssize(range.leave) - first_pair);
      advance(worker, end - B_.begin(h));
    }
  }

  /// Whether the kStretch rows from `first` on leave neurons that follow each other, as in a row of
  /// a linear layer's weight.
  bool leave_in_order(std::int64_t first) const {
    if (!all_positive_ || first + kStretch > B_.rows) return false;
    const std::int32_t* leaves = &ends_.leaves[static_cast<std::size_t>(first)];
    if (leaves[0] == 0 || leaves[kStretch - 1] - leaves[0] != kStretch - 1) return false;
    bool in_order = true;
    for (std::int32_t j = 0; j < kStretch; ++j) in_order &= leaves[j] == leaves[0] + j;
    return in_order;
  }

  /// Adds the pairs of such rows; false, and nothing done, if the column has one of them already.
  bool append_stretch(std::int64_t first, std::int64_t first_pair, std::vector<std::int64_t>& place,
                      PairRange& range) const {
    const std::int32_t a = ends_.leaves[static_cast<std::size_t>(first)] - 1;
    std::int64_t* at = &place[static_cast<std::size_t>(a)];
    bool fresh = true;
    for (std::int64_t j = 0; j < kStretch; ++j) fresh &= at[j] < first_pair;
    if (!fresh) return false;
    std::array<std::int32_t, kStretch> leave;
    std::array<double, kStretch> weights;
    const std::int64_t next = std::ssize(range.leave);
    for (std::int32_t j = 0; j < kStretch; ++j) {
      at[j] = next + j;
      leave[static_cast<std::size_t>(j)] = a + j;
      weights[static_cast<std::size_t>(j)] = weight(first + j);
    }
    range.leave.insert(range.leave.end(), leave.begin(), leave.end());
    range.weight.insert(range.weight.end(), weights.begin(), weights.end());
    return true;
  }

  double sum_stretch(std::int64_t first) const {
    constexpr std::int64_t kLanes = 8;
    double lane[kLanes] = {};
    const G* g = &g_[static_cast<std::size_t>(first)];
    for (std::int64_t i = 0; i < kStretch; i += kLanes)
      for (std::int64_t j = 0; j < kLanes; ++j) lane[j] += static_cast<double>(g[i + j]) * scale_;
    double sum = 0;
    for (const double part : lane) sum += part;
    return sum;
  }

  void append(PairRange&& range) {
    for (const auto count : range.count)
      problem_.enter_ptr.push_back(problem_.enter_ptr.back() + count);
    if (problem_.leave.empty()) {
      problem_.leave = std::move(range.leave);
      problem_.weight = std::move(range.weight);
    } else {
      problem_.leave.insert(problem_.leave.end(), range.leave.begin(), range.leave.end());
      problem_.weight.insert(problem_.weight.end(), range.weight.begin(), range.weight.end());
    }
  }

  const IncidenceView<Index, Value>& B_;
  std::span<const G> g_;
  double scale_;
  bool all_positive_;
  std::vector<std::int64_t> bounds_;  ///< columns of every worker
  Monitor& monitor_;
  RowEnds ends_;
  PairProblem problem_;
};

}  // namespace

bool PairProblem::normalise() {
  return pathcond::normalise(constant, log_scale, {&leave_only, &enter_only, &weight}).has_value();
}

template <class Index, class Value, class G>
std::optional<PairProblem> merge_pairs(const IncidenceView<Index, Value>& B, std::span<const G> g,
                                       const WeightSummary& summary, int threads,
                                       Monitor& monitor) {
  return PairMerge(B, g, summary, threads, monitor).run();
}

#define PATHCOND_MERGE_PAIRS(Index, Value)                                                       \
  template std::optional<PairProblem> merge_pairs(const IncidenceView<Index, Value>&,            \
                                                  std::span<const float>, const WeightSummary&,  \
                                                  int, Monitor&);                                \
  template std::optional<PairProblem> merge_pairs(const IncidenceView<Index, Value>&,            \
                                                  std::span<const double>, const WeightSummary&, \
                                                  int, Monitor&);
PATHCOND_FOR_EACH_INCIDENCE(PATHCOND_MERGE_PAIRS)

}  // namespace pathcond
