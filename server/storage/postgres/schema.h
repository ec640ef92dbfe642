#pragma once

#include <vector>

namespace latchkey::storage::postgres {

// A migration of the schema: the texts of the files migrations/NNNN_what.sql and NNNN_what.contract.sql, byte for byte.
struct SchemaStep {
  // The feature level (server/model/feature_level.h) that it is expanded for: `-- Level N.`, the first line of the
  // file; 2 for those of release 0, which have none. It is contracted once the installation is there.
  int level = 2;
  // Adds what newer servers need, and takes away nothing that servers of the feature level before use: both run on it.
  const char* expand = "";
  // Takes away what only those used, once none of them is left. "" = nothing.
  const char* contract = "";
};

// The migrations in order: element i is step i+1. A step never changes once it was released
// (tests/storage/postgres/schema_test.cc); a new one is a new file.
const std::vector<SchemaStep>& SchemaSteps();

}  // namespace latchkey::storage::postgres
