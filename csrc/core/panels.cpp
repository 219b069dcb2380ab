#include "core/panels.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "core/accumulate.hpp"
#include "core/panel_layout.hpp"
#include "core/parallel.hpp"

namespace pathcond {
namespace {

/// Tasks are cut by entries, never by workers: no sum depends on the number of threads.
constexpr std::int64_t kEntriesPerTask = 1 << 17;
/// Below, the power of two that brings weights to about 1 has no double.
constexpr double kSmallestTotal = 1e-290;

/// One positive sum of the entries between two channels.
struct Pair {
  std::int32_t entered, left;
  std::int64_t count;  ///< rows of B with g > 0
  double weight;
};

/// Thrown at an entry that is negative, infinite or NaN.
struct InvalidEntry {};

struct Task {
  std::size_t rectangle = 0;
  std::int64_t begin = 0, end = 0;  ///< of the axis that is cut
  Look look;
  std::vector<double> sums;  ///< enter_only, leave_only, constant; of a borrowed block's columns
  std::vector<double> row_sums;  ///< of a borrowed block
  std::vector<Pair> pairs;
};

template <class G>
class PanelMerge {
 public:
  PanelMerge(const Panels<G>& input, int threads, Monitor& monitor)
      : input_(input), layout_(input), threads_(threads), monitor_(monitor) {
    const auto H = static_cast<std::size_t>(input.neurons);
    ends_.neurons = input.neurons;
    ends_.degree.assign(H, 0.0);
    ends_.frozen.assign(H, 1);
    ends_.leave_only.assign(H, 0.0);
    ends_.enter_only.assign(H, 0.0);
  }

  std::optional<MergedPanels> run() {
    if (!layout_.arrange()) return std::nullopt;
    rectangles_ = layout_.rectangles();
    allocate_blocks();
    cut_tasks();
    const auto workers =
        static_cast<int>(std::clamp<std::int64_t>(input_.rows / kEntriesPerWorker, 1, threads_));
    std::atomic<std::size_t> next = 0;
    run_workers(workers, [&](int worker) {
      for (std::size_t k = next++; k < tasks_.size(); k = next++) {
        work(tasks_[k]);
        if (worker == 0) monitor_.advance(kEntriesPerTask);  // signals are for the calling thread
      }
    });
    for (const Task& task : tasks_) {
      count(task);
      add(task);
    }
    return finish();
  }

 private:
  const Panel<G>& panel(const Rectangle& rectangle) const { return input_.panels[rectangle.panel]; }

  void allocate_blocks() {
    for (Rectangle& rectangle : rectangles_) {
      if (rectangle.sink != Sink::block && rectangle.sink != Sink::borrowed) continue;
      const auto& p = panel(rectangle);
      Block block = layout_.block_between(rectangle.leaves.group, rectangle.enters.group);
      if (rectangle.sink == Sink::block) {
        block.value.assign(static_cast<std::size_t>(block.stored()), 0.0);
      } else {
        const G* first =
            p.g + rectangle.enters.begin * p.enter_stride + rectangle.leaves.begin * p.leave_stride;
        if constexpr (std::is_same_v<G, float>)
          block.borrowed.single = first;
        else
          block.borrowed.twice = first;
        block.borrowed.stride = p.enter_stride;
      }
      rectangle.block = blocks_.size();
      blocks_.push_back(std::move(block));
    }
  }

  /// The axis along which the work of a rectangle is cut: the outermost in memory, as a rule.
  enum class Cut { rows, enters, leaves, repeats };
  Cut cut_axis(const Rectangle& rectangle) const {
    const auto& p = panel(rectangle);
    if (rectangle.sink == Sink::pairs) return Cut::rows;
    if (rectangle.sink != Sink::leave_only) return Cut::enters;
    return p.repeats > 1 && p.repeat_stride > p.leave_stride ? Cut::repeats : Cut::leaves;
  }

  void cut_tasks() {
    for (std::size_t r = 0; r < rectangles_.size(); ++r) {
      const Rectangle& rectangle = rectangles_[r];
      const auto& p = panel(rectangle);
      const std::int64_t e = rectangle.enters.size(), l = rectangle.leaves.size();
      std::int64_t size = p.batch * p.enters, entries = size * p.leaves * p.depth();
      if (const Cut axis = cut_axis(rectangle); axis != Cut::rows) {
        size = axis == Cut::enters ? e : axis == Cut::leaves ? l : p.repeats;
        entries = e * l * p.depth();
      }
      const std::int64_t step = std::max<std::int64_t>(1, kEntriesPerTask * size / entries);
      for (std::int64_t begin = 0; begin < size; begin += step)
        tasks_.push_back({r, begin, std::min(size, begin + step), {}, {}, {}, {}});
    }
  }

