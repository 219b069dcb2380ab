#pragma once

#include <cstdint>

/// One column of a dense matrix of weights against vectors of doubles; vector instructions are
/// chosen when the program is loaded.
namespace pathcond {

/// sum_i w_i x_i
double dot(const double* w, const double* x, std::int64_t n);
double dot(const float* w, const double* x, std::int64_t n);

/// to_i += factor w_i
void add_scaled(double* to, const double* w, double factor, std::int64_t n);
void add_scaled(double* to, const float* w, double factor, std::int64_t n);

/// Both in one pass; nothing may overlap.
double dot_and_add(const double* w, const double* x, double* to, double factor, std::int64_t n);
double dot_and_add(const float* w, const double* x, double* to, double factor, std::int64_t n);

}  // namespace pathcond
