#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace latchkey::storage {

// How far the clients of one server have applied the change log, by the organization of its changes: one that is behind
// holds up nobody who waits for a change of another organization.
struct Acknowledgements {
  int64_t others = 0;  // Changes of every organization that is not in `behind`, up to here.
  std::vector<std::pair<std::string, int64_t>> behind = {};  // Organizations by name, each once.

  // Changes of `organization`, up to here.
  int64_t Of(std::string_view organization) const;
  // Changes of all organizations, up to here.
  int64_t oldest() const;

  friend bool operator==(const Acknowledgements&, const Acknowledgements&) = default;
};

}  // namespace latchkey::storage
