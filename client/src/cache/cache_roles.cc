#include "client/src/cache/cache_roles.h"

#include <algorithm>

namespace latchkey::client {

RolePart* RoleTable::Intern(const RolePart& like) {
  if (size_ >= sweep_at_) Sweep();
  Versions& versions = organizations_[like.organization][like.role];
  const auto found = std::find_if(versions.begin(), versions.end(),
                                  [&like](const RolePart* part) { return part->permissions == like.permissions; });
  RolePart* part = nullptr;
  if (found != versions.end()) {
    part = *found;
  } else {
    part = new RolePart;
    part->organization = like.organization;
    part->role = like.role;
    part->permissions = like.permissions;
    versions.push_back(part);
    ++size_;
  }
  part->Ref();
  return part;
}

void RoleTable::Invalidate(const Versions& versions, int64_t revision) {
  for (RolePart* part : versions) {
    if (part->invalidated.load(std::memory_order_relaxed) < revision) part->invalidated.store(revision);
  }
}

void RoleTable::InvalidateRole(const std::string& organization, const std::string& role, int64_t revision) {
  const auto roles = organizations_.find(organization);
  if (roles == organizations_.end()) return;
  const auto versions = roles->second.find(role);
  if (versions != roles->second.end()) Invalidate(versions->second, revision);
}

void RoleTable::InvalidateOrganization(const std::string& organization, int64_t revision) {
  const auto roles = organizations_.find(organization);
  if (roles == organizations_.end()) return;
  for (const auto& [role, versions] : roles->second) Invalidate(versions, revision);
}

void RoleTable::Sweep() {
  for (auto& [organization, roles] : organizations_) {
    for (auto& [role, versions] : roles) {
      // A count of one is the table's own, and nobody but its caller, who is here, can add to it.
      size_ -= std::erase_if(versions, [](RolePart* part) {
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
    for (const auto& [role, versions] : roles) {
      for (RolePart* part : versions) part->Unref();
    }
  }
  organizations_.clear();
  size_ = 0;
}

}  // namespace latchkey::client
