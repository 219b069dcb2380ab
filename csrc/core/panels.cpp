#include "core/panels.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <map>
#include <span>
#include <utility>

#include "core/accumulate.hpp"
#include "core/panel_ends.hpp"
#include "core/panel_layout.hpp"
#include "core/parallel.hpp"

namespace pathcond {
namespace {

/// Tasks are cut by entries, never by workers: no sum depends on the number of threads.
constexpr std::int64_t kEntriesPerTask = kEntriesPerWorker / 2;
constexpr std::int64_t kMostTasksInPlace = 16;
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
      : input_(input),
        layout_(input),
        threads_(threads),
        monitor_(monitor),
        ends_(input_, layout_) {}

  std::optional<MergedPanels> run() {
    if (!layout_.arrange()) return std::nullopt;
    rectangles_ = layout_.rectangles();
    allocate_blocks();
    cut_tasks();
    const int workers = workers_for(input_.rows, threads_);
    std::atomic<std::size_t> next = 0;
    run_workers(workers, [&](int worker) {
      for (std::size_t k = next++; k < tasks_.size(); k = next++) {
        work(tasks_[k]);
        if (worker == 0) monitor_.advance(kEntriesPerTask);  // signals are for the calling thread
      }
    });
    for (auto task = tasks_.begin(); task != tasks_.end();) {
      const auto first = task;
      while (task != tasks_.end() && task->rectangle == first->rectangle) ++task;
      count({first, task});
      for (const Task& part : std::span(first, task)) add(part);
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
      std::int64_t step = std::max<std::int64_t>(1, kEntriesPerTask * size / entries);
      // Every task over a matrix that stays in place has sums of its own over all rows.
      if (rectangle.sink == Sink::borrowed)
        step = std::max(step, (size + kMostTasksInPlace - 1) / kMostTasksInPlace);
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

  /// Rows with g > 0 that a rectangle's neurons have.
  void count(std::span<const Task> tasks) {
    const Rectangle& rectangle = rectangles_[tasks[0].rectangle];
    if (rectangle.sink == Sink::pairs) return;
    Look look;
    for (const Task& task : tasks) look.add(task.look);
    if (look.usual) {
      ends_.add_usual(panel(rectangle), rectangle.enters, rectangle.leaves, look);
      return;
    }
    for (const Task& task : tasks) count(task);
  }

  void count(const Task& task) {
    const Part part = this->part(task);
    const auto& p = part.panel;
    const auto &e = part.enters, &l = part.leaves;
    if (task.look.usual) {
      ends_.add_usual(p, e, l, task.look);
      return;
    }
    for (std::int64_t i = e.begin; i < e.end; ++i)
      for (std::int64_t j = l.begin; j < l.end; ++j) {
        std::int64_t positive = 0;
        for_each_tap(p, part.at(i, j), [&](G value) {
          positive += value > 0 ? p.multiplicity : 0;
          const auto weight = static_cast<double>(value);
          if (value > 0) ends_.see({weight, weight, true});
        });
        ends_.add_rows(positive);
        ends_.enter(p.entered[i], positive);
        ends_.leave(p.left[j], positive);
      }
  }

  void add(const Task& task) {
    const Rectangle& rectangle = rectangles_[task.rectangle];
    const auto& p = panel(rectangle);
    const Part part = this->part(task);
    const auto enters = static_cast<std::size_t>(part.enters.begin);
    const auto leaves = static_cast<std::size_t>(part.leaves.begin);
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
        ends_.add_constant(task.sums[0]);
        break;
      case Sink::enter_only:
        for (std::size_t k = 0; k < task.sums.size(); ++k)
          ends_.add_enter_only(p.entered[enters + k], task.sums[k]);
        break;
      case Sink::leave_only:
        for (std::size_t k = 0; k < task.sums.size(); ++k)
          ends_.add_leave_only(p.left[leaves + k], task.sums[k]);
        break;
      case Sink::pairs:
        for (const Pair& pair : task.pairs) ends_.add(pair);
        break;
    }
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
    for (Block& block : ends_.pair_blocks()) blocks_.push_back(std::move(block));
    join_blocks();
    std::int64_t positive = 0;
    const bool all = ends_.all_positive() && !ends_.any_pairs() && !joined_;
    for (const Block& block : blocks_) {
      if (all)
        positive += block.stored();
      else
        block.for_each_weight([&](std::int32_t, std::int32_t, double w) { positive += w > 0; });
    }
    return ends_.finish(std::move(blocks_), positive);
  }

  const Panels<G>& input_;
  PanelLayout<G> layout_;
  int threads_;
  Monitor& monitor_;
  PanelEnds<G> ends_;
  std::vector<Rectangle> rectangles_;
  std::vector<Task> tasks_;
  std::vector<Block> blocks_;
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
