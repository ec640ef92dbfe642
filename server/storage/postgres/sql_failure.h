#pragma once

#include <exception>
#include <stdexcept>
#include <string>

#include "absl/status/status.h"

namespace latchkey::storage::postgres {

// SQLSTATE statement_completion_unknown. PostgreSQL itself has no use for it, a pooler or a distributed engine may.
inline constexpr char kCompletionUnknown[] = "40003";

// What an exception of the database layer means to a caller.
struct SqlFailure {
  enum class Kind {
    kUnavailable,  // The connection is gone, or the server can't serve now.
    kContended,    // Lock timeout, deadlock, serialisation: the whole transaction may be tried again.
    kDuplicate,    // A unique key is taken: likewise, and the next look will show it.
    kUnreadable,   // A stored value is not what it should be.
    kBug,          // Anything else.
  };
  Kind kind = Kind::kBug;
  std::string sqlstate;    // "" if there is none.
  std::string unreadable;  // Of kUnreadable: UnreadableRow::what().

  // A catalogue error. Carries the SQLSTATE, never the server's text: that may quote stored or given values.
  absl::Status ToStatus(const std::string& while_doing) const;
};

// Thrown by our own code when what was read under locks is gone.
struct Contention : std::exception {};

// Thrown for a stored value that can't be read. what(): which one and what was wanted, never the value.
struct UnreadableRow : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// Never throws. `connection_open` = the connection still was open after it.
SqlFailure FailureOf(const std::exception_ptr& exception, bool connection_open);

}  // namespace latchkey::storage::postgres
