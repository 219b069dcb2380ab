#pragma once

#include <functional>

/// Every thread of a block does this; whether all have met as many barriers.
bool run_block(const std::function<void()>& work);
