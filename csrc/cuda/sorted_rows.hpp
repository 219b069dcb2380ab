#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

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
/// Memory: 16 bytes per row, twice those of its g, and a quarter of a byte for counts. Half of all
/// this is given back once rows are sorted.
template <class Machine, class G>
class SortedRows {
 public:
  explicit SortedRows(Machine& machine) : machine_(machine), look_(machine) {}

  /// False where g is invalid, or lies too far apart for sums.
  bool read(const Panels<G>& input) {
    if (input.rows == 0) return false;
    PanelList<G> list(input);
    expect(input.rows, input.neurons, {list.bytes(), list.bytes()});
    list.write(machine_, memory_.ends[0], memory_.g[0]);
    start_look(memory_.g[0]);
    machine_.wait();
    list.give_back(machine_);
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
    expect(B.rows, B.columns, {report.bytes(), report.bytes()});
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
    report.download(machine_);
    start_look(g);
    machine_.wait();
    const bool fits = report.host(census)->fits();
    report.give_back(machine_);
    if (!fits || !look()) return false;
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
  /// Once there are sums, and no rows are needed any more.
  void give_back() {
    const int taken = rows_.ends == memory_.ends[1];
    give_back(ends_[taken]);
    give_back(g_[taken]);
    machine_.give_back_device(memory_.room, region_.bytes() - room_.offset);
  }
  /// What `sum_runs` has to be told.
  Item entry() const {
    Item all;
    all.tiles = 2 * tiles();
    return all;
  }

 private:
  /// Takes memory, and expects what merging and sweeps need besides; `need`: of what B is read
  /// with.
  void expect(std::int64_t size, std::int64_t neurons, Need need) {
    const std::int64_t tiles = tiles_of(size, kRunTile), counts = sort_counts(size);
    for (int k = 0; k < 2; ++k) ends_[k] = region_.reserve<Ends>(size);
    for (int k = 0; k < 2; ++k) g_[k] = region_.reserve<G>(size);
    counts_ = region_.reserve<std::int64_t>(counts);
    room_ = region_.reserve<std::int64_t>(std::max(prefix_room(counts), prefix_room(tiles + 1)));
    const auto begun = region_.reserve<std::int64_t>(tiles + 1);
    const auto across = region_.reserve<TileRuns>(tiles);
    const auto seen = region_.reserve<Seen>(2 * tiles);
    const Axis none{1, 0, 0};
    look_.add(nullptr, {none, none, none, none, Axis{size, 1, 0}});
    need += look_.close();
    const std::size_t usual = usual_bytes(neurons);
    machine_.expect({region_.bytes() + need.device + usual, std::max(need.host, usual)});
    device_ = machine_.device(region_.bytes());
    for (int k = 0; k < 2; ++k) {
      memory_.ends[k] = at(device_, ends_[k]);
      memory_.g[k] = at(device_, g_[k]);
    }
    memory_.counts = at(device_, counts_);
    memory_.room = at(device_, room_);
    begun_ = at(device_, begun);
    across_ = at(device_, across);
    seen_ = at(device_, seen);
  }

  void start_look(const G* g) {
    look_.read_from(0, g);
    look_.start(nullptr);
  }

  bool look() {
    const Look seen = look_.look(0);
    positive_ = static_cast<std::int64_t>(look_.result(0)[0]);
    look_.give_back();
    if (!seen.usual) return false;
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
    rows_ = sort_rows(machine_, g, size, positive_, neurons, memory_);
    const int free = rows_.ends == memory_.ends[0];
    give_back(ends_[free]);
    give_back(g_[free]);
    give_back(counts_);
  }

  template <class T>
  void give_back(Slot<T> slot) {
    machine_.give_back_device(at(device_, slot), slot.size * sizeof(T));
  }

  static constexpr int kUsualSpread = 600;  // of exponents

  Machine& machine_;
  Sums<Machine, G, Count> look_;
  std::int64_t positive_ = 0;
  double scale_ = 1;
  bool usual_ = false;
  Region region_;
  Slot<Ends> ends_[2];
  Slot<G> g_[2];
  Slot<std::int64_t> counts_, room_;  ///< `room_`: and all behind it
  void* device_ = nullptr;
  SortMemory<G> memory_{};
  Rows<G> rows_{};
  std::int64_t* begun_ = nullptr;
  TileRuns* across_ = nullptr;
  Seen* seen_ = nullptr;
};

}  // namespace pathcond::cuda
