#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/model/key_store.h"
#include "server/model/principal.h"
#include "server/model/records.h"

namespace latchkey::keys {

// A page of roles.
struct RolePage {
  std::vector<RoleRecord> roles;
  std::string next;  // The role after which the next page begins; "" = there is none.
};

// Reads roles. Thread-safe; calls may block.
class Roles {
 public:
  explicit Roles(storage::KeyStore& store);

  // The built-in roles, then the custom ones by id, at most `limit` of those after the role `after` ("" = from the
  // first), also if that is gone; every record's `organization` is the one asked for. `assignable_only`: of those only
  // the ones at or below the caller, what a "Select a Role" box shows, so that a page may be short or empty and not the
  // last. ORGANIZATION_NOT_FOUND also for one that the caller does not act on.
  absl::StatusOr<RolePage> List(const Principal& caller, const std::string& organization, bool assignable_only,
                                const std::string& after, int limit);

 private:
  storage::KeyStore& store_;
};

}  // namespace latchkey::keys
