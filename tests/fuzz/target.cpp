// One input: a problem that may be corrupted, handed to one of the solver's entry points.

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <memory>
#include <numeric>
#include <type_traits>

#include "cuda/solve.hpp"
#include "fuzz/oracle.hpp"

namespace pathcond::fuzz {
namespace {

template <class T>
T as(double value) {
  if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(value);
  } else {
    if (std::isnan(value)) return 0;
    using Limits = std::numeric_limits<T>;
    if (value <= static_cast<double>(Limits::min())) return Limits::min();
    if (value >= static_cast<double>(Limits::max())) return Limits::max();
    return static_cast<T>(value);
  }
}

/// Rounds numbers to the type that the solver gets; an array of exactly their number.
template <class T, class Number>
std::vector<T> typed(std::vector<Number>& numbers) {
  std::vector<T> array(numbers.size());
  for (std::size_t k = 0; k < numbers.size(); ++k) {
    if constexpr (std::is_same_v<Number, double>)
      array[k] = as<T>(numbers[k]);
    else
      array[k] = static_cast<T>(numbers[k]);
    numbers[k] = static_cast<Number>(array[k]);
  }
  return array;
}

/// Solves, and checks what comes: nullopt where the entry point may leave a problem to others.
template <class Solve>
void attempt(const Problem& problem, const Options& options, const Solve& solve) {
  const Verdict verdict = expected(problem, options);
  try {
    const std::optional<Solution> solution = solve(options);
    if (!solution) return;
    if (verdict == Verdict::invalid) throw Wrong("an invalid problem was solved");
    if (verdict == Verdict::not_canonical) throw Wrong("an unsorted matrix was solved");
    check(problem, options, *solution);
    if (options.threads == 1 || options.callback) return;
    Options alone = options;
    alone.threads = 1;
    check_equal(*solve(alone), *solution);
  } catch (const Interrupted&) {
  } catch (const InvalidInput&) {
    if (verdict == Verdict::solved) throw Wrong("a valid problem was refused");
  } catch (const NotCanonical&) {
    if (verdict == Verdict::solved || verdict == Verdict::either)
      throw Wrong("a sorted matrix was called unsorted");
  }
}

template <class Solve>
void run(const Problem& problem, const Options& options, const Solve& solve) {
  static const bool verbose = std::getenv("PATHCOND_FUZZ_PRINT") != nullptr;
  if (verbose) print(problem, options);
  try {
    attempt(problem, options, solve);
  } catch (const Wrong& wrong) {
    if (!verbose) print(problem, options);
    std::cerr << "wrong: " << wrong.what() << '\n';
    std::abort();
  }
}

template <class Index, class Value, class G>
void solve_matrix(Problem& problem, Options& options) {
  const auto indptr = typed<Index>(problem.indptr);
  const auto indices = typed<Index>(problem.indices);
  const auto values = typed<Value>(problem.values);
  const auto g = typed<G>(problem.g);
  const IncidenceView<Index, Value> B{problem.rows,   problem.columns(), indptr.data(),
                                      indices.data(), values.data(),     problem.entries};
  run(problem, options, [&](const Options& given) -> std::optional<Solution> {
    return solve(B, std::span<const G>(g), given);
  });
}

void fuzz_matrix(Bytes& bytes) {
  Problem problem = decode_matrix(bytes);
  std::vector<int> parts(static_cast<std::size_t>(problem.rows));
  for (std::size_t i = 0; i < parts.size(); ++i) parts[i] = static_cast<int>(i * 5 / parts.size());
  problem.g = decode_weights(bytes, parts);
  Options options = decode_options(bytes, problem.columns());
  const int types = bytes.byte();
  for (int more = bytes.rarely(3) ? bytes.between(1, 3) : 0; more > 0; --more)
    corrupt(bytes, problem);
  const auto with_values = [&]<class Index, class Value> {
    types & 64 ? solve_matrix<Index, Value, float>(problem, options)
               : solve_matrix<Index, Value, double>(problem, options);
  };
  const auto with_index = [&]<class Index> {
    switch (types % 8) {
      case 1:
        return with_values.template operator()<Index, std::int8_t>();
      case 2:
        return with_values.template operator()<Index, std::int32_t>();
      case 3:
        return with_values.template operator()<Index, std::int64_t>();
      case 4:
        return with_values.template operator()<Index, float>();
      default:
        return with_values.template operator()<Index, double>();
    }
  };
  types & 128 ? with_index.template operator()<std::int64_t>()
              : with_index.template operator()<std::int32_t>();
}

/// A network's g, each tensor with its axes in some order in memory.
template <class G>
struct Held {
  std::vector<std::vector<G>> memory;
  Panels<G> panels{};
};

/// Rounds `problem.g` to what the panels hold.
template <class G>
Held<G> hold(Bytes& bytes, const Network& network, bool multiple, Problem& problem) {
  Held<G> held;
  held.panels.neurons = network.neurons;
  std::size_t row = 0;
  for (const Tensor& t : network.tensors) {
    const std::array<std::int64_t, 5> shape{t.batch, t.enters, t.leaves, t.repeats, t.taps};
    std::array<std::size_t, 5> order{0, 1, 2, 3, 4};
    for (int turns = bytes.below(120); turns > 0; --turns)
      std::next_permutation(order.begin(), order.end());
    std::array<std::int64_t, 5> stride{};
    std::int64_t step = 1;
    for (const auto axis : order) {
      stride[axis] = step;
      step *= shape[axis];
    }
    const std::int64_t multiplicity = multiple ? bytes.between(1, 3) : 1;
    auto& memory = held.memory.emplace_back(static_cast<std::size_t>(step));
    std::array<std::int64_t, 5> at{};
    for (std::int64_t k = 0; k < step; ++k, ++row) {
      std::int64_t rest = k;
      for (std::size_t axis = 5; axis-- > 0; rest /= shape[axis]) at[axis] = rest % shape[axis];
      const auto offset = std::inner_product(at.begin(), at.end(), stride.begin(), std::int64_t{0});
      const G weight = static_cast<G>(problem.g[row]);
      memory[static_cast<std::size_t>(offset)] = weight;
      problem.g[row] = static_cast<double>(weight);
      problem.count.push_back(multiplicity);
    }
    held.panels.rows += step * multiplicity;
    held.panels.panels.push_back({memory.data(), t.batch, t.enters, t.leaves, t.repeats, t.taps,
                                  stride[0], stride[1], stride[2], stride[3], stride[4],
                                  t.entered.data(), t.left.data(), multiplicity});
  }
  return held;
}

/// Where the played device's arrays are; numbers in new memory are NaN.
class Allocator {
 public:
  cuda::Memory memory() {
    const auto from = [this](std::size_t bytes) {
      constexpr std::size_t kAlignment = 256;
      const std::size_t size = (bytes + kAlignment - 1) / kAlignment * kAlignment;
      auto* block = static_cast<unsigned char*>(std::aligned_alloc(kAlignment, size));
      std::fill_n(block, size, std::uint8_t{0xFF});
      return static_cast<void*>(blocks_.emplace_back(block, &std::free).get());
    };
    return {from, from};
  }

