#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "fuzz/problem.hpp"

namespace pathcond::fuzz {

std::vector<double> decode_weights(Bytes& bytes, const std::vector<int>& part) {
  const int kind = bytes.below(12);
  const double zeros = bytes.rarely(3) ? bytes.below(11) * 0.1 : 0;
  Random random(bytes.word());
  const std::size_t parts = part.empty() ? 0 : static_cast<std::size_t>(part.back()) + 1;
  std::vector<double> of_part(parts);
  for (double& decades : of_part) decades = random.between(-15, 15);
  std::vector<double> g(part.size());
  for (std::size_t i = 0; i < g.size(); ++i) {
    const auto decades = [&](double most) { return std::pow(10.0, random.between(-most, most)); };
    const double mild = std::exp(random.between(-2, 2));
    switch (kind) {
      case 0:
        g[i] = 1;
        break;
      case 1:
      case 2:
        g[i] = mild;
        break;
      case 3:
        g[i] = static_cast<double>(1 + random.below(3));
        break;
      case 4:
        g[i] = decades(15);
        break;
      case 5:
        g[i] = mild * std::pow(10.0, of_part[static_cast<std::size_t>(part[i])]);
        break;
      case 6:
        g[i] = decades(300);
        break;
      case 7:
        g[i] = std::pow(10.0, 20 * of_part[static_cast<std::size_t>(part[i])]);
        break;
      case 8:
        g[i] = random.chance(0.03) ? 1e30 : mild;
        break;
      case 9:
        g[i] = random.chance(0.5) ? 1e300 * mild : 1e-300 * mild;
        break;
      case 10:  // as large or as small as numbers get
        g[i] = random.chance(0.9) ? 1.7e308 : 1e308 * mild;
        g[i] = bytes.rarely(16) ? 5e-324 : std::min(g[i], 1.7e308);
        break;
      default: {  // any number; the sign and what is infinite or none only through `corrupt`
        const double any = std::abs(std::bit_cast<double>(random.word()));
        g[i] = std::isfinite(any) ? any : 1;
      }
    }
    if (random.chance(zeros)) g[i] = 0;
  }
  return g;
}

namespace {

std::vector<double> decode_start(Bytes& bytes, std::int64_t columns) {
  std::vector<double> u0(static_cast<std::size_t>(columns));
  const int kind = bytes.below(16);
  if (kind < 10) return {};
  Random random(bytes.word());
  const double size = bytes.one_of<double>({1, 1, 20, 99, 101, 700, 1000, 1e5, 1e6});
  for (double& value : u0) value = random.between(-size, size);
  if (kind == 14 && !u0.empty()) u0.back() = bytes.one_of<double>({1.1e6, -1e300, std::nan("")});
  if (kind == 15) u0.resize(u0.size() + 1);
  return u0;
}

}  // namespace

Options decode_options(Bytes& bytes, std::int64_t columns) {
  Options options;
  options.method = bytes.one_of<Method>({Method::automatic, Method::cd, Method::newton});
  switch (const int kind = bytes.below(16)) {
    case 12:
      options.tolerance = 0;
      break;
    case 13:
      options.tolerance = 1e-6;
      break;
    case 14:
      options.tolerance = 0.01;
      break;
    case 15:
      options.tolerance = bytes.one_of<double>(
          {-1, std::nan(""), std::numeric_limits<double>::infinity(), -0.0, 5e-324});
      break;
    default:
      if (kind % 2 == 1) options.max_sweeps = bytes.below(20);
  }
  // Out of reach, so that all sweeps are made.
  if (options.tolerance && *options.tolerance < 1e-15) options.max_sweeps = bytes.below(20);
  if (bytes.rarely(32)) options.max_sweeps = bytes.one_of<std::int64_t>({-1, 1, 200, -1000});
  if (bytes.rarely(8)) options.threads = bytes.one_of<int>({2, 3, 8, 0, -1, 64});
  if (bytes.rarely(4))
    options.max_scale = bytes.one_of<double>({2, 1, 1.0001, 100, 1e10, 1e300, 4});
  if (bytes.rarely(64)) options.max_scale = bytes.one_of<double>({0.5, -1, std::nan(""), 0});
  options.u0 = decode_start(bytes, columns);
  if (const double edge = 2 * std::log(options.max_scale); edge < 1e6 && !bytes.rarely(8))
    for (double& value : options.u0)
      if (std::abs(value) > edge) value = std::copysign(edge, value);
  if (bytes.rarely(8)) {
    const std::int64_t stop = bytes.below(6), fail = bytes.below(6);
    options.callback = [=](std::int64_t sweep, double, double) {
      if (sweep == fail) throw Interrupted{};
      return sweep == stop;
    };
  }
  if (bytes.rarely(32)) options.poll = [] { throw Interrupted{}; };
  return options;
}

}  // namespace pathcond::fuzz