  /// The entries of one task.
  struct Part {
    Panel<G> panel;
    Run enters, leaves;

    const G* at(std::int64_t e, std::int64_t l) const {
      return panel.g + e * panel.enter_stride + l * panel.leave_stride;
    }
    const G* first() const { return at(enters.begin, leaves.begin); }
  };

  Part part(const Task& task) const {
    const Rectangle& rectangle = rectangles_[task.rectangle];
    Part part{panel(rectangle), rectangle.enters, rectangle.leaves};
    const auto narrow = [&](Run& run) {
      run = {run.begin + task.begin, run.begin + task.end, run.group};
    };
    switch (cut_axis(rectangle)) {
      case Cut::enters:
        narrow(part.enters);
        break;
      case Cut::leaves:
        narrow(part.leaves);
        break;
      case Cut::repeats:
        part.panel.g += task.begin * part.panel.repeat_stride;
        part.panel.repeats = task.end - task.begin;
        break;
      case Cut::rows:
        break;
    }
    return part;
  }

  void work(Task& task) {
    const Rectangle& rectangle = rectangles_[task.rectangle];
    if (rectangle.sink == Sink::pairs) {
      collect_pairs(panel(rectangle), task);
      return;
    }
    const Part part = this->part(task);
    const auto& p = part.panel;
    if (rectangle.sink == Sink::borrowed) {
      task.sums.assign(static_cast<std::size_t>(part.enters.size()), 0.0);
      task.row_sums.assign(static_cast<std::size_t>(part.leaves.size()), 0.0);
      task.look = inspect(part.first(), part.enters.size(), p.enter_stride, part.leaves.size(),
                          task.sums.data(), task.row_sums.data());
      return;
    }
    std::int64_t enter_to = rectangle.sink == Sink::enter_only;
    std::int64_t leave_to = rectangle.sink == Sink::leave_only;
    double* to = nullptr;
    if (rectangle.sink == Sink::block) {
      Block& block = blocks_[rectangle.block];
      to = block.value.data() + task.begin * block.rows;
      enter_to = block.rows;
      leave_to = 1;
    } else {
      const std::int64_t sums = enter_to   ? part.enters.size()
                                : leave_to ? part.leaves.size()
                                           : std::int64_t{1};
      task.sums.assign(static_cast<std::size_t>(sums), 0.0);
      to = task.sums.data();
    }
    task.look = accumulate(part.first(),
                           {Axis{part.enters.size(), p.enter_stride, enter_to},
                            Axis{part.leaves.size(), p.leave_stride, leave_to},
                            Axis{p.repeats, p.repeat_stride, 0}, Axis{p.taps, p.tap_stride, 0}},
                           to);
  }

  void collect_pairs(const Panel<G>& p, Task& task) {
    task.pairs.reserve(static_cast<std::size_t>((task.end - task.begin) * p.leaves));
    for (std::int64_t at = task.begin; at < task.end; ++at) {
      const std::int64_t k = at / p.enters, e = at % p.enters;
      for (std::int64_t l = 0; l < p.leaves; ++l) {
        const G* first = p.g + k * p.batch_stride + e * p.enter_stride + l * p.leave_stride;
        Pair pair{p.entered[at], p.left[k * p.leaves + l], 0, 0.0};
        for_each_tap(p, first, [&](G value) {
          pair.weight += static_cast<double>(value);
          pair.count += value > 0 ? p.multiplicity : 0;
        });
        if (pair.count > 0) task.pairs.push_back(pair);
      }
    }
  }

  /// Calls use(value) for every entry of one row of B; throws at an invalid one.
  template <class Use>
  void for_each_tap(const Panel<G>& p, const G* first, const Use& use) const {
    for (std::int64_t s = 0; s < p.repeats; ++s)
      for (std::int64_t r = 0; r < p.taps; ++r) {
        const G* at = first + s * p.repeat_stride + r * p.tap_stride;
        if (!(*at >= 0 && *at <= std::numeric_limits<G>::max())) throw InvalidEntry{};
        use(*at);
      }
  }

