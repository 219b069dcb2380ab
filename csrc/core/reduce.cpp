#include <cmath>

#include "core/accumulate.hpp"
#include "core/panels.hpp"

namespace pathcond {

template <class G>
std::optional<std::vector<double>> reduce(const Panel<G>& panel, bool over_enters,
                                          bool over_leaves) {
  if (panel.batch * panel.enters * panel.leaves * panel.depth() == 0) return std::nullopt;
  const std::int64_t leaves = over_leaves ? 1 : panel.leaves;
  const std::int64_t size = (over_enters ? 1 : panel.enters) * leaves;
  std::vector<double> sums(static_cast<std::size_t>(panel.batch * size), 0.0);
  for (std::int64_t k = 0; k < panel.batch; ++k) {
    const Look look = accumulate(
        panel.g + k * panel.batch_stride,
        {Axis{panel.enters, panel.enter_stride, over_enters ? 0 : leaves},
         Axis{panel.leaves, panel.leave_stride, over_leaves ? 0 : 1},
         Axis{panel.repeats, panel.repeat_stride, 0}, Axis{panel.taps, panel.tap_stride, 0}},
        sums.data() + k * size);
    if (!look.usual) return std::nullopt;
  }
  for (const double sum : sums)
    if (!std::isfinite(sum)) return std::nullopt;
  return sums;
}

template std::optional<std::vector<double>> reduce(const Panel<float>&, bool, bool);
template std::optional<std::vector<double>> reduce(const Panel<double>&, bool, bool);

}  // namespace pathcond
