#include "client/cli/arguments.h"

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "client/core/key_format.h"
#include "client/core/resource_names.h"

namespace latchkey::cli {
namespace {

constexpr int64_t kMillisecondsPer100Years = int64_t{36525} * 24 * 3600 * 1000;

struct Unit {
  std::string_view name;
  int64_t milliseconds;
};

// Largest first: the order in which they may follow each other.
constexpr std::array<Unit, 6> kUnits = {Unit{"w", 7 * 24 * 3600 * 1000},
                                        {"d", 24 * 3600 * 1000},
                                        {"h", 3600 * 1000},
                                        {"m", 60 * 1000},
                                        {"s", 1000},
                                        {"ms", 1}};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

absl::StatusOr<absl::Duration> ParseDuration(std::string_view text) {
  const absl::Status wrong = absl::InvalidArgumentError(
      "a duration such as 30d, 12h, 1d12h or 90s is wanted, more than zero and at most 100 years");
  int64_t total = 0;
  size_t next_unit = 0;
  while (!text.empty()) {
    size_t digits = 0;
    int64_t number = 0;
    // 13 digits of milliseconds are more than 100 years, and every product below fits.
    while (digits < text.size() && digits < 14 && IsDigit(text[digits])) number = number * 10 + (text[digits++] - '0');
    text.remove_prefix(digits);
    size_t letters = 0;
    while (letters < text.size() && !IsDigit(text[letters])) ++letters;
    const std::string_view name = text.substr(0, letters);
    text.remove_prefix(letters);
    while (next_unit < kUnits.size() && kUnits[next_unit].name != name) ++next_unit;
    if (digits == 0 || next_unit == kUnits.size()) return wrong;
    const int64_t unit = kUnits[next_unit++].milliseconds;
    if (number > kMillisecondsPer100Years / unit) return wrong;
    total += number * unit;
  }
  if (total <= 0 || total > kMillisecondsPer100Years) return wrong;
  return absl::Milliseconds(total);
}

absl::StatusOr<absl::Time> ParseTime(std::string_view text) {
  absl::Time time;
  std::string error;
  const bool leaves_room = text.size() >= 20 && text.size() <= 40;
  // absl also reads "infinite-future", which is no time that a server could store.
  if (!leaves_room || !IsDigit(text[0]) ||
      !absl::ParseTime(absl::RFC3339_full, absl::string_view(text.data(), text.size()), &time, &error)) {
    return absl::InvalidArgumentError("a time such as 2030-01-02T03:04:05Z is wanted (RFC 3339, with its zone)");
  }
  return time;
}

absl::StatusOr<std::string> KeyNameFrom(std::string_view text, std::string_view organization) {
  if (core::ParseKeyString(text)) {
    return absl::InvalidArgumentError(
        "that is a key string, not a key's name. Key strings don't belong on a command line: your shell may have "
        "written it to its history. Name the key ORGANIZATION/KEYID");
  }
  std::string named;
  std::string kid;
  if (const auto full = core::ParseKeyName(text)) {
    named = full->organization;
    kid = full->kid;
  } else if (const size_t slash = text.find('/'); slash != std::string_view::npos) {
    named = std::string(text.substr(0, slash));
    kid = std::string(text.substr(slash + 1));
  } else {
    named = std::string(organization);
    kid = std::string(text);
    if (named.empty()) {
      return absl::InvalidArgumentError("KEY: say whose it is: ORGANIZATION/KEYID, or a key id with --organization");
    }
  }
  if (!core::IsResourceId(named) || !core::IsKeyId(kid)) {
    return absl::InvalidArgumentError(
        "KEY: wanted organizations/ORGANIZATION/keys/KEYID, ORGANIZATION/KEYID, or a key id (16 letters and digits) "
        "with --organization");
  }
  if (!organization.empty() && organization != named) {
    return absl::InvalidArgumentError("KEY and --organization name two organizations");
  }
  return core::KeyNameOf(named, kid);
}

absl::StatusOr<std::pair<std::string, std::string>> ParseLabel(std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == 0 || equals == std::string_view::npos)
    return absl::InvalidArgumentError("--label: NAME=VALUE is wanted");
  return std::make_pair(std::string(text.substr(0, equals)), std::string(text.substr(equals + 1)));
}

absl::StatusOr<v1::Reason> ParseReason(std::string_view text) {
  if (text == "unused") return v1::REASON_UNUSED;
  if (text == "rotated") return v1::REASON_ROTATED;
  if (text == "compromised") return v1::REASON_COMPROMISED;
  if (text == "owner-left") return v1::REASON_OWNER_LEFT;
  return absl::InvalidArgumentError("--reason: unused, rotated, compromised or owner-left is wanted");
}

}  // namespace latchkey::cli
