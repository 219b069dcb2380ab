// pybind11 bindings: buffers to views, the GIL, exceptions; nothing else.

#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <string>
#include <tuple>

#include "bindings/device.hpp"
#include "bindings/options.hpp"
#include "bindings/parameter.hpp"
#include "core/equalise.hpp"
#include "core/simd.hpp"
#include "core/solve.hpp"

namespace py = pybind11;
using namespace pybind11::literals;

namespace pathcond {
namespace {

template <class T>
const T* contiguous(const py::array& array) {
  return static_cast<const T*>(array.data());
}

template <class Index, class Value, class G>
Solution run(std::int64_t rows, const py::array& indptr, const py::array& indices,
             const py::array& values, const py::array& g, const Options& options) {
  const IncidenceView<Index, Value> B{rows,
                                      indptr.size() - 1,
                                      contiguous<Index>(indptr),
                                      contiguous<Index>(indices),
                                      contiguous<Value>(values),
                                      std::min(indices.size(), values.size())};
  const std::span<const G> weights{contiguous<G>(g), static_cast<std::size_t>(g.size())};
  const py::gil_scoped_release release;
  return solve(B, weights, options);
}

template <class Index, class Value>
Solution for_weights(std::int64_t rows, const py::array& indptr, const py::array& indices,
                     const py::array& values, const py::array& g, const Options& options) {
  if (g.dtype().is(py::dtype::of<float>()))
    return run<Index, Value, float>(rows, indptr, indices, values, g, options);
  if (g.dtype().is(py::dtype::of<double>()))
    return run<Index, Value, double>(rows, indptr, indices, values, g, options);
  throw py::type_error("g must be float32 or float64");
}

template <class Index>
Solution for_values(std::int64_t rows, const py::array& indptr, const py::array& indices,
                    const py::array& values, const py::array& g, const Options& options) {
  const auto is = [&](const py::dtype& type) { return values.dtype().is(type); };
  if (is(py::dtype::of<std::int8_t>()))
    return for_weights<Index, std::int8_t>(rows, indptr, indices, values, g, options);
  if (is(py::dtype::of<std::int32_t>()))
    return for_weights<Index, std::int32_t>(rows, indptr, indices, values, g, options);
  if (is(py::dtype::of<std::int64_t>()))
    return for_weights<Index, std::int64_t>(rows, indptr, indices, values, g, options);
  if (is(py::dtype::of<float>()))
    return for_weights<Index, float>(rows, indptr, indices, values, g, options);
  if (is(py::dtype::of<double>()))
    return for_weights<Index, double>(rows, indptr, indices, values, g, options);
  throw py::type_error("values must be int8, int32, int64, float32 or float64");
}

void check_arrays(const py::array& indptr, const py::array& indices, const py::array& values,
                  const py::array& g) {
  for (const auto& array : {indptr, indices, values, g})
    if (array.ndim() != 1 || !(array.flags() & py::array::c_style))
      throw py::type_error("expected contiguous one-dimensional arrays");
  if (indptr.size() < 1) throw py::type_error("indptr must have at least one entry");
  if (!indptr.dtype().is(indices.dtype()))
    throw py::type_error("indptr and indices must have the same dtype");
}

Solution solve_arrays(std::int64_t rows, const py::array& indptr, const py::array& indices,
                      const py::array& values, const py::array& g, const std::string& method,
                      bool linear, std::optional<double> tolerance,
                      std::optional<std::int64_t> max_sweeps, std::vector<double> u0,
                      double max_scale, int threads, const py::object& callback) {
  check_arrays(indptr, indices, values, g);
  const auto options = options_from(method, linear, tolerance, max_sweeps, std::move(u0), max_scale,
                                    threads, callback);
  if (indices.dtype().is(py::dtype::of<std::int32_t>()))
    return for_values<std::int32_t>(rows, indptr, indices, values, g, options);
  if (indices.dtype().is(py::dtype::of<std::int64_t>()))
    return for_values<std::int64_t>(rows, indptr, indices, values, g, options);
  throw py::type_error("indices must be int32 or int64");
}

/// (part of g as 5-D view, entered, left, multiplicity) per parameter, see `Panel`.
using Parts = std::vector<std::tuple<py::array, py::array, py::array, std::int64_t>>;

template <class G>
Panel<G> panel_of(const py::array& weights, const std::int32_t* entered, const std::int32_t* left,
                  std::int64_t multiplicity) {
  if (weights.ndim() != 5 || !weights.dtype().is(py::dtype::of<G>()))
    throw py::type_error("every part of g must be 5-D, and all of one dtype");
  const auto stride = [&](py::ssize_t axis) {
    return static_cast<std::int64_t>(weights.strides(axis) / weights.itemsize());
  };
  return {static_cast<const G*>(weights.data()),
          weights.shape(0),
          weights.shape(1),
          weights.shape(2),
          weights.shape(3),
          weights.shape(4),
          stride(0),
          stride(1),
          stride(2),
          stride(3),
          stride(4),
          entered,
          left,
          multiplicity};
}

template <class G>
std::optional<Solution> run_panels(std::int32_t neurons, const Parts& parts,
                                   const Options& options) {
  Panels<G> panels{neurons, 0, {}};
  for (const auto& [weights, entered, left, multiplicity] : parts) {
    panels.panels.push_back(panel_of<G>(weights, contiguous<std::int32_t>(entered),
                                        contiguous<std::int32_t>(left), multiplicity));
    check_ids(entered, weights.shape(0), weights.shape(1), neurons);
    check_ids(left, weights.shape(0), weights.shape(2), neurons);
    panels.rows += weights.size() * multiplicity;
  }
  const py::gil_scoped_release release;
  return solve(panels, options);
}

std::optional<Solution> solve_panels(std::int32_t neurons, const Parts& parts,
                                     const std::string& method, bool linear,
                                     std::optional<double> tolerance,
                                     std::optional<std::int64_t> max_sweeps, std::vector<double> u0,
                                     double max_scale, int threads, const py::object& callback) {
  const auto options = options_from(method, linear, tolerance, max_sweeps, std::move(u0), max_scale,
                                    threads, callback);
  if (!parts.empty() && std::get<0>(parts[0]).dtype().is(py::dtype::of<float>()))
    return run_panels<float>(neurons, parts, options);
  return run_panels<double>(neurons, parts, options);
}

std::optional<py::array_t<double>> reduce_part(const py::array& part, bool over_enters,
                                               bool over_leaves) {
  const auto sums = [&]<class G>(G) {
    const auto panel = panel_of<G>(part, nullptr, nullptr, 1);
    const py::gil_scoped_release release;
    return reduce(panel, over_enters, over_leaves);
  };
  const auto found = part.dtype().is(py::dtype::of<float>()) ? sums(float{}) : sums(double{});
  if (!found) return std::nullopt;
  return py::array_t<double>({part.shape(0), over_enters ? 1 : part.shape(1),
                              over_leaves ? 1 : part.shape(2), py::ssize_t{1}, py::ssize_t{1}},
                             found->data());
}

template <class T>
py::array_t<T> to_numpy(const std::vector<T>& vector) {
  return py::array_t<T>(static_cast<py::ssize_t>(vector.size()), vector.data());
}

/// (u, history, left), see `Equalised`.
std::tuple<py::array_t<double>, py::array_t<double>, double> equalise_arrays(
    const py::array& indptr, const py::array& indices, const py::array& values,
    const py::array& log_size, const std::vector<double>& u0, double max_scale, double tolerance,
    std::int64_t max_sweeps) {
  check_arrays(indptr, indices, values, log_size);
  if (static_cast<py::ssize_t>(u0.size()) >= indptr.size()) throw py::value_error("u0 is too long");
  const auto view = []<class T>(const py::array& array, T) {
    if (!array.dtype().is(py::dtype::of<T>()))
      throw py::type_error("expected int32 indices, int8 values and float64 logs");
    return std::span(contiguous<T>(array), static_cast<std::size_t>(array.size()));
  };
  const WeightColumns B{view(indptr, std::int32_t{}), view(indices, std::int32_t{}),
                        view(values, std::int8_t{})};
  const auto sizes = view(log_size, double{});
  Equalised found;
  {
    const py::gil_scoped_release release;
    Monitor monitor{SignalPoll()};
    found =
        equalise(B, {sizes.begin(), sizes.end()}, u0, max_scale, tolerance, max_sweeps, monitor);
  }
  return {to_numpy(found.u), to_numpy(found.history), found.left};
}

#if defined(__clang__)
constexpr const char* kCompiler = "Clang " __clang_version__;
#elif defined(__GNUC__)
constexpr const char* kCompiler = "GCC " __VERSION__;
#else
constexpr const char* kCompiler = "unknown";
#endif

py::typing::Dict<py::str, py::object> build_info() {
  return py::dict("version"_a = PATHCOND_VERSION, "compiler"_a = kCompiler,
                  "cpp_standard"_a = static_cast<long>(__cplusplus), "simd"_a = simd_level(),
                  "cuda"_a = PATHCOND_HAS_CUDA != 0);
}

}  // namespace

PYBIND11_MODULE(_core, module, py::mod_gil_not_used()) {
  module.doc() = "The native solver; use pathcond_native.solve.";

  py::register_exception<InvalidInput>(module, "InvalidInput", PyExc_ValueError);
  py::register_exception<NotCanonical>(module, "NotCanonical", PyExc_ValueError);

  py::class_<Solution>(module, "Solution", "What the solver returns, see SolveResult.")
      .def_property_readonly("u", [](const Solution& s) { return to_numpy(s.u); })
      .def_property_readonly("frozen", [](const Solution& s) { return to_numpy(s.frozen); })
      .def_property_readonly("history", [](const Solution& s) { return to_numpy(s.history); })
      .def_readonly("objective", &Solution::objective)
      .def_readonly("initial_objective", &Solution::initial_objective)
      .def_readonly("gradient_norm", &Solution::gradient_norm)
      .def_readonly("sweeps", &Solution::sweeps)
      .def_readonly("passes", &Solution::passes)
      .def_readonly("rows", &Solution::rows)
      .def_readonly("merged_rows", &Solution::merged_rows)
      .def_readonly("seconds", &Solution::seconds)
      .def_property_readonly("converged", &Solution::converged)
      .def_property_readonly("status", [](const Solution& s) { return name(s.status); });

  module.def("solve", &solve_arrays, "rows"_a, "indptr"_a, "indices"_a, "values"_a, "g"_a,
             py::kw_only(), "method"_a, "linear"_a, "tolerance"_a, "max_sweeps"_a, "u0"_a,
             "max_scale"_a, "threads"_a, "callback"_a,
             "Solves for B in compressed sparse columns (arrays read in place).");
  module.def("solve_panels", &solve_panels, "neurons"_a, "parts"_a, py::kw_only(), "method"_a,
             "linear"_a, "tolerance"_a, "max_sweeps"_a, "u0"_a, "max_scale"_a, "threads"_a,
             "callback"_a,
             "Solves for tensors of g, each with the neurons that its channels enter and leave; "
             "None where that needs B itself, also to say what is wrong with g.");
  module.def("reduce", &reduce_part, "part"_a, "over_enters"_a, "over_leaves"_a,
             "Sums a 5-D part of g over its last two axes, and over the second or third; None if "
             "an entry is not positive.");
  module.def("equalise", &equalise_arrays, "indptr"_a, "indices"_a, "values"_a, "log_size"_a,
             "u0"_a, "max_scale"_a, "tolerance"_a, "max_sweeps"_a,
             "Cross-layer equalisation of B (int8 in compressed sparse columns, int32) over rows "
             "of weights with these logs: u, the imbalance before and after every sweep, and what "
             "of it max_scale lets become smaller.");
  bind_parameter(module);
  bind_device(module);
  module.def("build_info", &build_info, "How this module was compiled and what it runs on.");
}

}  // namespace pathcond