  /// Rows with g > 0 that the task's neurons have.
  void count(const Task& task) {
    const Rectangle& rectangle = rectangles_[task.rectangle];
    if (rectangle.sink == Sink::pairs) return;
    const Part part = this->part(task);
    const auto& p = part.panel;
    const auto &e = part.enters, &l = part.leaves;
    if (task.look.usual) {
      const std::int64_t each = p.depth() * p.multiplicity;
      rows_ += e.size() * l.size() * each;
      for (std::int64_t k = e.begin; k < e.end; ++k) enter(p.entered[k], l.size() * each);
      for (std::int64_t k = l.begin; k < l.end; ++k) leave(p.left[k], e.size() * each);
      return;
    }
    for (std::int64_t i = e.begin; i < e.end; ++i)
      for (std::int64_t j = l.begin; j < l.end; ++j) {
        std::int64_t positive = 0;
        for_each_tap(p, part.at(i, j), [&](G value) {
          positive += value > 0 ? p.multiplicity : 0;
          see(static_cast<double>(value));
        });
        rows_ += positive;
        enter(p.entered[i], positive);
        leave(p.left[j], positive);
      }
  }

  void see(double value) {
    if (value > 0) unusual_.add({value, value, true});
  }

  void enter(std::int32_t id, std::int64_t rows) {
    if (id < 0 || rows == 0) return;
    ends_.degree[static_cast<std::size_t>(id)] -= static_cast<double>(rows);
    ends_.frozen[static_cast<std::size_t>(id)] = 0;
  }
  void leave(std::int32_t id, std::int64_t rows) {
    if (id < 0 || rows == 0) return;
    ends_.degree[static_cast<std::size_t>(id)] += static_cast<double>(rows);
    ends_.frozen[static_cast<std::size_t>(id)] = 0;
  }

  void add(const Task& task) {
    const Rectangle& rectangle = rectangles_[task.rectangle];
    const auto& p = panel(rectangle);
    const auto add_sums = [&](const std::int32_t* ids, std::vector<double>& to) {
      for (std::size_t k = 0; k < task.sums.size(); ++k)
        to[static_cast<std::size_t>(ids[k])] += task.sums[k];
    };
    switch (rectangle.sink) {
      case Sink::block:
        break;
      case Sink::borrowed: {
        Block& block = blocks_[rectangle.block];
        block.row_sums.resize(task.row_sums.size());
        for (std::size_t k = 0; k < task.row_sums.size(); ++k)
          block.row_sums[k] += task.row_sums[k];
        block.column_sums.insert(block.column_sums.end(), task.sums.begin(), task.sums.end());
        break;
      }
      case Sink::constant:
        ends_.constant += task.sums[0];
        break;
      case Sink::enter_only:
        add_sums(p.entered + part(task).enters.begin, ends_.enter_only);
        break;
      case Sink::leave_only:
        add_sums(p.left + part(task).leaves.begin, ends_.leave_only);
        break;
      case Sink::pairs:
        for (const Pair& pair : task.pairs) add(pair);
        break;
    }
  }

  void add(const Pair& pair) {
    rows_ += pair.count;
    see(pair.weight);
    if (pair.entered == pair.left) {
      ends_.constant += pair.weight;
      return;
    }
    enter(pair.entered, pair.count);
    leave(pair.left, pair.count);
    if (pair.entered < 0) {
      ends_.leave_only[static_cast<std::size_t>(pair.left)] += pair.weight;
    } else if (pair.left < 0) {
      ends_.enter_only[static_cast<std::size_t>(pair.entered)] += pair.weight;
    } else {
      const Place source = layout_.place(pair.left), target = layout_.place(pair.entered);
      auto& list = pairs_[{source.group, target.group}];
      list.push_back({target.neuron, source.neuron, pair.count, pair.weight});
    }
  }

  /// The pairs of two groups as a block, dense where most exist.
  Block block_of(std::int32_t source, std::int32_t target, const std::vector<Pair>& list) const {
    Block block = layout_.block_between(source, target);
    if (static_cast<double>(list.size()) >= kDenseFill * static_cast<double>(block.stored())) {
      block.value.assign(static_cast<std::size_t>(block.stored()), 0.0);
      for (const Pair& pair : list)
        block.value[static_cast<std::size_t>(pair.entered) * block.rows + pair.left] += pair.weight;
      return block;
    }
    block.ptr.assign(static_cast<std::size_t>(block.columns) + 1, 0);
    for (const Pair& pair : list) ++block.ptr[static_cast<std::size_t>(pair.entered) + 1];
    for (std::int32_t b = 0; b < block.columns; ++b) block.ptr[b + 1] += block.ptr[b];
    block.index.resize(list.size());
    block.value.resize(list.size());
    auto next = block.ptr;
    for (const Pair& pair : list) {
      const auto at = static_cast<std::size_t>(next[static_cast<std::size_t>(pair.entered)]++);
      block.index[at] = pair.left;
      block.value[at] = pair.weight;
    }
    return block;
  }

