// The C interface: structs to views, callbacks, exceptions to codes; nothing else.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <span>
#include <string>

#include "pathcond/pathcond.h"
#include "pathcond/solve.hpp"

namespace pathcond {
namespace {

/// Thrown on behalf of `poll`.
struct Interrupted {};

/// What later versions may append to a struct; a larger size was never set.
constexpr std::size_t kLargestTail = 1024;

/// `from` as this version knows it; what a later one may have appended has to be zero.
template <class Struct>
Struct known(const Struct* from, const char* what) {
  if (from->size < sizeof(Struct) || from->size > sizeof(Struct) + kLargestTail)
    throw InvalidInput(std::string(what) + ": expected size = sizeof(pathcond_" + what + "), " +
                       std::to_string(sizeof(Struct)) + ", got " + std::to_string(from->size));
  const auto* bytes = reinterpret_cast<const unsigned char*>(from);
  if (std::any_of(bytes + sizeof(Struct), bytes + from->size, [](auto byte) { return byte != 0; }))
    throw InvalidInput(std::string(what) + ": sets something that this version of the library (" +
                       pathcond_version() + ") does not know");
  return *from;
}

void expect(const void* pointer, const char* name, bool needed = true) {
  if (needed && pointer == nullptr)
    throw InvalidInput(std::string(name) + ": expected an address, got NULL");
}

Method method_of(std::int32_t method) {
  switch (method) {
    case PATHCOND_AUTO:
      return Method::automatic;
    case PATHCOND_CD:
      return Method::cd;
    case PATHCOND_NEWTON:
      return Method::newton;
  }
  throw InvalidInput("method: expected a pathcond_method, got " + std::to_string(method));
}

pathcond_status status_of(Status status) {
  switch (status) {
    case Status::converged:
      return PATHCOND_CONVERGED;
    case Status::max_sweeps:
      return PATHCOND_MAX_SWEEPS;
    case Status::stopped_by_callback:
      return PATHCOND_STOPPED_BY_CALLBACK;
    case Status::stalled:
      break;
  }
  return PATHCOND_STALLED;
}

Options options_of(const pathcond_options& from, std::int64_t neurons) {
  Options options;
  options.method = method_of(from.method);
  if (!(from.tolerance < 0)) options.tolerance = from.tolerance;
  if (from.max_sweeps >= 0) options.max_sweeps = from.max_sweeps;
  options.max_scale = from.max_scale;
  options.threads = from.threads;
  if (from.u0 != nullptr) options.u0.assign(from.u0, from.u0 + std::max<std::int64_t>(neurons, 0));
  void* const user_data = from.user_data;
  if (const auto callback = from.callback)
    options.callback = [=](std::int64_t sweep, double objective, double gradient_norm) {
      return callback(sweep, objective, gradient_norm, user_data) != 0;
    };
  if (const auto poll = from.poll)
    options.poll = [=] {
      if (poll(user_data) != 0) throw Interrupted{};
    };
  return options;
}

[[noreturn]] void refuse_type(const char* name, std::int32_t type) {
  throw InvalidInput(std::string(name) + ": no such type is supported here, got " +
                     std::to_string(type));
}

template <class Index, class Value, class G>
Solution run(const pathcond_problem& from, const Options& options) {
  const IncidenceView<Index, Value> B{from.rows,
                                      from.columns,
                                      static_cast<const Index*>(from.indptr),
                                      static_cast<const Index*>(from.indices),
                                      static_cast<const Value*>(from.values),
                                      from.entries};
  const auto* g = static_cast<const G*>(from.g);
  return solve(B, std::span(g, static_cast<std::size_t>(from.rows)), options);
}

template <class Index, class Value>
Solution for_weights(const pathcond_problem& from, const Options& options) {
  switch (from.weight_type) {
    case PATHCOND_FLOAT32:
      return run<Index, Value, float>(from, options);
    case PATHCOND_FLOAT64:
      return run<Index, Value, double>(from, options);
  }
  refuse_type("weight_type", from.weight_type);
}

template <class Index>
Solution for_values(const pathcond_problem& from, const Options& options) {
  switch (from.value_type) {
    case PATHCOND_INT8:
      return for_weights<Index, std::int8_t>(from, options);
    case PATHCOND_INT32:
      return for_weights<Index, std::int32_t>(from, options);
    case PATHCOND_INT64:
      return for_weights<Index, std::int64_t>(from, options);
    case PATHCOND_FLOAT32:
      return for_weights<Index, float>(from, options);
    case PATHCOND_FLOAT64:
      return for_weights<Index, double>(from, options);
  }
  refuse_type("value_type", from.value_type);
}

Solution solve_problem(const pathcond_problem& from, const Options& options) {
  expect(from.indptr, "indptr");
  expect(from.indices, "indices", from.entries > 0);
  expect(from.values, "values", from.entries > 0);
  expect(from.g, "g", from.rows > 0);
  switch (from.index_type) {
    case PATHCOND_INT32:
      return for_values<std::int32_t>(from, options);
    case PATHCOND_INT64:
      return for_values<std::int64_t>(from, options);
  }
  refuse_type("index_type", from.index_type);
}

void write(const Solution& from, pathcond_solution& to) {
  std::copy(from.u.begin(), from.u.end(), to.u);
  if (to.frozen != nullptr) std::copy(from.frozen.begin(), from.frozen.end(), to.frozen);
  to.objective = from.objective;
  to.initial_objective = from.initial_objective;
  to.gradient_norm = from.gradient_norm;
  to.passes = from.passes;
  to.sweeps = from.sweeps;
  to.rows = from.rows;
  to.merged_rows = from.merged_rows;
  to.status = status_of(from.status);
  to.message[0] = '\0';
}

pathcond_result fail(pathcond_solution& solution, pathcond_result result, const char* message) {
  std::snprintf(solution.message, sizeof solution.message, "%s", message);
  return result;
}

}  // namespace
}  // namespace pathcond

