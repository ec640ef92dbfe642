#include "server/keys/replication/invalidation_log.h"

#include <cstddef>
#include <utility>

namespace latchkey::keys {

const InvalidationLog::Row& InvalidationLog::View::at(size_t i) const {
  const size_t place = first_ + i;
  return chunks_[place / kChunkRows]->rows[place % kChunkRows];
}

const InvalidationLog::Row& InvalidationLog::at(size_t i) const {
  const size_t place = first_ + i;
  return chunks_[place / kChunkRows]->rows[place % kChunkRows];
}

void InvalidationLog::Append(Row row) {
  const size_t place = first_ + size_;
  if (place == chunks_.size() * kChunkRows) chunks_.push_back(std::make_shared<Chunk>());
  // A view may be reading the chunk, but none of the rows that come now.
  chunks_.back()->rows[place % kChunkRows] = std::move(row);
  ++size_;
}

void InvalidationLog::DropOldest() {
  --size_;
  if (++first_ < kChunkRows) return;
  chunks_.erase(chunks_.begin());
  first_ = 0;
}

size_t InvalidationLog::CountAfter(int64_t revision) const {
  size_t low = 0;
  size_t high = size_;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (at(middle)->revision.revision > revision) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return size_ - low;
}

InvalidationLog::View InvalidationLog::After(int64_t revision) const {
  View view;
  const size_t count = CountAfter(revision);
  if (count == 0) return view;
  const size_t first = first_ + size_ - count;
  const size_t first_chunk = first / kChunkRows;
  view.chunks_.assign(chunks_.begin() + static_cast<std::ptrdiff_t>(first_chunk), chunks_.end());
  view.first_ = first - first_chunk * kChunkRows;
  view.end_ = view.first_ + count;
  return view;
}

}  // namespace latchkey::keys
