#include "core/blocks.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/dense.hpp"
#include "core/parallel.hpp"

namespace pathcond {
namespace {

/// Calls use(first column, stride) with the values of a dense block in their own type.
template <class Use>
void with_columns(const Block& block, const Use& use) {
  const Borrowed& held = block.borrowed;
  if (held.single)
    use(held.single, held.stride);
  else if (held.twice)
    use(held.twice, held.stride);
  else
    use(block.value.data(), static_cast<std::int64_t>(block.rows));
}

}  // namespace

std::vector<double> Block::copied() const {
  std::vector<double> copy;
  copy.reserve(static_cast<std::size_t>(stored()));
  for_each_weight([&](std::int32_t, std::int32_t, double w) { copy.push_back(w); });
  return copy;
}

namespace {

/// Values from which on the columns of a block are shared among threads.
constexpr std::int64_t kLargeBlock = 4 * kEntriesPerWorker;

int part_count(const Block& block) {
  constexpr std::int64_t kMostParts = 16;
  return static_cast<int>(
      std::clamp<std::int64_t>(2 * block.stored() / kLargeBlock, 1, kMostParts));
}

/// Calls work(first column, last column, part) for parts of about equal size, as many as the size
/// of the block asks for, whatever the number of threads.
template <class Work>
void for_parts(const Block& block, int threads, const Work& work) {
  const int parts = part_count(block);
  const auto bound = [&](int part) {
    return static_cast<std::int32_t>(static_cast<std::int64_t>(block.columns) * part / parts);
  };
  const int workers = std::min(threads, parts);
  run_workers(workers, [&](int worker) {
    for (int part = worker; part < parts; part += workers) work(bound(part), bound(part + 1), part);
  });
}

/// Adds up what every part has for the source neurons.
template <class Work>
void sum_over_parts(const Block& block, double* left, int threads, const Work& work) {
  std::fill_n(left, block.rows, 0.0);
  const int parts = part_count(block);
  if (parts == 1) {
    work(0, block.columns, left);
    return;
  }
  const auto n = static_cast<std::size_t>(block.rows);
  std::vector<double> of_part(n * static_cast<std::size_t>(parts), 0.0);
  for_parts(block, threads, [&](std::int32_t begin, std::int32_t end, int part) {
    work(begin, end, of_part.data() + n * static_cast<std::size_t>(part));
  });
  for (std::size_t k = 0; k < of_part.size(); ++k) left[k % n] += of_part[k];
}

}  // namespace

bool Block::divisible() const { return part_count(*this) > 1; }

void Block::gather(const double* x, double* right, int threads) const {
  for_parts(*this, threads, [&](std::int32_t begin, std::int32_t end, int) {
    for (std::int32_t b = begin; b < end; ++b) right[b] = column_sum(b, x);
  });
}

void Block::scatter(const double* y, double* left, int threads) const {
  const auto scaled = times_scale(y);
  sum_over_parts(*this, left, threads, [&](std::int32_t begin, std::int32_t end, double* to) {
    if (dense()) {
      with_columns(*this, [&](const auto* w, std::int64_t stride) {
        add_columns(w + begin * stride, stride, rows, end - begin, &scaled[begin], to);
      });
      return;
    }
    for (std::int32_t b = begin; b < end; ++b)
      for (auto k = ptr[b]; k < ptr[b + 1]; ++k) to[index[k]] += value[k] * scaled[b];
  });
}

void Block::gather_scatter(const double* x, const double* y, double* right, double* left,
                           int threads) const {
  const auto scaled = times_scale(y);
  sum_over_parts(*this, left, threads, [&](std::int32_t begin, std::int32_t end, double* to) {
    if (dense()) {
      with_columns(*this, [&](const auto* w, std::int64_t stride) {
        dot_and_add_columns(w + begin * stride, stride, rows, end - begin, x, &scaled[begin],
                            right + begin, to);
      });
    } else {
      for (std::int32_t b = begin; b < end; ++b) {
        double sum = 0;
        for (auto k = ptr[b]; k < ptr[b + 1]; ++k) {
          sum += value[k] * x[index[k]];
          to[index[k]] += value[k] * scaled[b];
        }
        right[b] = sum;
      }
    }
    for (std::int32_t b = begin; b < end; ++b) right[b] *= scale;
  });
}

std::vector<double> Block::times_scale(const double* y) const {
  std::vector<double> scaled(y, y + columns);
  for (double& entry : scaled) entry *= scale;
  return scaled;
}

double Block::column_sum(std::int32_t b, const double* x) const {
  double sum = 0;
  if (dense())
    with_columns(*this,
                 [&](const auto* w, std::int64_t stride) { sum = dot(w + b * stride, x, rows); });
  else
    for (auto k = ptr[b]; k < ptr[b + 1]; ++k) sum += value[k] * x[index[k]];
  return scale * sum;
}

void Block::add_column(std::int32_t b, double factor, double* left) const {
  if (dense())
    with_columns(*this, [&](const auto* w, std::int64_t stride) {
      add_scaled(left, w + b * stride, scale * factor, rows);
    });
  else
    for (auto k = ptr[b]; k < ptr[b + 1]; ++k) left[index[k]] += value[k] * (scale * factor);
}

double Block::row_sum(std::int32_t a, const double* y) const {
  double sum = 0;
  if (dense())
    with_columns(*this, [&](const auto* w, std::int64_t stride) {
      for (std::int32_t b = 0; b < columns; ++b)
        sum += static_cast<double>(w[b * stride + a]) * y[b];
    });
  else
    for_each([&](std::int32_t from, std::int32_t b, std::size_t k) {
      if (from == a) sum += value[k] * y[b];
    });
  return scale * sum;
}

double Block::largest_exponent(const std::vector<double>& values, const double* u_source,
                               const double* u_target) const {
  double largest = -std::numeric_limits<double>::infinity();
  for_each([&](std::int32_t a, std::int32_t b, std::size_t k) {
    if (values[k] > 0) largest = std::max(largest, std::log(values[k]) + u_source[a] - u_target[b]);
  });
  return largest;
}

void Block::absorb(const std::vector<double>& values, const double* u_source,
                   const double* u_target, double offset) {
  value.resize(values.size());
  borrowed = {};
  scale = 1;
  for_each([&](std::int32_t a, std::int32_t b, std::size_t k) {
    if (values[k] > 0)
      value[k] = std::exp(std::log(values[k]) + u_source[a] - u_target[b] - offset);
  });
}

}  // namespace pathcond
