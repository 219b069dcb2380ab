#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <tuple>

#include "core/incidence.hpp"
#include "cuda/join_seen.hpp"
#include "cuda/matrix.hpp"
#include "cuda/memory.hpp"
#include "cuda/panel_rows.hpp"
#include "cuda/runs.hpp"
#include "cuda/sums.hpp"

namespace pathcond::cuda {

/// The rows of a problem with g > 0 on a machine, sorted, and sums of those that are equal.
///
/// Memory: 8 bytes per row to find out what B is; for those that stay 8 more, twice those of their
/// g, and an eighth of a byte for counts. Of these, 8 are free again once rows are sorted.
template <class Machine, class G>
class SortedRows {
 public:
  explicit SortedRows(Machine& machine) : machine_(machine), look_(machine) {}

  /// False where g is invalid, or lies too far apart for sums.
  bool read(const Panels<G>& input) {
    if (input.rows == 0) return false;
    PanelList<G> list(input);
    Region copy;
    const auto slot = copy.reserve<G>(input.rows);
    memory_.g[0] = at(machine_.device(copy.bytes()), slot);
    expect(memory_.g[0], input.rows, {list.bytes(), list.bytes()});
    list.write(machine_, memory_.ends[0], memory_.g[0]);
    look_.start(nullptr);
    machine_.wait();
    if (!look()) return false;
    sort(memory_.g[0], input.rows, input.neurons);
    return true;
  }

  /// The same, and where some row leaves or enters two neurons, or one by another value than +-1,
  /// or B is invalid.
  template <class Index, class Value>
  bool read(const IncidenceView<Index, Value>& B, const G* g) {
    if (B.rows == 0 || B.columns >= std::numeric_limits<std::int32_t>::max()) return false;
    Mirrored report;
    const auto census = report.reserve<Census>(1);
    expect(g, B.rows, {report.bytes(), report.bytes()});
    report.place(machine_.device(report.bytes()), machine_.host(report.bytes()));
    Ends* rows = memory_.ends[0];
    fill(machine_, rows, B.rows, Ends{});
    fill(machine_, report.device(census), 1, Census{});
    machine_.launch(CheckColumnsKernel<Index, Value>::tiles(B.columns),
                    CheckColumnsKernel<Index, Value>{B, report.device(census)});
    if (B.columns > 0)
      machine_.launch(tiles_of(B.entries, kEndsTile),
                      EndsKernel<Index, Value>{B, rows, report.device(census)});
    machine_.launch(tiles_of(B.rows, kEndsTile),
                    CountRowsKernel{rows, B.rows, report.device(census)});
    look_.start(nullptr);
    report.download(machine_);
    machine_.wait();
    if (!report.host(census)->fits() || !look()) return false;
    sort(g, B.rows, B.columns);
    return true;
  }

  std::int64_t size() const { return rows_.size; }
  const Rows<G>& rows() const { return rows_; }
  std::int64_t tiles() const { return tiles_of(size(), kRunTile); }
  /// Sums are those of g times this.
  double scale() const { return scale_; }
  /// Whether sums may stay on the machine as they are, and be multiplied there with all that a
  /// solve multiplies them with: the largest entry is about 1, the smallest not far from it.
  bool usual() const { return usual_; }
  /// Memory that is free, 8 bytes per row.
  void* free() const { return free_; }

  /// See `CountRunsKernel`; both are 0 so far.
  void count_runs(NeuronCensus* neurons, RunCensus* census) {
    fill(machine_, begun_, tiles() + 1, std::int64_t{0});
    machine_.launch(tiles(), CountRunsKernel<G>{rows_, neurons, census, begun_});
  }
  /// Runs that begin before every tile, and in all; called once, after they were counted.
  const std::int64_t* runs_before() {
    sums_before(machine_, begun_, tiles() + 1, memory_.room);
    return begun_;
  }

  /// The sum of every run to its place, and a look at all of them. `entry` is known to the machine.
  template <class Where>
  void sum_runs(const Where& where, const Item* entry, Seen* seen) {
    machine_.launch(tiles(), SumRunsKernel<G, Where>{rows_, scale_, where, across_, seen_});
    machine_.launch(tiles(),
                    JoinRunsKernel<G, Where>{rows_, where, across_, tiles(), seen_ + tiles()});
    machine_.launch(1, JoinSeenKernel<Item>{entry, seen_, seen});
  }
  /// What `sum_runs` has to be told.
  Item entry() const {
    Item all;
    all.tiles = 2 * tiles();
    return all;
  }

 private:
  /// Takes memory for rows in the order of B, whose g will be there; `need`: of what else is read.
  void expect(const G* g, std::int64_t size, Need need) {
    const Axis none{1, 0, 0};
    Region rows;
    const auto ends = rows.reserve<Ends>(size);
    look_.add(g, {none, none, none, none, Axis{size, 1, 0}});
    need += look_.close();
    need += {rows.bytes(), 0};
    machine_.expect(need);
    memory_.ends[0] = at(machine_.device(rows.bytes()), ends);
  }

  bool look() {
    const Look seen = look_.look(0);
    if (!seen.usual) return false;
    positive_ = static_cast<std::int64_t>(look_.result(0)[0]);
    if (positive_ == 0) return true;
    const int exponent = std::ilogb(seen.largest) + 1;
    usual_ = exponent - std::ilogb(seen.smallest) <= kUsualSpread;
    if (usual_) {
      scale_ = std::ldexp(1.0, std::min(-exponent, 1023));
      return true;
    }
    scale_ = scale_for({positive_, exponent});
    return scale_ >= 1 || seen.smallest * scale_ > 0;
  }

  void sort(const G* g, std::int64_t size, std::int64_t neurons) {
    if (positive_ == 0) return;
    const std::int64_t n = positive_, tiles = tiles_of(n, kRunTile);
    Region memory;
    const auto ends = memory.reserve<Ends>(n);
    const auto g0 = memory.reserve<G>(memory_.g[0] ? 0 : n), g1 = memory.reserve<G>(n);
    const auto counts = memory.reserve<std::int64_t>(sort_counts(size));
    const auto room = memory.reserve<std::int64_t>(
        std::max(prefix_room(sort_counts(size)), prefix_room(tiles + 1)));
    const auto begun = memory.reserve<std::int64_t>(tiles + 1);
    const auto across = memory.reserve<TileRuns>(tiles);
    const auto seen = memory.reserve<Seen>(2 * tiles);
    void* device = machine_.device(memory.bytes());
    memory_.ends[1] = at(device, ends);
    if (!memory_.g[0]) memory_.g[0] = at(device, g0);
    memory_.g[1] = at(device, g1);
    memory_.counts = at(device, counts);
    memory_.room = at(device, room);
    begun_ = at(device, begun);
    across_ = at(device, across);
    seen_ = at(device, seen);
    std::tie(rows_, free_) = sort_rows(machine_, g, size, n, neurons, memory_);
  }

  static constexpr int kUsualSpread = 600;  // of exponents

  Machine& machine_;
  Sums<Machine, G, Count> look_;
  std::int64_t positive_ = 0;
  double scale_ = 1;
  bool usual_ = false;
  SortMemory<G> memory_{};
  Rows<G> rows_{};
  Ends* free_ = nullptr;
  std::int64_t* begun_ = nullptr;
  TileRuns* across_ = nullptr;
  Seen* seen_ = nullptr;
};

}  // namespace pathcond::cuda
