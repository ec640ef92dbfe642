#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/repeated_field.h"
#include "server/model/records.h"

namespace latchkey::rpc {

// A page ends early where its items would exceed this.
inline constexpr size_t kMaxPageBytes = 1 << 20;

// Where a page of keys ended: the last key shown.
struct KeyPosition {
  absl::Time created_at;
  std::string kid;
};
std::string FormatKeyPosition(const KeyPosition& position);
// PAGE_TOKEN_INVALID for anything but what FormatKeyPosition wrote.
absl::StatusOr<KeyPosition> ParseKeyPosition(const std::string& text);

// Converts `records` one after another until the next would exceed kMaxPageBytes, at least one. Returns how many.
template <typename Record, typename Item, typename Convert>
size_t FillPage(const std::vector<Record>& records, google::protobuf::RepeatedPtrField<Item>* out,
                const Convert& convert) {
  size_t bytes = 0;
  for (size_t i = 0; i < records.size(); ++i) {
    Item* const item = out->Add();
    convert(records[i], item);
    bytes += item->ByteSizeLong();
    if (bytes > kMaxPageBytes && i > 0) {
      out->RemoveLast();
      return i;
    }
  }
  return records.size();
}

}  // namespace latchkey::rpc
