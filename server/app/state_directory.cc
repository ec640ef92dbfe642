#include "server/app/state_directory.h"

#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/core/secret.h"
#include "server/app/files.h"

namespace latchkey::app {
namespace {

constexpr char kFirstLine[] = "latchkey position 1";
constexpr size_t kChainSize = 32;

std::string Written(const keys::LogPosition& position) {
  return absl::StrCat(kFirstLine, "\nrevision ", position.rev, "\nchain ", absl::BytesToHexString(position.chain),
                      "\n");
}

std::optional<keys::LogPosition> Parse(const std::string& text) {
  const std::vector<std::string> lines = absl::StrSplit(text, '\n');
  if (lines.size() != 4 || lines[0] != kFirstLine) return std::nullopt;
  const std::vector<std::string> revision = absl::StrSplit(lines[1], ' ');
  const std::vector<std::string> chain = absl::StrSplit(lines[2], ' ');
  keys::LogPosition position;
  if (revision.size() != 2 || chain.size() != 2 || chain[1].size() != 2 * kChainSize) return std::nullopt;
  if (!absl::SimpleAtoi(revision[1], &position.rev) || position.rev < 0) return std::nullopt;
  for (const char digit : chain[1]) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(digit))) return std::nullopt;
  }
  position.chain = absl::HexStringToBytes(chain[1]);
  // Whatever else was edited shows here: there is one way to write a position.
  if (Written(position) != text) return std::nullopt;
  return position;
}

}  // namespace

absl::StatusOr<StateDirectory> StateDirectory::Open(const std::string& path) {
  absl::StatusOr<std::string> made = MakePrivateDirectory(path);
  if (!made.ok()) return made.status();
  return StateDirectory(*std::move(made));
}

absl::StatusOr<std::optional<keys::LogPosition>> StateDirectory::Read() const {
  const absl::StatusOr<core::Secret> text = ReadSecretFile(file());
  if (absl::IsNotFound(text.status())) return std::nullopt;
  if (!text.ok()) {
    return absl::FailedPreconditionError(absl::StrCat("--state-dir: ", std::string(text.status().message())));
  }
  std::optional<keys::LogPosition> position = Parse(std::string(text->Expose()));
  if (!position.has_value()) {
    return absl::FailedPreconditionError(
        absl::StrCat("--state-dir: ", file(),
                     " is damaged, so the history that this server followed is not known; if the database is the right "
                     "one, run latchkeyd accept-history"));
  }
  return position;
}

absl::Status StateDirectory::Save(const keys::LogPosition& position) {
  if (position.chain.empty() || (position.rev == kept_.rev && position.chain == kept_.chain)) return absl::OkStatus();
  const absl::Status written = WriteSecretFile(file(), core::Secret(Written(position)), /*replace=*/true);
  if (written.ok()) kept_ = position;
  return written;
}

std::string Described(const keys::LogPosition& position) {
  return absl::StrCat("revision ", position.rev, ", chain ", absl::BytesToHexString(position.chain.substr(0, 8)));
}

}  // namespace latchkey::app
