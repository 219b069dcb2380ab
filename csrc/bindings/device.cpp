#include "bindings/device.hpp"

#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include <array>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <variant>

#include "bindings/options.hpp"
#include "cuda/scale_parameters.hpp"
#include "cuda/solve.hpp"
#include "cuda/status.hpp"

namespace pathcond {
namespace {

using namespace pybind11::literals;

/// (address, shape, strides in entries, entered, left) per parameter, see `Panel`.
using DevicePart = std::tuple<std::uintptr_t, std::array<std::int64_t, 5>,
                              std::array<std::int64_t, 5>, py::array, py::array>;
/// (neurons, dtype of g, parts)
using DeviceTensors = std::tuple<std::int32_t, std::string, std::vector<DevicePart>>;
/// (rows, columns, entries, dtypes and addresses of indptr and indices, values, g), see
/// `IncidenceView`. indptr and indices have one dtype.
using DeviceMatrix = std::tuple<std::int64_t, std::int64_t, std::int64_t,
                                std::array<std::string, 3>, std::array<std::uintptr_t, 4>>;
using DeviceSource = std::variant<DeviceTensors, DeviceMatrix>;
/// (first, steps), see `FactorPlace`.
using DeviceFactor = std::tuple<std::int64_t, std::array<std::int64_t, 3>>;
using Factors = py::array_t<double, py::array::c_style>;
/// (address, dtype, shape, factors), see `ScaledParameter`.
using DeviceParameter = std::tuple<std::uintptr_t, std::string, std::array<std::int64_t, 3>,
                                   DeviceFactor, DeviceFactor>;
/// allocate(bytes, on the device) -> address; the memory lives as long as the call.
using Allocate = std::function<std::uintptr_t(std::size_t, bool)>;

template <class G>
Panels<G> panels_of(std::int32_t neurons, const std::vector<DevicePart>& parts) {
  Panels<G> panels{neurons, 0, {}};
  for (const auto& [address, shape, strides, entered, left] : parts) {
    const auto [batch, enters, leaves, repeats, taps] = shape;
    check_ids(entered, batch, enters, neurons);
    check_ids(left, batch, leaves, neurons);
    panels.panels.push_back({reinterpret_cast<const G*>(address), batch, enters, leaves, repeats,
                             taps, strides[0], strides[1], strides[2], strides[3], strides[4],
                             static_cast<const std::int32_t*>(entered.data()),
                             static_cast<const std::int32_t*>(left.data())});
    panels.rows += batch * enters * leaves * repeats * taps;
  }
  return panels;
}

cuda::DeviceProblem problem_from(const DeviceTensors& tensors) {
  const auto& [neurons, dtype, parts] = tensors;
  if (dtype == "float32") return panels_of<float>(neurons, parts);
  if (dtype == "float64") return panels_of<double>(neurons, parts);
  if (dtype == "bfloat16") return panels_of<cuda::Bfloat16>(neurons, parts);
  throw py::type_error("g must be float32, float64 or bfloat16");
}

template <class Index, class Value>
IncidenceView<Index, Value> view_of(const DeviceMatrix& matrix) {
  const auto& [rows, columns, entries, dtypes, addresses] = matrix;
  return {rows,
          columns,
          reinterpret_cast<const Index*>(addresses[0]),
          reinterpret_cast<const Index*>(addresses[1]),
          reinterpret_cast<const Value*>(addresses[2]),
          entries};
}

template <class Index>
cuda::DeviceColumns::View<Index> view_from(const DeviceMatrix& matrix) {
  const std::string& values = std::get<3>(matrix)[1];
  if (values == "int8") return view_of<Index, std::int8_t>(matrix);
  if (values == "int32") return view_of<Index, std::int32_t>(matrix);
  if (values == "int64") return view_of<Index, std::int64_t>(matrix);
  if (values == "float32") return view_of<Index, float>(matrix);
  if (values == "float64") return view_of<Index, double>(matrix);
  throw py::type_error("values must be int8, int32, int64, float32 or float64");
}

cuda::DeviceProblem problem_from(const DeviceMatrix& matrix) {
  const auto& [rows, columns, entries, dtypes, addresses] = matrix;
  cuda::DeviceColumns problem;
  if (dtypes[0] == "int32")
    problem.B = view_from<std::int32_t>(matrix);
  else if (dtypes[0] == "int64")
    problem.B = view_from<std::int64_t>(matrix);
  else
    throw py::type_error("indices must be int32 or int64");
  if (dtypes[2] == "float32")
    problem.g = reinterpret_cast<const float*>(addresses[3]);
  else if (dtypes[2] == "float64")
    problem.g = reinterpret_cast<const double*>(addresses[3]);
  else if (dtypes[2] == "bfloat16")
    problem.g = reinterpret_cast<const cuda::Bfloat16*>(addresses[3]);
  else
    throw py::type_error("g must be float32, float64 or bfloat16");
  return problem;
}

cuda::DeviceProblem problem_from(const DeviceSource& source) {
  return std::visit([](const auto& any) { return problem_from(any); }, source);
}

cuda::Memory memory_from(const Allocate& allocate) {
  const auto from = [&allocate](bool on_device) {
    return [&allocate, on_device](std::size_t bytes) {
      const py::gil_scoped_acquire gil;
      return reinterpret_cast<void*>(allocate(bytes, on_device));
    };
  };
  return {from(true), from(false)};
}

std::optional<Solution> solve_on_device(const DeviceSource& source, const Allocate& allocate,
                                        int device, std::uintptr_t stream,
                                        const std::string& method, bool linear,
                                        std::optional<double> tolerance,
                                        std::optional<std::int64_t> max_sweeps,
                                        std::vector<double> u0, double max_scale, int threads,
                                        const py::object& callback) {
  const auto options = options_from(method, linear, tolerance, max_sweeps, std::move(u0), max_scale,
                                    threads, callback);
  const auto problem = problem_from(source);
  const py::gil_scoped_release release;
  return cuda::solve(problem, {device, stream}, memory_from(allocate), options);
}

std::tuple<std::optional<Solution>, std::int64_t, std::int64_t> solve_emulated(
    const DeviceSource& source, const Allocate& allocate, bool late, const std::string& method,
    bool linear, std::optional<double> tolerance, std::optional<std::int64_t> max_sweeps,
    std::vector<double> u0, double max_scale, int threads, const py::object& callback) {
  const auto options = options_from(method, linear, tolerance, max_sweeps, std::move(u0), max_scale,
                                    threads, callback);
  const auto problem = problem_from(source);
  const py::gil_scoped_release release;
  auto [solution, waits, copied] =
      cuda::solve_emulated(problem, late, memory_from(allocate), options);
  return {std::move(solution), waits, copied};
}

cuda::Dtype dtype_from(const std::string& name) {
  if (name == "float32") return cuda::Dtype::float32;
  if (name == "float64") return cuda::Dtype::float64;
  if (name == "bfloat16") return cuda::Dtype::bfloat16;
  if (name == "float16") return cuda::Dtype::float16;
  throw py::type_error("parameters must be float32, float64, bfloat16 or float16");
}

cuda::FactorPlace place_from(const DeviceFactor& factor, const std::array<std::int64_t, 3>& shape,
                             std::int64_t factors) {
  const auto& [first, step] = factor;
  std::int64_t reach = 0;
  for (std::size_t axis = 0; axis < 3; ++axis) {
    if (shape[axis] < 1 || step[axis] < 0)
      throw py::value_error("expected sizes from 1 and steps from 0 on");
    reach += (shape[axis] - 1) * step[axis];
  }
  if (reach > std::numeric_limits<std::int32_t>::max() || first < 0 || first + reach >= factors)
    throw py::value_error("expected all numbers of a factor among those given");
  return {first, step};
}

std::vector<cuda::ScaledParameter> parameters_from(const std::vector<DeviceParameter>& parameters,
                                                   std::int64_t factors) {
  std::vector<cuda::ScaledParameter> list;
  for (const auto& [address, dtype, shape, first, second] : parameters)
    list.push_back({reinterpret_cast<void*>(address), dtype_from(dtype), shape,
                    place_from(first, shape, factors), place_from(second, shape, factors)});
  return list;
}

/// (not finite, lost), see `Harmed`.
std::vector<std::pair<std::uint64_t, std::uint64_t>> in_pairs(
    const std::vector<cuda::Harmed>& harmed) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> pairs;
  for (const auto& [not_finite, lost] : harmed) pairs.emplace_back(not_finite, lost);
  return pairs;
}

auto scale_on_device(const std::vector<DeviceParameter>& parameters, const Factors& factors,
                     const Allocate& allocate, int device, std::uintptr_t stream) {
  const auto list = parameters_from(parameters, factors.size());
  const std::span<const double> numbers(factors.data(), factors.size());
  const auto harmed = [&] {
    const py::gil_scoped_release release;
    return cuda::scale_parameters(list, numbers, {device, stream}, memory_from(allocate));
  }();
  return in_pairs(harmed);
}

auto scale_emulated(const std::vector<DeviceParameter>& parameters, const Factors& factors,
                    const Allocate& allocate, bool late) {
  const auto list = parameters_from(parameters, factors.size());
  const std::span<const double> numbers(factors.data(), factors.size());
  const auto harmed = [&] {
    const py::gil_scoped_release release;
    return cuda::scale_parameters_emulated(list, numbers, late, memory_from(allocate));
  }();
  return in_pairs(harmed);
}

const char* name(cuda::State state) {
  switch (state) {
    case cuda::State::not_built:
      return "not built";
    case cuda::State::no_driver:
      return "no driver";
    case cuda::State::driver_too_old:
      return "driver too old";
    case cuda::State::no_device:
      return "no device";
    case cuda::State::device_too_old:
      return "device too old";
    case cuda::State::failed:
      return "failed";
    case cuda::State::ready:
      return "ready";
  }
  return "unknown";
}

}  // namespace

