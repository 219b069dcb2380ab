#include <cmath>

#include "core/instantiate.hpp"
#include "core/merge.hpp"
#include "core/parallel.hpp"

namespace pathcond {
namespace {

constexpr std::int32_t kNone = -1;

/// Which neuron every row leaves and which it enters.
struct RowEnds {
  std::vector<std::int32_t> leave, enter;
};

template <class Index, class Value>
std::optional<RowEnds> scatter_ends(const IncidenceView<Index, Value>& B, Monitor& monitor) {
  const auto p = static_cast<std::size_t>(B.rows);
  RowEnds ends{std::vector<std::int32_t>(p, kNone), std::vector<std::int32_t>(p, kNone)};
  for (std::int64_t h = 0; h < B.columns; ++h) {
    const auto neuron = static_cast<std::int32_t>(h);
    for (std::int64_t k = B.begin(h); k < B.end(h); ++k) {
      const Value value = B.values[k];
      if (value != 1 && value != -1) {
        if (value == 0) continue;
        return std::nullopt;
      }
      auto& end = (value == 1 ? ends.leave : ends.enter)[static_cast<std::size_t>(B.indices[k])];
      if (end != kNone) return std::nullopt;
      end = neuron;
    }
    monitor.advance(B.end(h) - B.begin(h));
  }
  return ends;
}

/// Everything but the pairs: constants, one-ended rows, degrees.
template <class G>
void count_rows(const RowEnds& ends, std::span<const G> g, double scale, PairProblem& problem,
                Monitor& monitor) {
  constexpr std::size_t kChunk = 1 << 16;
  const std::size_t p = g.size();
  for (std::size_t first = 0; first < p; first += kChunk) {
    const std::size_t last = std::min(p, first + kChunk);
    for (std::size_t i = first; i < last; ++i) {
      if (g[i] == 0) continue;
      const double w = static_cast<double>(g[i]) * scale;
      const auto a = ends.leave[i];
      const auto b = ends.enter[i];
      if (a != kNone) {
        problem.degree[a] += 1;
        problem.frozen[a] = 0;
        if (b == kNone) problem.leave_only[a] += w;
      }
      if (b != kNone) {
        problem.degree[b] -= 1;
        problem.frozen[b] = 0;
        if (a == kNone) problem.enter_only[b] += w;
      }
      if (a == kNone && b == kNone) problem.constant += w;
    }
    monitor.advance(static_cast<std::int64_t>(last - first));
  }
}

/// The pairs that enter one range of columns, merged by a sparse accumulator.
struct PairRange {
  std::vector<std::int64_t> count;
  std::vector<std::int32_t> leave;
  std::vector<double> weight;
};

template <class Index, class Value, class G>
PairRange merge_range(const IncidenceView<Index, Value>& B, std::span<const G> g, double scale,
                      const std::vector<std::int32_t>& leave, std::int64_t first, std::int64_t last,
                      Monitor* monitor) {
  PairRange range;
  range.count.reserve(static_cast<std::size_t>(last - first));
  std::vector<double> sum(static_cast<std::size_t>(B.columns), 0.0);
  std::vector<std::int32_t> touched;
  std::vector<std::uint8_t> seen(static_cast<std::size_t>(B.columns), 0);
  for (std::int64_t h = first; h < last; ++h) {
    touched.clear();
    const std::int64_t end = B.end(h);
    for (std::int64_t k = B.begin(h); k < end;) {
      if (B.values[k] != -1) {
        ++k;
        continue;
      }
      const auto a = leave[static_cast<std::size_t>(B.indices[k])];
      // Taps of one kernel follow each other: add them before going through memory.
      double run = 0;
      bool any = false;
      do {
        const G value = g[static_cast<std::size_t>(B.indices[k])];
        run += static_cast<double>(value) * scale;
        any |= value > 0;
        ++k;
      } while (k < end && B.values[k] == -1 && leave[static_cast<std::size_t>(B.indices[k])] == a);
      if (a == kNone || !any) continue;
      if (!seen[a]) {
        seen[a] = 1;
        touched.push_back(a);
      }
      sum[a] += run;
    }
    for (const auto a : touched) {
      range.leave.push_back(a);
      range.weight.push_back(sum[a]);
      sum[a] = 0;
      seen[a] = 0;
    }
    range.count.push_back(static_cast<std::int64_t>(touched.size()));
    if (monitor) monitor->advance(end - B.begin(h));
  }
  return range;
}

void append(PairProblem& problem, PairRange&& range) {
  for (const auto count : range.count)
    problem.enter_ptr.push_back(problem.enter_ptr.back() + count);
  if (problem.leave.empty()) {
    problem.leave = std::move(range.leave);
    problem.weight = std::move(range.weight);
  } else {
    problem.leave.insert(problem.leave.end(), range.leave.begin(), range.leave.end());
    problem.weight.insert(problem.weight.end(), range.weight.begin(), range.weight.end());
  }
}

}  // namespace

template <class Index, class Value, class G>
std::optional<PairProblem> merge_pairs(const IncidenceView<Index, Value>& B, std::span<const G> g,
                                       const WeightSummary& summary, int threads,
                                       Monitor& monitor) {
  const auto ends = scatter_ends(B, monitor);
  if (!ends) return std::nullopt;

  const auto H = static_cast<std::size_t>(B.columns);
  const double scale = scale_for(summary);
  PairProblem problem;
  problem.neurons = static_cast<std::int32_t>(B.columns);
  problem.rows = summary.positive;
  problem.log_scale = -std::log(scale);
  problem.degree.assign(H, 0.0);
  problem.frozen.assign(H, 1);
  problem.leave_only.assign(H, 0.0);
  problem.enter_only.assign(H, 0.0);
  problem.enter_ptr.reserve(H + 1);
  problem.enter_ptr.push_back(0);
  count_rows(*ends, g, scale, problem, monitor);

  // A column belongs to one worker, so the sums do not depend on the number of workers.
  constexpr std::int64_t kEntriesPerWorker = 1 << 18;
  const auto workers = static_cast<int>(
      std::clamp<std::int64_t>(B.begin(B.columns) / kEntriesPerWorker, 1, threads));
  const auto bounds = split_columns(B.indptr, B.columns, workers);
  std::vector<PairRange> ranges(static_cast<std::size_t>(workers));
  run_workers(workers, [&](int worker) {
    ranges[static_cast<std::size_t>(worker)] =
        merge_range(B, g, scale, ends->leave, bounds[static_cast<std::size_t>(worker)],
                    bounds[static_cast<std::size_t>(worker) + 1], worker == 0 ? &monitor : nullptr);
  });
  for (auto& range : ranges) append(problem, std::move(range));
  return problem;
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
