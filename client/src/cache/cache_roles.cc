#include "client/src/cache/cache_roles.h"

#include <algorithm>

namespace latchkey::client {

RolePart* RoleTable::Intern(const RolePart& like) {
  if (size_ >= sweep_at_) Sweep();
  Parts& parts = organizations_[like.organization][like.role];
  const auto found = std::find_if(parts.begin(), parts.end(),
                                  [&like](const RolePart* part) { return part->permissions == like.permissions; });
  RolePart* part = nullptr;
  if (found != parts.end()) {
    part = *found;
  } else {
    part = new RolePart;
    part->organization = like.organization;
    part->role = like.role;
    part->permissions = like.permissions;
    parts.push_back(part);
    ++size_;
  }
  part->Ref();
  return part;
}

void RoleTable::Invalidate(const Parts& parts, int64_t revision) {
  for (RolePart* part : parts) {
    if (part->invalidated.load(std::memory_order_relaxed) < revision) part->invalidated.store(revision);
  }
}

void RoleTable::InvalidateRole(const std::string& organization, const std::string& role, int64_t revision) {
  const auto roles = organizations_.find(organization);
  if (roles == organizations_.end()) return;
  const auto parts = roles->second.find(role);
  if (parts != roles->second.end()) Invalidate(parts->second, revision);
}

void RoleTable::InvalidateOrganization(const std::string& organization, int64_t revision) {
  const auto roles = organizations_.find(organization);
  if (roles == organizations_.end()) return;
  for (const auto& [role, parts] : roles->second) Invalidate(parts, revision);
}

void RoleTable::Sweep() {
  for (auto& [organization, roles] : organizations_) {
    for (auto& [role, parts] : roles) {
      // A count of one is the table's own, and nobody but its caller, who is here, can add to it.
      size_ -= std::erase_if(parts, [](RolePart* part) {
        const bool unused = part->count.load(std::memory_order_acquire) == 1;
        if (unused) part->Unref();
        return unused;
      });
    }
    std::erase_if(roles, [](const auto& role) { return role.second.empty(); });
  }
  std::erase_if(organizations_, [](const auto& organization) { return organization.second.empty(); });
  sweep_at_ = std::max<size_t>(1024, 2 * size_);
}

void RoleTable::Clear() {
  for (const auto& [organization, roles] : organizations_) {
    for (const auto& [role, parts] : roles) {
      for (RolePart* part : parts) part->Unref();
    }
  }
  organizations_.clear();
  size_ = 0;
}

}  // namespace latchkey::client
