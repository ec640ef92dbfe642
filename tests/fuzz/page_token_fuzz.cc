#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_split.h"
#include "server/base/errors.h"
#include "server/keys/crypto/key_ring.h"
#include "server/rpc/admin/list_page.h"
#include "server/rpc/admin/page_token.h"
#include "tests/fuzz/property.h"

// Page tokens: of whatever scope, made here and sent back as they are or otherwise. An input is five lines: flags (a
// character), parent, the caller's kid, a position, a token.
namespace latchkey::rpc {
namespace {

// Always the same, so that the corpus has tokens of it.
const keys::KeyRing& Ring() {
  static const auto* const ring = new keys::KeyRing([] {
    std::string json;
    for (const char* purpose : {"pepper", "tag", "proof", "token", "import"}) {
      json += std::string(json.empty() ? "" : ",") + R"({"purpose":")" + purpose + R"(","id":"1","state":"active",)" +
              R"("secret":")" + std::string(43, 'A') + R"(="})";
    }
    return keys::KeyRing::Parse(R"({"latchkey_key_ring":1,"secrets":[)" + json + "]}").value();
  }());
  return *ring;
}

bool IsRefused(const PageScope& scope, const std::string& token) {
  const absl::StatusOr<std::string> opened = OpenPageToken(Ring(), scope, token);
  return !opened.ok() && errors::ReasonOf(opened.status()) == errors::Reason::kPageTokenInvalid;
}

std::vector<PageScope> OthersThan(const PageScope& scope) {
  std::vector<PageScope> others(6, scope);
  others[0].method += "x";
  others[1].parent += "x";
  others[2].caller_kid += "x";
  others[3].show_deleted = !scope.show_deleted;
  others[4].assignable_only = !scope.assignable_only;
  // The same bytes, cut elsewhere.
  if (!scope.parent.empty()) {
    others[5].parent.pop_back();
    others[5].caller_kid.insert(0, 1, scope.parent.back());
  } else {
    others.pop_back();
  }
  return others;
}

void CheckMade(const PageScope& scope, const std::string& position) {
  std::string token = SealPageToken(Ring(), scope, position);
  const absl::StatusOr<std::string> opened = OpenPageToken(Ring(), scope, token);
  // What is longer than any that this server makes is refused before it is looked at.
  if (!opened.ok()) {
    PROPERTY(token.size() > 512);
    return;
  }
  PROPERTY(*opened == position);
  for (const PageScope& other : OthersThan(scope)) PROPERTY(IsRefused(other, token));
  for (char& c : token) {
    const char right = c;
    c = right == 'A' ? 'B' : 'A';
    PROPERTY(IsRefused(scope, token));
    c = right;
  }
  PROPERTY(IsRefused(scope, token + "="));
  PROPERTY(IsRefused(scope, " " + token));
}

}  // namespace
}  // namespace latchkey::rpc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace latchkey::rpc;  // NOLINT(google-build-using-namespace)
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> lines = absl::StrSplit(text, absl::MaxSplits('\n', 4));
  lines.resize(5);
  const unsigned flags = lines[0].empty() ? 0 : static_cast<unsigned char>(lines[0][0]);
  const PageScope scope = {
      .method = (flags & 4) != 0 ? "latchkey.v1.KeyAdmin/ListKeys" : "latchkey.v1.KeyAdmin/ListRoles",
      .parent = lines[1],
      .show_deleted = (flags & 1) != 0,
      .assignable_only = (flags & 2) != 0,
      .caller_kid = lines[2]};
  const std::string& position = lines[3];
  const std::string& token = lines[4];
  CheckMade(scope, position);
  if (const absl::StatusOr<std::string> opened = OpenPageToken(Ring(), scope, token); opened.ok()) {
    PROPERTY(SealPageToken(Ring(), scope, *opened) == token);
  } else {
    PROPERTY(IsRefused(scope, token));
  }
  if (const absl::StatusOr<KeyPosition> parsed = ParseKeyPosition(position); parsed.ok()) {
    PROPERTY(FormatKeyPosition(*parsed) == position);
  } else {
    PROPERTY(latchkey::errors::ReasonOf(parsed.status()) == latchkey::errors::Reason::kPageTokenInvalid);
  }
  return 0;
}
