// Exits with 0 if exceptions keep their type on their way out of the library and through it.

#include <pathcond/pathcond.h>

#include <cstdint>
#include <cstdio>
#include <pathcond/solve.hpp>
#include <span>
#include <vector>

namespace {

struct Mine {};

// One neuron that one parameter enters and two leave.
struct Problem {
  std::vector<std::int64_t> indptr{0, 3}, indices{0, 1, 2};
  std::vector<float> values{-1, 1, 1};
  std::vector<float> g{1, 2, 3};

  pathcond::Solution solve(const pathcond::Options& options = {}) const {
    const pathcond::IncidenceView<std::int64_t, float> B{
        3, 1, indptr.data(), indices.data(), values.data(), 3};
    return pathcond::solve(B, std::span<const float>(g), options);
  }
};

template <class Expected, class Work>
bool throws(const char* what, const Work& work) {
  try {
    work();
  } catch (const Expected&) {
    return true;
  } catch (...) {
  }
  std::printf("%s: not the exception that was expected\n", what);
  return false;
}

}  // namespace

int main() {
  const bool invalid = throws<pathcond::InvalidInput>("invalid", [] {
    Problem problem;
    problem.g[1] = -1;
    problem.solve();
  });
  const bool unsorted = throws<pathcond::NotCanonical>("unsorted", [] {
    Problem problem;
    problem.indices = {1, 0, 2};
    problem.solve();
  });
  const bool callback = throws<Mine>("callback", [] {
    pathcond::Options options;
    options.callback = [](std::int64_t, double, double) -> bool { throw Mine{}; };
    options.max_sweeps = 3;
    options.method = pathcond::Method::cd;
    Problem().solve(options);
  });
  return invalid && unsorted && callback && Problem().solve().converged() ? 0 : 1;
}
