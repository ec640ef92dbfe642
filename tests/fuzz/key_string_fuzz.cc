#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "client/core/base62.h"
#include "client/core/key_format.h"
#include "client/core/presented_key.h"
#include "client/core/redaction.h"
#include "tests/fuzz/property.h"

// Key strings as strangers present them, and redaction of texts with key strings in them. An input is a text; its bytes
// also choose the digits of a well-formed key string.
namespace latchkey {
namespace {

size_t Count(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// Whether what Redacted() has to find begins at `at`; written without a thought of speed.
bool LooksLikeKeyString(std::string_view text, size_t at) {
  constexpr size_t kHead = core::kMarker.size() + core::kKeyIdLength + 1;
  const std::string_view head = text.substr(at, kHead);
  return head.size() == kHead && head.substr(0, core::kMarker.size()) == core::kMarker &&
         core::IsBase62(head.substr(core::kMarker.size(), core::kKeyIdLength)) && head.back() == '_' &&
         at + kHead < text.size() && core::IsBase62(text[at + kHead]);
}

void CheckParsing(std::string_view text) {
  const std::optional<core::KeyParts> parts = core::ParseKeyString(text);
  const core::PresentedKey presented(text);
  PROPERTY((presented.native() != nullptr) == parts.has_value());
  if (!parts) return;
  std::string_view label = text.substr(0, text.size() - core::kCanonicalLength);
  if (!label.empty()) label.remove_suffix(1);
  PROPERTY(core::IsLabel(label));
  PROPERTY(core::IsKeyId(parts->kid));
  PROPERTY(presented.canonical() == parts->canonical);
  PROPERTY(core::AssembleKeyString(label, parts->kid, parts->secret, parts->gen, parts->tag) == text);
  // A CRC finds every error in one character.
  std::string wrong(parts->canonical);
  for (char& c : wrong) {
    const char right = c;
    c = right == 'x' ? 'y' : 'x';
    PROPERTY(!core::ParseKeyString(wrong));
    c = right;
  }
}

void CheckRedaction(std::string_view text) {
  const std::string redacted = core::Redacted(text);
  PROPERTY(core::Redacted(redacted) == redacted);
  bool any = false;
  for (size_t at = 0; at < text.size(); ++at) any = any || LooksLikeKeyString(text, at);
  PROPERTY((redacted != text) == any);
  for (size_t at = 0; at < redacted.size(); ++at) PROPERTY(!LooksLikeKeyString(redacted, at));
  for (size_t at = 0; at + core::kCanonicalLength <= text.size(); ++at) {
    const std::optional<core::KeyParts> parts = core::ParseKeyString(text.substr(at, core::kCanonicalLength));
    // The text may hold the same digits elsewhere as well, where nothing says that they are a secret.
    if (parts) PROPERTY(Count(redacted, parts->secret) < Count(text, parts->secret));
  }
}

// A well-formed key string of digits that the bytes choose.
std::string KeyStringOf(std::string_view bytes) {
  size_t at = 0;
  const auto digits = [&](size_t count) {
    std::string out;
    for (; out.size() < count; ++at) {
      out += core::kBase62Digits[at < bytes.size() ? static_cast<unsigned char>(bytes[at]) % 62 : 0];
    }
    return out;
  };
  const std::string kid = digits(core::kKeyIdLength);
  const std::string secret = digits(core::kSecretLength);
  const std::string generation = digits(1);
  const std::string tag = digits(core::kTagLength);
  const size_t label_size = bytes.empty() ? 0 : static_cast<unsigned char>(bytes.back()) % (core::kMaxLabelLength + 1);
  std::string label = digits(label_size);
  std::transform(label.begin(), label.end(), label.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? '_' : c; });
  return core::AssembleKeyString(label, kid, secret, generation[0], tag);
}

}  // namespace
}  // namespace latchkey

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace latchkey;  // NOLINT(google-build-using-namespace)
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  CheckParsing(text);
  CheckRedaction(text);
  if (const std::optional<uint64_t> number = core::ParseBase62(text)) {
    PROPERTY(core::Base62(*number, static_cast<int>(size)) == text);
  }
  const std::string key = KeyStringOf(text);
  PROPERTY(core::ParseKeyString(key));
  CheckParsing(key);
  // In the text at each newline.
  std::string around(text);
  for (size_t at = around.find('\n'), count = 0; at != std::string::npos && count < 4; ++count) {
    around.replace(at, 1, key);
    at = around.find('\n', at + key.size());
  }
  CheckRedaction(around);
  CheckRedaction(around + key);
  return 0;
}
