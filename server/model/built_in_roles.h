#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/model/records.h"

namespace latchkey::keys {

inline constexpr char kOwnerRole[] = "owner";
inline constexpr char kVerifierRole[] = "verifier";

// The permissions the server itself asks for.
inline constexpr char kKeysCreate[] = "latchkey.keys.create";
inline constexpr char kKeysRead[] = "latchkey.keys.read";
inline constexpr char kKeysUpdate[] = "latchkey.keys.update";
inline constexpr char kKeysDelete[] = "latchkey.keys.delete";
inline constexpr char kRolesRead[] = "latchkey.roles.read";
inline constexpr char kOrganizationsCreate[] = "latchkey.organizations.create";
inline constexpr char kOrganizationsUpdate[] = "latchkey.organizations.update";
inline constexpr char kOrganizationsRead[] = "latchkey.organizations.read";
inline constexpr char kVerify[] = "latchkey.verify";

// The roles every organization has: owner, admin, editor, viewer, verifier, in this order. They can't be changed or
// deleted and have no row anywhere; `organization` and the times are unset.
const std::vector<RoleRecord>& BuiltInRoles();

// nullptr if `id` is not one of them.
const RoleRecord* FindBuiltInRole(const std::string& id);

}  // namespace latchkey::keys
