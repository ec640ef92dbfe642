#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/model/key_store.h"
#include "server/model/principal.h"
#include "server/model/records.h"

namespace latchkey::keys {

// Reads roles. Thread-safe; calls may block.
class Roles {
 public:
  explicit Roles(storage::KeyStore& store);

  // The built-in roles, then the custom ones by id; every record's `organization` is the one asked for.
  // `assignable_only`: those at or below the caller, what a "Select a Role" box shows. ORGANIZATION_NOT_FOUND also for
  // one that the caller does not act on.
  absl::StatusOr<std::vector<RoleRecord>> List(const Principal& caller, const std::string& organization,
                                               bool assignable_only);

 private:
  storage::KeyStore& store_;
};

}  // namespace latchkey::keys
