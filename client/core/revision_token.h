#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace latchkey::core {

// The first bytes of the change log's chain at a revision: enough to tell one history from another by accident or
// restore; it is no secret and no signature.
using ChainPrefix = std::array<char, 8>;

// Position in one history of the change log: what Revision.token says.
struct RevisionToken {
  int64_t revision = 0;  // Not negative.
  ChainPrefix chain{};
  friend bool operator==(const RevisionToken&, const RevisionToken&) = default;

  // With the first 8 bytes of a chain value; a shorter one (there is none) is filled up with zeros.
  static RevisionToken Of(int64_t revision, std::string_view chain);
  // URL-safe, 23 characters: base64url without padding of {version 1, be64(revision), chain}.
  std::string Encode() const;
  // nullopt for anything that Encode does not write for a revision that is not negative.
  static std::optional<RevisionToken> Decode(std::string_view text);
};

}  // namespace latchkey::core
