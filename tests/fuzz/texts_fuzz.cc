#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_split.h"
#include "client/core/cidr.h"
#include "client/core/permissions.h"
#include "client/core/resource_names.h"
#include "client/core/revision_token.h"
#include "client/core/text.h"
#include "server/keys/crypto/phc_hash.h"
#include "tests/fuzz/property.h"

// The small texts: PHC strings, CIDR blocks, permissions, resource names, revision tokens, UTF-8. An input is read as
// each of them, and its lines as sets of blocks and of permissions.
namespace latchkey {
namespace {

constexpr size_t kMostLines = 64;

void CheckPhc(std::string_view text) {
  const std::optional<keys::PhcHash> hash = keys::ParsePhc(text);
  if (!hash) return;
  PROPERTY(hash->memory_kib >= 8 * hash->lanes && hash->memory_kib <= keys::kMaxMemoryKib);
  PROPERTY(hash->passes >= 1 && hash->passes <= keys::kMaxPasses);
  PROPERTY(hash->lanes >= 1 && hash->lanes <= keys::kMaxLanes);
  PROPERTY(hash->salt.size() >= 8 && hash->salt.size() <= 64);
  PROPERTY(hash->hash.size() >= 16 && hash->hash.size() <= 64);
  // The last digit of base64 may have bits that mean nothing: another text of the same hash.
  const std::string written = keys::FormatPhc(*hash);
  PROPERTY(written.size() == text.size());
  const std::optional<keys::PhcHash> again = keys::ParsePhc(written);
  PROPERTY(again && again->memory_kib == hash->memory_kib && again->passes == hash->passes);
  PROPERTY(again->lanes == hash->lanes && again->salt == hash->salt && again->hash == hash->hash);
}

void CheckCidr(std::string_view text) {
  const std::optional<core::IpAddress> address = core::ParseIp(text);
  const absl::StatusOr<core::Cidr> block = core::Cidr::Parse(text);
  if (address) {
    PROPERTY(block.ok() && block->Contains(*address));
  }
  if (!block.ok()) {
    PROPERTY(block.status().code() == absl::StatusCode::kInvalidArgument);
    return;
  }
  const std::string canonical = block->ToString();
  const absl::StatusOr<core::Cidr> again = core::Cidr::Parse(canonical);
  PROPERTY(again.ok() && *again == *block && again->ToString() == canonical);
  PROPERTY(block->Covers(*block));
  PROPERTY(core::Cidr::Parse("::/0")->Covers(*block));
}

void CheckCidrs(const std::vector<std::string>& lines) {
  const absl::StatusOr<std::vector<std::string>> normalised = core::NormalisedCidrs(lines);
  const bool all_fine =
      std::all_of(lines.begin(), lines.end(), [](const std::string& line) { return core::Cidr::Parse(line).ok(); });
  PROPERTY(normalised.ok() == all_fine);
  if (!normalised.ok()) return;
  PROPERTY(core::NormalisedCidrs(*normalised).value() == *normalised);
  PROPERTY(core::CidrsAtMost(*normalised, *normalised));
  PROPERTY(core::CidrsAtMost(*normalised, {}));
  PROPERTY(normalised->empty() == lines.empty());
  for (const std::string& line : lines) {
    PROPERTY(core::CidrsAtMost(core::NormalisedCidrs({line}).value(), *normalised));
  }
  // None of them is covered by the others.
  for (size_t i = 0; i < normalised->size() && normalised->size() > 1; ++i) {
    std::vector<std::string> others = *normalised;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(i));
    PROPERTY(!core::CidrsAtMost({(*normalised)[i]}, others));
  }
}

void CheckPermissions(const std::vector<std::string>& lines) {
  std::vector<std::string> set;
  for (const std::string& line : lines) {
    if (!core::IsPermission(line)) continue;
    PROPERTY(line.size() <= core::kMaxPermissionLength);
    PROPERTY(core::Covers(line, line));
    PROPERTY(core::Covers("*", line));
    set.push_back(line);
  }
  const std::vector<std::string> normalised = core::Normalised(set);
  PROPERTY(core::Normalised(normalised) == normalised);
  PROPERTY(std::is_sorted(normalised.begin(), normalised.end()));
  PROPERTY(core::AtMost(set, normalised) && core::AtMost(normalised, set));
  std::reverse(set.begin(), set.end());
  PROPERTY(core::Normalised(set) == normalised);
  // a ≤ b ≤ c makes a ≤ c; of each three in a row.
  for (size_t i = 0; i + 2 < set.size(); ++i) {
    if (core::Covers(set[i], set[i + 1]) && core::Covers(set[i + 1], set[i + 2])) {
      PROPERTY(core::Covers(set[i], set[i + 2]));
    }
  }
}

void CheckNames(std::string_view text) {
  if (const auto organization = core::ParseOrganizationName(text)) {
    PROPERTY(core::IsResourceId(*organization) && core::OrganizationNameOf(*organization) == text);
  }
  if (const auto key = core::ParseKeyName(text)) {
    PROPERTY(core::KeyNameOf(key->organization, key->kid) == text);
  }
  if (const auto role = core::ParseRoleName(text)) {
    PROPERTY(core::IsResourceId(role->role) && core::RoleNameOf(role->organization, role->role) == text);
  }
  if (core::IsResourceId(text)) {
    PROPERTY(core::ParseOrganizationName(core::OrganizationNameOf(text)) == std::string(text));
    PROPERTY(core::ParseRoleName(core::RoleNameOf(text, text)).has_value());
  }
  if (const auto token = core::RevisionToken::Decode(text)) {
    PROPERTY(token->revision >= 0 && token->Encode() == text);
  }
}

void CheckText(std::string_view text) {
  const std::string printable = core::Printable(text);
  PROPERTY(core::CodePoints(printable).has_value());
  PROPERTY(!core::HasForbiddenCharacter(printable));
  PROPERTY(core::Printable(printable) == printable);
  const std::optional<size_t> points = core::CodePoints(text);
  PROPERTY(!points || (*points <= text.size() && *points >= text.size() / 4));
  PROPERTY((printable == text) == (points.has_value() && !core::HasForbiddenCharacter(text)));
}

}  // namespace
}  // namespace latchkey

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace latchkey;  // NOLINT(google-build-using-namespace)
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  CheckPhc(text);
  CheckCidr(text);
  CheckNames(text);
  CheckText(text);
  std::vector<std::string> lines = absl::StrSplit(absl::string_view(text.data(), text.size()), '\n');
  if (lines.size() > kMostLines) lines.resize(kMostLines);
  CheckCidrs(lines);
  CheckPermissions(lines);
  return 0;
}
