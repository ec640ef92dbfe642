#include "client/core/revision_token.h"

#include <algorithm>

#include "absl/strings/escaping.h"

namespace latchkey::core {
namespace {

constexpr char kVersion = 1;
constexpr size_t kBytes = 1 + sizeof(int64_t) + sizeof(ChainPrefix);
constexpr size_t kTextLength = 23;

}  // namespace

RevisionToken RevisionToken::Of(int64_t revision, std::string_view chain) {
  RevisionToken token;
  token.revision = revision;
  std::copy_n(chain.begin(), std::min(chain.size(), token.chain.size()), token.chain.begin());
  return token;
}

std::string RevisionToken::Encode() const {
  std::string bytes;
  bytes.reserve(kBytes);
  bytes.push_back(kVersion);
  for (int shift = 56; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(revision >> shift & 0xff));
  bytes.append(chain.begin(), chain.end());
  return absl::WebSafeBase64Escape(bytes);
}

std::optional<RevisionToken> RevisionToken::Decode(std::string_view text) {
  if (text.size() != kTextLength) return std::nullopt;
  std::string bytes;
  if (!absl::WebSafeBase64Unescape({text.data(), text.size()}, &bytes)) return std::nullopt;
  if (bytes.size() != kBytes || bytes[0] != kVersion) return std::nullopt;
  uint64_t revision = 0;
  for (int i = 1; i <= 8; ++i) revision = revision << 8 | static_cast<unsigned char>(bytes[i]);
  const RevisionToken token = Of(static_cast<int64_t>(revision), std::string_view(bytes).substr(9));
  // Unescaping is lenient: it takes spaces, padding and other last characters for the same bytes.
  if (token.revision < 0 || token.Encode() != text) return std::nullopt;
  return token;
}

}  // namespace latchkey::core
