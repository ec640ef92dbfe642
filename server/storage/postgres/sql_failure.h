#pragma once

#include <exception>
#include <string>

#include "absl/status/status.h"

namespace latchkey::storage::postgres {

// What an exception of the database layer means to a caller.
struct SqlFailure {
  enum class Kind {
    kUnavailable,  // The connection is gone, or the server can't serve now.
    kContended,    // Lock timeout, deadlock, serialisation: the whole transaction may be tried again.
    kDuplicate,    // A unique key is taken: likewise, and the next look will show it.
    kBug,          // Anything else.
  };
  Kind kind = Kind::kBug;
  std::string sqlstate;  // "" if there is none.

  // A catalogue error. Carries the SQLSTATE, never the server's text: that may quote stored or given values.
  absl::Status ToStatus(const std::string& while_doing) const;
};

// Thrown by our own code when what was read under locks is gone.
struct Contention : std::exception {};

// Never throws. `connection_open` = the connection still was open after it.
SqlFailure FailureOf(const std::exception_ptr& exception, bool connection_open);

}  // namespace latchkey::storage::postgres
