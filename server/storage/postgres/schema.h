#pragma once

#include <vector>

namespace latchkey::storage::postgres {

// The schema's history: the SQL of migration i+1 is element i. An element never changes once it was released; a new one
// is appended.
const std::vector<const char*>& SchemaSteps();

}  // namespace latchkey::storage::postgres
