#pragma once

#include <cstdint>
#include <string>

namespace latchkey::keys {

// The etag of a resource (AIP-154): its revision as an opaque string. Two states of a resource have different ones.
std::string EtagOf(int64_t revision);

}  // namespace latchkey::keys
