#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/can_throw.hpp"
#include "core/solve.hpp"

namespace pathcond {

namespace py = pybind11;

/// Runs Python's signal handlers at most every 20 ms.
class SignalPoll {
 public:
  void operator()() {
    const auto now = Clock::now();
    if (now - last_ < std::chrono::milliseconds(20)) return;
    last_ = now;
    const py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_ = Clock::now();
};

inline decltype(Options::callback) wrap(const py::object& callback) {
  if (callback.is_none()) return {};
  return [&callback](std::int64_t sweep, double objective, double gradient_norm) {
    const py::gil_scoped_acquire gil;
    const py::object answer = callback(sweep, objective, gradient_norm);
    const int truth = PyObject_IsTrue(answer.ptr());
    if (truth < 0) throw py::error_already_set();
    return truth == 1;
  };
}

/// `callback` outlives the result.
inline Options options_from(const std::string& method, bool linear, std::optional<double> tolerance,
                            std::optional<std::int64_t> max_sweeps, std::vector<double> u0,
                            double max_scale, int threads, const py::object& callback) {
  can_throw();  // on this thread too, before memory is short
  return {method_from(method), linear,  tolerance,      max_sweeps,  std::move(u0),
          max_scale,           threads, wrap(callback), SignalPoll()};
}

/// Neurons that the channels of a panel enter or leave, batch x channels.
inline void check_ids(const py::array& ids, std::int64_t batch, std::int64_t channels,
                      std::int32_t neurons) {
  if (!ids.dtype().is(py::dtype::of<std::int32_t>()) || ids.ndim() != 2 ||
      !(ids.flags() & py::array::c_style) || ids.shape(0) != batch || ids.shape(1) != channels)
    throw py::type_error("neurons must be contiguous int32, one per channel");
  const auto* id = static_cast<const std::int32_t*>(ids.data());
  for (py::ssize_t k = 0; k < ids.size(); ++k)
    if (id[k] < -1 || id[k] >= neurons) throw py::value_error("no such neuron");
}

}  // namespace pathcond
