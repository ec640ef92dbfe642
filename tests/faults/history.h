#pragma once

#include <string>

#include "server/model/records.h"

namespace latchkey::faults {

// What the database holds once nothing runs on it, read past the servers.

// "" if the change log starts at revision 0, has no gap, every chain is the one that keys::ChainOf recomputes, its end
// is the log head, and the tables hold exactly what the log says; else what is wrong.
std::string FlawOfHistory(const std::string& database);

// "" if every key has a hash, every request id its key, and no request id two keys (a key's display name is the request
// id that it was made with, see Load); else what is wrong.
std::string FlawOfRequests(const std::string& database);

// How many live keys hold a permission that their live creator does not hold, or end after it.
int KeysAboveTheirCreator(const std::string& database);

}  // namespace latchkey::faults
