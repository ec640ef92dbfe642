#pragma once

#include <string>
#include <vector>

#include "client/core/resource_names.h"

namespace latchkey::keys {

// Who is calling: a verified key, as memory showed it when the call was authenticated. Writes look again, under locks.
struct Principal {
  std::string organization;
  std::string kid;
  std::string role;
  std::vector<std::string> permissions;
  std::string peer;  // The caller's address, for the audit.

  std::string name() const { return core::KeyNameOf(organization, kid); }
  // A caller in `system` acts on every organization with its own permissions; anyone else on its own only.
  bool ActsOn(const std::string& other_organization) const {
    return organization == core::kSystemOrganization || organization == other_organization;
  }
  // On whose behalf its work is done where work is shared out (base::FairQueue): its organization's, so that no one can
  // hold up another by having many keys; callers in `system` serve many, so each stands for itself.
  const std::string& share() const { return organization == core::kSystemOrganization ? kid : organization; }
};

}  // namespace latchkey::keys
