#pragma once

/// Bugs planted to see that a sanitizer sees them: "heap", "undefined", "leak" or "race".
extern "C" __attribute__((visibility("default"))) void pathcond_plant(const char* bug);

namespace pathcond::fuzz {
inline void plant(const char* bug) { pathcond_plant(bug); }
}  // namespace pathcond::fuzz
