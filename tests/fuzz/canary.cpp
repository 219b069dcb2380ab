#include "fuzz/canary.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

namespace {

volatile int sink;
void* volatile held;

void read_past_the_end() {
  const std::vector<int> values(3, 1);
  sink = values.data()[*&sink + 3];
}

void overflow() {
  sink = std::numeric_limits<int>::max();
  sink = sink + 1;
}

void leak() {
  held = std::malloc(7);
  held = nullptr;
}

void race() {
  int shared = 0;
  std::jthread other([&] { ++shared; });
  ++shared;
}

}  // namespace

extern "C" void pathcond_plant(const char* bug) {
  sink = 0;
  if (std::strcmp(bug, "heap") == 0) return read_past_the_end();
  if (std::strcmp(bug, "undefined") == 0) return overflow();
  if (std::strcmp(bug, "leak") == 0) return leak();
  if (std::strcmp(bug, "race") == 0) return race();
  std::fprintf(stderr, "no such bug: %s\n", bug);
  std::exit(2);
}