 private:
  std::vector<std::unique_ptr<unsigned char, void (*)(void*)>> blocks_;
};

void fuzz_panels(Bytes& bytes, bool on_device) {
  const Network network = decode_network(bytes);
  Problem problem = matrix_of(network);
  problem.g = decode_weights(bytes, network.tensor_of_row());
  Options options = decode_options(bytes, problem.columns());
  const int types = bytes.byte();
  if (bytes.rarely(4)) {
    Problem weights;
    weights.g = problem.g;
    corrupt(bytes, weights);
    problem.g = weights.g;
  }
  const auto with = [&]<class G> {
    const Held<G> held = hold<G>(bytes, network, !on_device, problem);
    run(problem, options, [&](const Options& given) -> std::optional<Solution> {
      if constexpr (!std::is_same_v<G, cuda::Bfloat16>)
        if (!on_device) return solve(held.panels, given);
      Allocator allocator;
      return cuda::solve_emulated(held.panels, types & 4, allocator.memory(), given).solution;
    });
  };
  if (on_device && types % 4 == 3)
    with.template operator()<cuda::Bfloat16>();
  else if (types % 2 == 1)
    with.template operator()<float>();
  else
    with.template operator()<double>();
}

}  // namespace
}  // namespace pathcond::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pathcond::fuzz;
  Bytes bytes(data, size);
  switch (const int entry = bytes.below(8)) {
    case 5:
    case 6:
    case 7:
      fuzz_panels(bytes, entry == 7);
      break;
    default:
      fuzz_matrix(bytes);
  }
  return 0;
}
