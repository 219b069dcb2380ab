// Bindings of what reads and scales a model's parameters.

#include "core/parameter.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <tuple>

#include "bindings/parameter.hpp"

namespace py = pybind11;
using namespace pybind11::literals;

namespace pathcond {
namespace {

void check(const py::array& x, int threads) {
  if (!(x.flags() & py::array::c_style)) throw py::type_error("expected contiguous arrays");
  if (threads < 1) throw py::value_error("threads: expected an integer >= 1");
}

/// Calls use(pointer to the entries) of a float32 or float64 array.
template <class Use>
auto with_entries(const py::array& x, const Use& use) {
  if (x.dtype().is(py::dtype::of<float>())) return use(static_cast<const float*>(x.data()));
  if (x.dtype().is(py::dtype::of<double>())) return use(static_cast<const double*>(x.data()));
  throw py::type_error("expected float32 or float64");
}

std::tuple<double, double> magnitudes_of(const py::array& x, int threads) {
  check(x, threads);
  const auto found = with_entries(x, [&](const auto* entries) {
    const py::gil_scoped_release release;
    return magnitudes(entries, x.size(), threads);
  });
  return {found.smallest, found.largest};
}

using Factors = py::array_t<double, py::array::c_style>;

std::tuple<double, std::int64_t> scale_array(const py::array& x, const Factors& first,
                                             const Factors& second, py::array to, int threads) {
  check(x, threads);
  check(to, threads);
  if (x.ndim() != 2 || to.ndim() != 2 || !to.dtype().is(x.dtype()) || !to.writeable() ||
      to.shape(0) != x.shape(0) || to.shape(1) != x.shape(1))
    throw py::type_error("expected two matrices of one shape and dtype");
  const auto factor = [&](const Factors& from) -> Factor {
    if (from.ndim() != 2) throw py::type_error("expected factors with two axes");
    for (int axis = 0; axis < 2; ++axis)
      if (from.shape(axis) != 1 && from.shape(axis) != x.shape(axis))
        throw py::type_error("expected factors that broadcast to the matrix");
    return {from.data(), from.shape(0) > 1, from.shape(1) > 1};
  };
  const Factor by_first = factor(first), by_second = factor(second);
  const auto done = with_entries(x, [&]<class T>(const T* entries) {
    T* fresh = static_cast<T*>(to.mutable_data());
    const py::gil_scoped_release release;
    return scale(entries, x.shape(0), x.shape(1), by_first, by_second, fresh, threads);
  });
  return {done.largest, done.lost};
}

}  // namespace

void bind_parameter(py::module_& module) {
  module.def("magnitudes", &magnitudes_of, "x"_a, "threads"_a,
             "The smallest |x| other than 0, infinity if there is none, and the largest, NaN if an "
             "entry is; x is contiguous.");
  module.def("scale", &scale_array, "x"_a, "first"_a, "second"_a, "to"_a, "threads"_a,
             "Writes x * first * second to `to`, multiplied in float64 without regard to the range "
             "of x * first, and rounded once; all are matrices, `to` may be x. The largest "
             "magnitude of a new entry, NaN if one is NaN, and how many shrank to less than the "
             "smallest normal number.");
}

}  // namespace pathcond
