// What becomes of memory that is given back to a machine that the host plays.

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "cuda/host_machine.hpp"

using namespace pathcond::cuda;

int main() {
  int allocations = 0;
  const auto allocate = [&](std::size_t bytes) -> void* {
    ++allocations;
    return std::malloc(bytes);
  };
  HostMachine machine({allocate, allocate}, false);
  const std::size_t bytes = 8 * sizeof(double);
  machine.expect({4 * kAlignment, 0});
  double* piece[4];
  for (double*& p : piece) p = static_cast<double*>(machine.device(bytes));
  for (const int k : {2, 0, 1}) {
    piece[k][0] = 7;
    machine.give_back_device(piece[k], bytes);
  }
  piece[3][0] = 7;
  std::printf("allocations %d\n", allocations);
  std::printf("stale %g %g, held %g\n", piece[0][0] * 0, piece[2][0] * 0, piece[3][0]);
  std::printf("joined %d\n", machine.device(3 * kAlignment) == piece[0]);
  std::printf("allocations %d\n", allocations);
  void* beyond = machine.device(1);
  std::printf("allocations %d\n", allocations);

  void* host = machine.host(bytes);
  machine.upload(beyond, host, 1);
  try {
    machine.give_back_host(host, bytes);
  } catch (const std::logic_error& error) {
    std::printf("%s\n", error.what());
  }
  machine.wait();
  machine.give_back_host(host, bytes);
  std::printf("again %d\n", machine.host(bytes) == host);
}
