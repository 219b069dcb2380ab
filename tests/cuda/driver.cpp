// In the place of libcuda.so.1: a driver of the version, and with the answer to its first call,
// that the environment says. Reports when it is loaded; what needs a device fails.

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

int number(const char* name) { return std::atoi(std::getenv(name)); }

[[gnu::constructor]] void report() { std::fputs("driver\n", stderr); }

constexpr int kUnknownError = 999;
int fail() { return kUnknownError; }

}  // namespace

extern "C" {

int cuInit(unsigned) { return number("DRIVER_ANSWER"); }

int cuDriverGetVersion(int* version) {
  *version = number("DRIVER_VERSION");
  return 0;
}

int cuGetProcAddress_v2(const char* name, void** function, int, unsigned long, int* found) {
  *function = reinterpret_cast<void*>(&fail);
  if (std::strcmp(name, "cuInit") == 0) *function = reinterpret_cast<void*>(&cuInit);
  if (std::strcmp(name, "cuDriverGetVersion") == 0)
    *function = reinterpret_cast<void*>(&cuDriverGetVersion);
  if (std::strcmp(name, "cuGetProcAddress") == 0)
    *function = reinterpret_cast<void*>(&cuGetProcAddress_v2);
  if (found) *found = 0;
  return 0;
}

int cuGetProcAddress(const char* name, void** function, int version, unsigned long flags) {
  return cuGetProcAddress_v2(name, function, version, flags, nullptr);
}
}
