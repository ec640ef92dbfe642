#pragma once

#include "client/core/revision_token.h"

namespace latchkey::keys {

// What a mutation returns: the new state, and the position in the log from which on everybody sees it.
template <typename T>
struct WithRevision {
  T record;
  core::RevisionToken revision;
};

}  // namespace latchkey::keys
