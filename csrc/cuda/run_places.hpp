#pragma once

#include <cstdint>

#include "core/partition.hpp"
#include "cuda/ends.hpp"

/// Where the sums of runs go, see `SumRunsKernel`.
namespace pathcond::cuda {

/// Into dense matrices between groups of neurons, and to what only enters or leaves one.
struct BlockPlaces {
  const Place* place;         ///< of every neuron
  const std::int64_t* first;  ///< of the block of every two groups, [entered][left]
  const std::int32_t* size;   ///< of every group
  std::int32_t groups;
  double *values, *enter_only, *leave_only, *constant;

  PATHCOND_KERNEL void give(const Ends& ends, std::int64_t, std::int64_t, double sum) const {
    *at(ends) = sum;
  }
  PATHCOND_KERNEL void give_last(const Ends& ends, std::int64_t, double sum) const {
    *at(ends) = sum;
  }

 private:
  PATHCOND_KERNEL double* at(const Ends& ends) const {
    if (ends.are_pair()) {
      const Place from = place[ends.left], to = place[ends.entered];
      const std::int64_t rows = size[from.group];
      return values + first[std::int64_t{to.group} * groups + from.group] + to.neuron * rows +
             from.neuron;
    }
    if (ends.left >= 0) return leave_only + ends.left;
    return ends.entered >= 0 ? enter_only + ends.entered : constant;
  }
};

/// One after the other.
struct ListPlaces {
  const std::int64_t* before;  ///< runs that begin before every tile, and in all
  Ends* ends;
  double* weight;

  PATHCOND_KERNEL void give(const Ends& own, std::int64_t tile, std::int64_t run,
                            double sum) const {
    put(before[tile] + run, own, sum);
  }
  PATHCOND_KERNEL void give_last(const Ends& own, std::int64_t tile, double sum) const {
    put(before[tile + 1] - 1, own, sum);
  }

 private:
  PATHCOND_KERNEL void put(std::int64_t k, const Ends& own, double sum) const {
    ends[k] = own;
    weight[k] = sum;
  }
};

}  // namespace pathcond::cuda
