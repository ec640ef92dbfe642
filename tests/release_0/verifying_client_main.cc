// A process that verifies keys with release 0's client library, for tests of today's tree, which can't link two of
// them. Compiled in release 0's tree.
//
// Usage: verifying_client SERVER KEY_FILE TIMEOUT_MS COMMANDS
//
// COMMANDS is a file that grows, a command a line:
//   add KEY_STRING   one more key to verify all the time
//   forget INDEX     no longer those before it
//   tell             print a line "key INDEX LAST ASKED_AT ACCEPT_ASKED_AT ACCEPT_CAME_AT OVER_AT" for each key that is
//                    verified, as in Told, times in nanoseconds; then "told UNDECIDED ACCEPTS LEASE_REMAINING_NS"
//   end
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "tests/faults/verifying_client.h"

namespace latchkey::faults {
namespace {

// Reads the lines of a file as they are appended.
class Commands {
 public:
  explicit Commands(const std::string& path) : file_(path) {}

  std::string Next() {
    for (;;) {
      char byte = 0;
      if (!file_.get(byte)) {
        file_.clear();
        absl::SleepFor(absl::Milliseconds(1));
      } else if (byte == '\n') {
        return std::exchange(line_, "");
      } else {
        line_ += byte;
      }
    }
  }

 private:
  std::ifstream file_;
  std::string line_;
};

void Tell(const KeyTable& keys, const VerifyingClient& client) {
  for (size_t key = keys.first(); key < keys.end(); ++key) {
    const Told told = client.ToldOf(key);
    std::printf("key %zu %d %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 "\n", key, static_cast<int>(told.last),
                told.asked_at.nanoseconds(), told.accept_asked_at.nanoseconds(), told.accept_came_at.nanoseconds(),
                told.over_at.nanoseconds());
  }
  std::printf("told %" PRId64 " %" PRId64 " %" PRId64 "\n", client.undecided(), client.accepts(),
              absl::ToInt64Nanoseconds(client.Stats().lease_remaining));
  std::fflush(stdout);
}

int Run(char** argv) {
  KeyTable keys;
  VerifyingClient client(
      keys, VerifierOptions{.server = argv[1], .key_file = argv[2], .timeout = absl::Milliseconds(std::atoi(argv[3]))});
  Commands commands(argv[4]);
  for (;;) {
    std::string line = commands.Next();
    absl::string_view rest = line;
    if (absl::ConsumePrefix(&rest, "add ")) {
      keys.Add("", std::string(rest));
    } else if (absl::ConsumePrefix(&rest, "forget ")) {
      keys.ForgetBefore(std::strtoull(std::string(rest).c_str(), nullptr, 10));
    } else if (rest == "tell") {
      Tell(keys, client);
    } else {
      return rest == "end" ? 0 : 1;
    }
  }
}

}  // namespace
}  // namespace latchkey::faults

int main(int argc, char** argv) { return argc == 5 ? latchkey::faults::Run(argv) : 1; }