  /// Several tensors between the same groups hold equal rows.
  void join_blocks() {
    std::map<std::pair<std::int32_t, std::int32_t>, std::size_t> first;
    std::vector<Block> joined;
    for (Block& block : blocks_) {
      const auto [at, fresh] = first.try_emplace({block.source, block.target}, joined.size());
      if (fresh) {
        joined.push_back(std::move(block));
        continue;
      }
      Block& sum = joined[at->second];
      std::vector<double> values(static_cast<std::size_t>(sum.rows) * sum.columns, 0.0);
      const auto add = [&](std::int32_t a, std::int32_t b, double w) {
        values[static_cast<std::size_t>(b) * sum.rows + a] += w;
      };
      sum.for_each_weight(add);
      block.for_each_weight(add);
      sum.value = std::move(values);
      sum.borrowed = {};
      sum.ptr.clear();
      sum.index.clear();
      sum.row_sums.clear();
      sum.column_sums.clear();
      joined_ = true;
    }
    blocks_ = std::move(joined);
  }

  std::optional<MergedPanels> finish() {
    for (const auto& [groups, list] : pairs_)
      blocks_.push_back(block_of(groups.first, groups.second, list));
    join_blocks();
    ends_.rows = rows_;
    if (rows_ > 0 && !normalise()) return std::nullopt;
    BlockProblem problem = without_blocks(ends_, layout_.partition());
    std::int64_t merged = ends_.constant > 0;
    for (std::size_t h = 0; h < ends_.leave_only.size(); ++h)
      merged += (ends_.leave_only[h] > 0) + (ends_.enter_only[h] > 0);
    for (std::size_t id = 0; id < blocks_.size(); ++id) {
      problem.in_blocks[static_cast<std::size_t>(blocks_[id].target)].push_back(
          static_cast<std::int32_t>(id));
      problem.out_blocks[static_cast<std::size_t>(blocks_[id].source)].push_back(
          static_cast<std::int32_t>(id));
      problem.stored += blocks_[id].stored();
    }
    const bool all_positive = rows_ == input_.rows;
    if (all_positive && pairs_.empty() && !joined_) {
      merged += problem.stored;
    } else {
      for (const Block& block : blocks_)
        block.for_each_weight([&](std::int32_t, std::int32_t, double w) { merged += w > 0; });
    }
    problem.blocks = std::move(blocks_);
    return MergedPanels{std::move(ends_), std::move(problem), merged, all_positive};
  }

  /// Makes the largest weight about 1; false where sums left the range, or weights lie too far
  /// apart.
  bool normalise() {
    Look all = unusual_;
    for (const Task& task : tasks_)
      if (task.look.usual) all.add(task.look);
    // No sum is below the smallest entry, nor above the largest one times their number.
    std::vector<double> extremes{all.smallest, all.largest * static_cast<double>(rows_)};
    if (!std::isfinite(extremes[1]) || extremes[1] < kSmallestTotal) return false;
    const auto scale = pathcond::normalise(ends_.constant, ends_.log_scale,
                                           {&extremes, &ends_.leave_only, &ends_.enter_only});
    if (!scale) return false;
    for (Block& block : blocks_) block.scale = *scale;
    return true;
  }

  const Panels<G>& input_;
  PanelLayout<G> layout_;
  int threads_;
  Monitor& monitor_;
  PairProblem ends_;
  std::int64_t rows_ = 0;
  Look unusual_;  ///< positive entries among others, and pairs
  std::vector<Rectangle> rectangles_;
  std::vector<Task> tasks_;
  std::vector<Block> blocks_;
  std::map<std::pair<std::int32_t, std::int32_t>, std::vector<Pair>> pairs_;
  bool joined_ = false;
};

}  // namespace

template <class G>
std::optional<MergedPanels> merge_panels(const Panels<G>& input, int threads, Monitor& monitor) {
  try {
    return PanelMerge<G>(input, threads, monitor).run();
  } catch (const InvalidEntry&) {
    return std::nullopt;
  }
}

template std::optional<MergedPanels> merge_panels(const Panels<float>&, int, Monitor&);
template std::optional<MergedPanels> merge_panels(const Panels<double>&, int, Monitor&);

}  // namespace pathcond
