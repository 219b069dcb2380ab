#pragma once

#include <stdexcept>
#include <string>

namespace pathcond::cuda {

/// A call to the CUDA runtime failed; nothing of the caller's has been changed.
struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class State { not_built, no_driver, driver_too_old, no_device, device_too_old, failed, ready };

/// What stands between this build and a device.
struct Status {
  State state;
  std::string detail;  ///< versions, the error, or the device's name
};

/// Asks the driver about the device of this number; creates no context on any.
Status status(int device);

}  // namespace pathcond::cuda
