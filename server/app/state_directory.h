#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/model/records.h"

namespace latchkey::app {

// Where a server remembers which history it followed: <directory>/position, three lines: "latchkey position 1",
// "revision N", "chain <64 hex digits>". It holds no secret. One server's own; not thread-safe.
class StateDirectory {
 public:
  // Makes the directory 0700 if it is missing. PERMISSION_DENIED for one that is another user's or that others can
  // write.
  static absl::StatusOr<StateDirectory> Open(const std::string& path);

  // The newest row that was applied; nullopt if nothing was kept yet. FAILED_PRECONDITION with one clear line if there
  // is a file that Save did not write.
  absl::StatusOr<std::optional<keys::LogPosition>> Read() const;
  // Replaces it, as a whole or not at all, and durably. Does nothing for the position that was kept last, and
  // for the one before the first load.
  absl::Status Save(const keys::LogPosition& position);

  const std::string& path() const { return path_; }
  std::string file() const { return path_ + "/position"; }

 private:
  explicit StateDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
  keys::LogPosition kept_;
};

// "revision 12, chain 0123456789abcdef": a position for an operator, with the first 16 hex digits of the chain.
std::string Described(const keys::LogPosition& position);

}  // namespace latchkey::app
