#include "server/model/acknowledgements.h"

#include <algorithm>

namespace latchkey::storage {

int64_t Acknowledgements::Of(std::string_view organization) const {
  const auto found =
      std::find_if(behind.begin(), behind.end(), [&](const auto& one) { return one.first == organization; });
  return found == behind.end() ? others : std::min(others, found->second);
}

int64_t Acknowledgements::oldest() const {
  int64_t oldest = others;
  for (const auto& [organization, revision] : behind) oldest = std::min(oldest, revision);
  return oldest;
}

}  // namespace latchkey::storage
