#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "core/incidence.hpp"
#include "core/panels.hpp"

namespace pathcond {

/// Tensors found in a matrix B, with the neurons that their panels point to.
template <class G>
struct Recognised {
  Panels<G> input;
  std::deque<std::vector<std::int32_t>> neurons;
};

/// Finds the weights of linear layers and convolutions in B: rows in row-major order, each entering
/// one channel, of which every neuron leaves the same positions of every output channel. All of B
/// is compared with what is found, in one pass, so that an answer also vouches for its indices and
/// values. nullopt where B is anything else, be it invalid.
template <class Index, class Value, class G>
std::optional<Recognised<G>> recognise(const IncidenceView<Index, Value>& B, std::span<const G> g,
                                       int threads);

}  // namespace pathcond
