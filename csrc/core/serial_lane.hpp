#pragma once

namespace pathcond {

/// One thread in the place of a block of them. Code for both is written in steps, each of which
/// needs nothing of another of its own numbers, see `cuda/lane.hpp`.
struct SerialLane {
  /// f(i) for 0 <= i < n.
  template <class Work>
  void for_each(int n, const Work& f) const {
    for (int i = 0; i < n; ++i) f(i);
  }

  /// use(i, read(i), part) for 0 <= i < n, from an empty part on.
  template <class Part, class Read, class Use>
  Part fold(int n, const Part& empty, const Read& read, const Use& use) const {
    Part part = empty;
    for (int i = 0; i < n; ++i) use(i, read(i), part);
    return part;
  }
};

}  // namespace pathcond
