// Sums of all that stands before, of arrays so long that the sums of their tiles are summed in
// tiles themselves. Prints how many are wrong.

#include <cstdint>
#include <cstdio>
#include <vector>

#include "cuda/host_machine.hpp"
#include "cuda/prefix.hpp"

using namespace pathcond::cuda;

int main() {
  constexpr std::int64_t kTile = kPrefixTile;
  for (const std::int64_t size : {std::int64_t{0}, std::int64_t{1}, kTile - 1, kTile, kTile + 1,
                                  7 * kTile + 3, kTile * kTile, kTile * kTile + kTile + 1})
    for (const bool late : {false, true}) {
      const auto none = [](std::size_t) -> void* { return nullptr; };
      HostMachine machine({none, none}, late);
      std::vector<std::int64_t> numbers, room(static_cast<std::size_t>(prefix_room(size)));
      for (std::int64_t k = 0; k < size; ++k) numbers.push_back(k * k % 1009);
      const auto original = numbers;
      sums_before(machine, numbers.data(), size, room.data());
      machine.wait();
      std::int64_t wrong = 0, sum = 0;
      for (std::size_t k = 0; k < numbers.size(); sum += original[k++]) wrong += numbers[k] != sum;
      std::printf("%lld\n", static_cast<long long>(wrong));
    }
}
