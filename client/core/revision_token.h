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

// Name of a history of the change log, as its database gave it: the first 8 bytes of SHA-256(the chain of revision 0 ‖
// the system identifier ‖ the timeline ‖ when the postmaster started). Another one after every failover, restore and
// restart of the database: commits may have been lost, and the same revision may be another change. So revisions of
// two histories are never compared. kNoHistory: not known, as of a server of release 0.
using HistoryId = uint64_t;
inline constexpr HistoryId kNoHistory = 0;

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
