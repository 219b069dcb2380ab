#pragma once

#include <cstdint>

/// Dense matrices of weights against vectors of doubles; vector instructions are chosen when the
/// program is loaded. Matrices lie column by column, `stride` from one to the next; nothing
/// overlaps.
namespace pathcond {

/// sum_i w_i x_i
double dot(const double* w, const double* x, std::int64_t n);
double dot(const float* w, const double* x, std::int64_t n);

/// to_i += factor w_i
void add_scaled(double* to, const double* w, double factor, std::int64_t n);
void add_scaled(double* to, const float* w, double factor, std::int64_t n);

/// to_i += sum_b y_b W_ib
template <class W>
void add_columns(const W* w, std::int64_t stride, std::int64_t rows, std::int64_t columns,
                 const double* y, double* to);

/// The same, and sums_b = sum_i W_ib x_i, in one pass over the matrix.
template <class W>
void dot_and_add_columns(const W* w, std::int64_t stride, std::int64_t rows, std::int64_t columns,
                         const double* x, const double* y, double* sums, double* to);

}  // namespace pathcond
