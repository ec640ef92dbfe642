#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "client/core/revision_token.h"

namespace latchkey::keys {

// What one row of the log makes invalid in a cache.
struct Invalidation {
  enum class Kind { kKey, kRole, kOrganization };
  core::RevisionToken revision;
  Kind kind = Kind::kKey;
  std::string organization;
  std::string id;  // A kid or a role id; "" for an organization.
};

// Append-only list of invalidations by rising revision, whose oldest are dropped: chunks that are shared with its
// views, so that a view of thousands of rows is taken in the time of some pointers and read without a lock. Not
// thread-safe; its views are values.
class InvalidationLog {
 private:
  // Small, because there may be a list of a row or two for each of many organizations.
  static constexpr size_t kChunkRows = 16;
  struct Chunk;

 public:
  using Row = std::shared_ptr<const Invalidation>;

  // Some rows, oldest first. What is appended or dropped later changes nothing in it.
  class View {
   public:
    size_t size() const { return end_ - first_; }
    const Row& at(size_t i) const;

   private:
    friend class InvalidationLog;
    std::vector<std::shared_ptr<const Chunk>> chunks_;
    size_t first_ = 0;  // Counted from the beginning of the first chunk, like end_.
    size_t end_ = 0;
  };

  // `row` has a greater revision than those before it.
  void Append(Row row);
  // REQUIRES: !empty(), like the two after it.
  void DropOldest();
  const Row& oldest() const { return at(0); }
  const Row& newest() const { return at(size_ - 1); }

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  // REQUIRES: i < size().
  const Row& at(size_t i) const;
  // How many rows have a greater revision.
  size_t CountAfter(int64_t revision) const;
  // Those.
  View After(int64_t revision) const;

 private:
  struct Chunk {
    std::array<Row, kChunkRows> rows;
  };

  std::vector<std::shared_ptr<Chunk>> chunks_;
  size_t first_ = 0;  // In the first chunk.
  size_t size_ = 0;
};

}  // namespace latchkey::keys
