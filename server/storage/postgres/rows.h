#pragma once

#include <pqxx/pqxx>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "client/core/revision_token.h"
#include "server/model/records.h"

// Values as PostgreSQL writes them and back. Reading throws UnreadableRow (sql_failure.h) for a value that is not what
// its column should have, and what pqxx throws for a column that is not there.
namespace latchkey::storage::postgres {

// A timestamptz in a UTC, ISO session; infinite times are 'infinity'. Cut to microseconds.
std::string TimeText(absl::Time time);
// Within the years of time_range.h, or infinite. UnreadableRow for any other: PostgreSQL's go on to 294276.
absl::Time ParseTime(std::string_view text);

// Given text as a parameter. Throws if it holds a NUL, where libpq would cut it.
const std::string& Text(const std::string& text);
// A text[] or integer[] parameter.
std::string ArrayText(const std::vector<std::string>& items);

std::string HexText(std::string_view bytes);
// A bytea in its hex output form.
std::string ParseBytes(std::string_view text);

std::string LabelsText(const std::map<std::string, std::string>& labels);

// Rows that have the columns of statements.h, whatever else they have and in whatever order.
keys::KeyRecord KeyFrom(const pqxx::row& row);
keys::KeyRecord UsedKeyFrom(const pqxx::row& row);  // With LATCHKEY_KEY_USE.
keys::RoleRecord RoleFrom(const pqxx::row& row);
keys::OrganizationRecord OrganizationFrom(const pqxx::row& row);
// rev, at, body, chain from column `first` on.
keys::LogRow LogRowFrom(const pqxx::row& row, int first);
keys::Settings SettingsFrom(const pqxx::row& row);
core::HistoryId HistoryFrom(const pqxx::row& row);
// From a ring_id of one character and the 16 bytes of a digest.
keys::Proof ProofFrom(std::string_view ring_id, std::string_view digest);

}  // namespace latchkey::storage::postgres
