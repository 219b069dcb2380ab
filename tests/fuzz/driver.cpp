// Where there is no libFuzzer: runs a target on files, or on as many mutated inputs as asked for.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "fuzz/bytes.hpp"
#include "fuzz/canary.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace pathcond::fuzz {
namespace {

using Input = std::vector<std::uint8_t>;

constexpr std::size_t kLongest = 1024;

// Not optimised and sanitized, the same run takes up to fifty times as long.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr time_t kSeconds = 500;
#else
constexpr time_t kSeconds = 10;
#endif
constexpr const char* kUsage =
    "usage: fuzz [--runs N] [--seed S] [--keep FILE] [--plant BUG] [FILE or FOLDER ...]\n"
    "Runs the target on the files, then on N inputs that follow from S and the files. The input "
    "of\n"
    "a run that fails stays in FILE (default fuzz-failed). A run may take 10 s of processor "
    "time,\n"
    "with sanitizers 500 s.\n";

/// The input of the current run, in a file, so that it is there however the process ends.
class Kept {
 public:
  explicit Kept(std::string path) : path_(std::move(path)) {
    const int file = open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (file < 0 || ftruncate(file, kLongest) != 0) fail("open");
    void* memory = mmap(nullptr, kLongest, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) fail("mmap");
    bytes_ = static_cast<std::uint8_t*>(memory);
    close(file);
  }
  ~Kept() {
    munmap(bytes_, kLongest);
    std::filesystem::remove(path_);
  }
  Kept(const Kept&) = delete;
  Kept& operator=(const Kept&) = delete;

  void run(const Input& input) {
    const std::size_t size = std::min(input.size(), kLongest);
    std::copy_n(input.begin(), size, bytes_);
    std::fill_n(bytes_ + size, kLongest - size, std::uint8_t{0});
    const itimerval limit{{0, 0}, {kSeconds, 0}};
    setitimer(ITIMER_PROF, &limit, nullptr);
    // A copy of its own, so that reading past its end is seen.
    const Input exact(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(size));
    LLVMFuzzerTestOneInput(exact.data(), exact.size());
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    std::fprintf(stderr, "%s %s: %s\n", what, path_.c_str(), std::strerror(errno));
    std::exit(2);
  }
  std::string path_;
  std::uint8_t* bytes_;
};

Input random_bytes(Random& random, std::int64_t size) {
  Input bytes(static_cast<std::size_t>(size));
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random.word());
  return bytes;
}

/// One input of another, or a new one.
Input next_input(Random& random, const std::vector<Input>& corpus) {
  if (corpus.empty() || random.chance(0.25)) return random_bytes(random, random.below(160));
  const auto any = [&]() -> const Input& {
    return corpus[static_cast<std::size_t>(random.below(std::ssize(corpus)))];
  };
  Input input = any();
  for (auto changes = 1 + random.below(6); changes > 0; --changes) {
    const auto at = [&] { return random.below(std::ssize(input) + 1); };
    switch (random.below(5)) {
      case 0:  // a byte
      case 1:
        if (!input.empty())
          input[static_cast<std::size_t>(random.below(std::ssize(input)))] =
              static_cast<std::uint8_t>(random.word());
        break;
      case 2: {  // more bytes
        const Input more = random_bytes(random, 1 + random.below(8));
        input.insert(input.begin() + at(), more.begin(), more.end());
        break;
      }
      case 3: {  // fewer
        const auto begin = at(), end = std::min(begin + random.below(9), std::ssize(input));
        input.erase(input.begin() + begin, input.begin() + end);
        break;
      }
      default: {  // the rest of another input
        const Input& other = any();
        const auto begin = random.below(std::ssize(other) + 1);
        input.resize(static_cast<std::size_t>(at()));
        input.insert(input.end(), other.begin() + begin, other.end());
      }
    }
  }
  return input;
}

std::vector<Input> read_corpus(const std::vector<std::string>& paths) {
  namespace fs = std::filesystem;
  std::vector<fs::path> files;
  for (const fs::path path : paths) {
    if (fs::is_directory(path))
      for (const auto& entry : fs::directory_iterator(path)) files.push_back(entry.path());
    else
      files.push_back(path);
  }
  std::sort(files.begin(), files.end());
  std::vector<Input> corpus;
  for (const auto& file : files) {
    std::ifstream stream(file, std::ios::binary);
    if (!stream) {
      std::fprintf(stderr, "cannot read %s\n", file.c_str());
      std::exit(2);
    }
    corpus.emplace_back(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
  }
  return corpus;
}

int run(int argc, char** argv) {
  std::int64_t runs = 0;
  std::uint64_t seed = 0;
  std::string keep = "fuzz-failed";
  std::vector<std::string> paths;
  for (int k = 1; k < argc; ++k) {
    const std::string name = argv[k];
    if (name.starts_with("--") && k + 1 == argc) {
      std::fputs(kUsage, stderr);
      return 2;
    }
    if (name == "--runs")
      runs = std::atoll(argv[++k]);
    else if (name == "--seed")
      seed = std::strtoull(argv[++k], nullptr, 10);
    else if (name == "--keep")
      keep = argv[++k];
    else if (name == "--plant")
      plant(argv[++k]);
    else
      paths.push_back(name);
  }
  const auto start = std::chrono::steady_clock::now();
  const std::vector<Input> corpus = read_corpus(paths);
  Kept kept(keep);
  for (const Input& input : corpus) kept.run(input);
  for (std::int64_t k = 0; k < runs; ++k) {
    Random random(seed + static_cast<std::uint64_t>(k));
    kept.run(next_input(random, corpus));
    if ((k + 1) % 10'000 == 0) {
      std::fprintf(stderr, "\r%lld of %lld runs", static_cast<long long>(k + 1),
                   static_cast<long long>(runs));
    }
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  std::printf("\n%lld runs, %zu of them files, nothing wrong, %.0f s\n",
              static_cast<long long>(runs) + static_cast<long long>(corpus.size()), corpus.size(),
              taken.count());
  return 0;
}

}  // namespace
}  // namespace pathcond::fuzz

int main(int argc, char** argv) { return pathcond::fuzz::run(argc, argv); }
