#pragma once

#include <stdexcept>

#include "fuzz/problem.hpp"

/// What a solve must do, found without the solver: slowly, and in 80-bit numbers.
namespace pathcond::fuzz {

enum class Verdict {
  solved,
  not_canonical,  ///< valid but for the order of its entries
  invalid,
  either,  ///< g spans so much that the solver may refuse it
};

Verdict expected(const Problem& problem, const Options& options);

/// A solve did what it must not.
struct Wrong : std::runtime_error {
  explicit Wrong(const char* what, double seen = 0, double allowed = 0);
};

/// Throws Wrong if a solution of a valid problem is not what it claims to be.
void check(const Problem& problem, const Options& options, const Solution& solution);
/// The same problem solved with another number of threads.
void check_equal(const Solution& one, const Solution& other);

/// The problem in Python, to be pasted into a test.
void print(const Problem& problem, const Options& options);

}  // namespace pathcond::fuzz
