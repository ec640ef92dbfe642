#include "tests/bench/bulk_keys.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/core/key_format.h"
#include "client/core/secret.h"
#include "server/keys/crypto/phc_hash.h"
#include "server/model/change_codec.h"
#include "server/model/records.h"
#include "tests/bench/sql.h"

namespace latchkey::bench {
namespace {

std::string Hex(const std::string& bytes) { return absl::StrCat("\\\\x", absl::BytesToHexString(bytes)); }

std::string TimeText(absl::Time time) { return absl::FormatTime("%Y-%m-%d %H:%M:%E6S+00", time, absl::UTCTimeZone()); }

keys::KeyRecord RecordOf(const std::string& key_string, absl::Time now) {
  const core::KeyParts parts = *core::ParseKeyString(key_string);
  keys::KeyRecord key;
  key.organization = "acme";
  key.kid = std::string(parts.kid);
  key.display_name = absl::StrCat("bench ", key.kid.substr(0, 6));
  key.role = "editor";
  key.key_hint = core::KeyHint(parts);
  key.creator = "bootstrap";
  key.created_at = now;
  key.updated_at = now;
  key.versions = {keys::SecretVersion{1, now, keys::Never()}};
  return key;
}

}  // namespace

std::string KeyIdOf(const std::string& key_string) { return std::string(core::ParseKeyString(key_string)->kid); }

BulkKeys CopyKeys(const std::string& connection_string, const keys::KeyRing& ring, int64_t proven, int64_t unproven) {
  BulkKeys keys;
  for (int64_t i = 0; i < proven; ++i) keys.proven.emplace_back(ring.Mint().Expose());
  for (int64_t i = 0; i < unproven; ++i) keys.unproven.emplace_back(ring.Mint().Expose());
  const int64_t count = proven + unproven;
  const auto string_at = [&](int64_t i) -> const std::string& {
    return i < proven ? keys.proven[i] : keys.unproven[i - proven];
  };
  const absl::Time now = absl::FromUnixMicros(absl::ToUnixMicros(absl::Now() - absl::Hours(1)));
  const std::string at = TimeText(now);
  const keys::HashProfile profile = keys::OwaspProfile();
  const std::string hash = keys::FormatPhc({.memory_kib = profile.memory_kib,
                                            .passes = profile.passes,
                                            .lanes = profile.lanes,
                                            .salt = std::string(core::Secret::Random(16).Expose()),
                                            .hash = std::string(core::Secret::Random(32).Expose())});

  Sql sql(connection_string);
  sql.Run("BEGIN");
  // What is copied refers to what was copied just before.
  sql.Run("SET LOCAL session_replication_role = replica");
  const int64_t before = std::stoll(sql.Run("SELECT rev FROM log_head FOR UPDATE"));
  std::string chain = absl::HexStringToBytes(sql.Run("SELECT encode(chain, 'hex') FROM log_head"));

  int64_t i = 0;
  sql.CopyIn(
      "COPY keys (kid, organization, display_name, description, role, owner, labels, key_hint, creator, creator_kid, "
      "created_at, updated_at, expires_at, deleted_at, purge_at, delete_reason, revision) FROM STDIN",
      [&](std::string& line) {
        if (i == count) return false;
        const keys::KeyRecord key = RecordOf(string_at(i), now);
        line =
            absl::StrCat(key.kid, "\tacme\t", key.display_name, "\t\teditor\t\t{}\t", key.key_hint, "\tbootstrap\t\t",
                         at, "\t", at, "\tinfinity\tinfinity\tinfinity\t0\t", before + 1 + i, "\n");
        ++i;
        return true;
      });
  i = 0;
  sql.CopyIn("COPY secret_versions (kid, version, hash, pepper_id, created_at, expires_at) FROM STDIN",
             [&](std::string& line) {
               if (i == count) return false;
               line = absl::StrCat(KeyIdOf(string_at(i++)), "\t1\t", hash, "\t", ring.active_pepper_id(), "\t", at,
                                   "\tinfinity\n");
               return true;
             });
  i = 0;
  sql.CopyIn("COPY proofs (kid, version, generation, digest) FROM STDIN", [&](std::string& line) {
    if (i == proven) return false;
    const core::KeyParts parts = *core::ParseKeyString(keys.proven[i++]);
    const keys::Proof proof = ring.ProofOf(parts);
    line = absl::StrCat(std::string(parts.kid), "\t1\t", std::string(1, proof.ring_id), "\t",
                        Hex(std::string(proof.digest.data(), proof.digest.size())), "\n");
    return true;
  });
  i = 0;
  const keys::Audit audit = {.principal = "bootstrap", .peer = "bench", .method = "bench", .server = "bench"};
  sql.CopyIn("COPY change_log (rev, at, body, chain, kid) FROM STDIN", [&](std::string& line) {
    if (i == count) return false;
    keys::Change change;
    change.key = RecordOf(string_at(i), now);
    const std::string body = keys::EncodeBody(change, audit);
    chain = keys::ChainOf(chain, before + 1 + i, now, body);
    line = absl::StrCat(before + 1 + i, "\t", at, "\t", Hex(body), "\t", Hex(chain), "\t", change.key->kid, "\n");
    ++i;
    return true;
  });
  sql.Run(
      absl::StrCat("UPDATE log_head SET rev = ", before + count, ", chain = '\\x", absl::BytesToHexString(chain), "'"));
  sql.Run("COMMIT");
  sql.Run("VACUUM ANALYZE keys, secret_versions, proofs, change_log");
  return keys;
}

}  // namespace latchkey::bench
