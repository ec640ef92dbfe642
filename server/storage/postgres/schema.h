#pragma once

#include <vector>

namespace latchkey::storage::postgres {

// The schema's migrations in order: element i is the text of step i+1, a file of migrations/, byte for byte. A step
// never changes once it was released (tests/storage/postgres/schema_test.cc); a new one is a new file.
const std::vector<const char*>& SchemaSteps();

}  // namespace latchkey::storage::postgres
