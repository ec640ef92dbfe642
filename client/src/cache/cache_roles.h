#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "client/src/identity/identity_block.h"

namespace latchkey::client {

// Interning table of role parts: cache entries with the same role and permissions share one, so that one store
// invalidates every key of a role and few those of an organization. Not thread-safe; the parts' atomics may be read by
// anybody.
class RoleTable {
 public:
  RoleTable() = default;
  ~RoleTable() { Clear(); }
  RoleTable(const RoleTable&) = delete;
  RoleTable& operator=(const RoleTable&) = delete;

  // A part that equals `like`, with one count more, the caller's.
  RolePart* Intern(const RolePart& like);
  // Entries of an older revision don't hold any more.
  void InvalidateRole(const std::string& organization, const std::string& role, int64_t revision);
  void InvalidateOrganization(const std::string& organization, int64_t revision);

  // Gives up all parts; those in use live on with their users.
  void Clear();
  // Of parts.
  size_t size() const { return size_; }

 private:
  // More than one if the role's permissions have changed and older entries are still about.
  using Versions = std::vector<RolePart*>;
  static void Invalidate(const Versions& versions, int64_t revision);
  // Drops the parts that nobody uses.
  void Sweep();

  std::unordered_map<std::string, std::map<std::string, Versions>> organizations_;
  size_t size_ = 0;
  size_t sweep_at_ = 1024;
};

}  // namespace latchkey::client
