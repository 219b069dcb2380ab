#pragma once

#include <pybind11/pybind11.h>

namespace pathcond {

/// What the module offers on CUDA devices.
void bind_device(pybind11::module_& module);

}  // namespace pathcond