void bind_device(py::module_& module) {
  py::register_exception<cuda::DeviceError>(module, "DeviceError", PyExc_RuntimeError);
  module.def("solve_on_device", &solve_on_device, "source"_a, "allocate"_a, py::kw_only(),
             "device"_a, "stream"_a, "method"_a, "linear"_a, "tolerance"_a, "max_sweeps"_a, "u0"_a,
             "max_scale"_a, "threads"_a, "callback"_a,
             "As solve_panels or solve, for tensors of g, or B and g, on a CUDA device; None where "
             "only the host can solve it.");
  module.def(
      "solve_emulated", &solve_emulated, "source"_a, "allocate"_a, py::kw_only(), "late"_a,
      "method"_a, "linear"_a, "tolerance"_a, "max_sweeps"_a, "u0"_a, "max_scale"_a, "threads"_a,
      "callback"_a,
      "For tests: the kernels of solve_on_device, run on the host for what is there; also how "
      "often the host would have waited for a device, and bytes copied to and from it.");
  module.def("scale_on_device", &scale_on_device, "parameters"_a, "factors"_a, "allocate"_a,
             py::kw_only(), "device"_a, "stream"_a,
             "As scale, for contiguous arrays of three axes on a CUDA device: how many entries of "
             "each are not finite, and how many shrank to less than the smallest normal number.");
  module.def("scale_emulated", &scale_emulated, "parameters"_a, "factors"_a, "allocate"_a,
             py::kw_only(), "late"_a, "For tests: the kernel of scale_on_device, run on the host.");
  module.def(
      "cuda_status",
      [](int device) {
        const auto [state, detail] = cuda::status(device);
        return std::pair(std::string(name(state)), detail);
      },
      "device"_a = 0,
      "What stands between this build and a CUDA device, and details. Asks the driver; creates no "
      "context.");
}

}  // namespace pathcond
