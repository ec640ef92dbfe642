#include "tests/faults/release_0_client.h"

#include <gtest/gtest.h>

#include <optional>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace latchkey::faults {
namespace {

// The file is there before the process that reads it.
std::ofstream Made(const std::string& path) { return std::ofstream(path, std::ios::app); }

core::BootTime TimeFrom(std::istream& in) {
  int64_t nanoseconds = 0;
  in >> nanoseconds;
  return core::BootTime::FromNanoseconds(nanoseconds);
}

}  // namespace

ReleaseZeroClient::ReleaseZeroClient(const KeyTable& keys, const VerifierOptions& options, const std::string& commands)
    : keys_(keys),
      commands_(Made(commands)),
      process_({.arguments = {testing::Program("tests/release_0/build/verifying_client"), options.server,
                              options.key_file, absl::StrCat(absl::ToInt64Milliseconds(options.timeout)), commands}}),
      told_(KeyTable::kMost) {}

ReleaseZeroClient::~ReleaseZeroClient() { Write("end"); }

void ReleaseZeroClient::Write(const std::string& command) { commands_ << command << "\n" << std::flush; }

void ReleaseZeroClient::Sync() {
  for (; added_ < keys_.end(); ++added_) Write("add " + keys_[added_].key_string);
  if (first_ < keys_.first()) Write(absl::StrCat("forget ", first_ = keys_.first()));
  Write("tell");
  for (;;) {
    const std::optional<std::string> line = process_.ReadLine(absl::Seconds(10));
    if (!line.has_value()) {
      ADD_FAILURE() << "release 0's client does not answer: " << process_.error();
      return;
    }
    std::istringstream in(*line);
    std::string kind;
    in >> kind;
    if (kind == "told") {
      int64_t lease = 0;
      in >> undecided_ >> accepts_ >> lease;
      stats_.lease_remaining = absl::Nanoseconds(lease);
      return;
    }
    size_t key = 0;
    int last = 0;
    in >> key >> last;
    if (key >= told_.size()) continue;
    told_[key].last = static_cast<Told::Last>(last);
    told_[key].asked_at = TimeFrom(in);
    told_[key].accept_asked_at = TimeFrom(in);
    told_[key].accept_came_at = TimeFrom(in);
    told_[key].over_at = TimeFrom(in);
  }
}

}  // namespace latchkey::faults
