#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>

#include "client/src/identity/identity_block.h"

namespace latchkey::client {

// Tombstones of a cache: what has been invalidated, and at which revision, so that an answer from before it is not
// stored. At most `limit`; beyond it the oldest are forgotten, and forgotten() says what is no longer known. Not
// thread-safe.
class Tombstones {
 public:
  explicit Tombstones(size_t limit) : limit_(limit) {}

  void AddKey(const Kid& kid, int64_t revision);
  // `name`: "acme" for an organization, "acme/editor" for a role.
  void AddName(const std::string& name, int64_t revision);

  // True if something newer than `revision` is known of the key.
  bool OverridesKey(const Kid& kid, int64_t revision) const;
  bool OverridesName(const std::string& name, int64_t revision) const;

  // Nothing can be said of answers below it.
  int64_t forgotten() const { return forgotten_; }
  void Clear();
  size_t memory_bytes() const;

 private:
  struct HashKid {
    size_t operator()(const Kid& kid) const { return HashOfKid(kid); }
  };
  template <typename Key>
  struct Added {
    Key key;
    int64_t revision;
  };
  void Limit();

  const size_t limit_;
  int64_t forgotten_ = 0;
  std::unordered_map<Kid, int64_t, HashKid> keys_;
  std::unordered_map<std::string, int64_t> names_;
  std::deque<Added<Kid>> added_keys_;  // In the order of their coming; some have newer revisions in the maps.
  std::deque<Added<std::string>> added_names_;
};

}  // namespace latchkey::client