extern "C" {

const char* pathcond_version(void) { return PATHCOND_VERSION; }

void pathcond_options_init(pathcond_options* options, size_t size) {
  const pathcond::Options defaults;
  pathcond_options known{};
  known.size = size;
  known.method = PATHCOND_AUTO;
  known.threads = defaults.threads;
  known.tolerance = -1;
  known.max_sweeps = -1;
  known.max_scale = defaults.max_scale;
  std::memset(options, 0, size);
  std::memcpy(options, &known, std::min(size, sizeof known));
}

pathcond_result pathcond_solve(const pathcond_problem* problem, const pathcond_options* options,
                               pathcond_solution* solution) {
  using namespace pathcond;
  // Without room for it there is no message.
  if (solution == nullptr || solution->size < sizeof *solution) return PATHCOND_INVALID_INPUT;
  try {
    known(solution, "solution");
    expect(problem, "problem");
    const pathcond_problem from = known(problem, "problem");
    expect(solution->u, "u", from.columns > 0);
    pathcond_options chosen;
    pathcond_options_init(&chosen, sizeof chosen);
    if (options != nullptr) chosen = known(options, "options");
    write(solve_problem(from, options_of(chosen, from.columns)), *solution);
    return PATHCOND_OK;
  } catch (const InvalidInput& error) {
    return fail(*solution, PATHCOND_INVALID_INPUT, error.what());
  } catch (const NotCanonical& error) {
    return fail(*solution, PATHCOND_NOT_CANONICAL, error.what());
  } catch (const Interrupted&) {
    return fail(*solution, PATHCOND_INTERRUPTED, "poll: interrupted");
  } catch (const std::bad_alloc&) {
    return fail(*solution, PATHCOND_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return fail(*solution, PATHCOND_FAILED, error.what());
  } catch (...) {
    return fail(*solution, PATHCOND_FAILED, "unknown exception");
  }
}
}
