#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/errors.h"
#include "server/keys/replication/key_index.h"
#include "server/keys/replication/log_follower.h"
#include "server/keys/replication/watch_hub.h"
#include "server/model/built_in_roles.h"
#include "server/model/change_codec.h"
#include "server/model/record_fields.h"
#include "server/model/time_range.h"
#include "tests/fuzz/property.h"
#include "tests/support/fake_clock.h"
#include "tests/support/memory_store/memory_key_store.h"

// Bodies of the change log, from the row to the index and to the clients that watch. An input is a log: a body a line.
namespace latchkey::keys {
namespace {

constexpr size_t kMostRows = 32;

absl::StatusOr<Change> Decode(const LogRow& row) {
  absl::StatusOr<Change> change = DecodeBody(row);
  if (change.ok()) return change;
  PROPERTY(errors::ReasonOf(change.status()) == errors::Reason::kRowUnreadable);
  PROPERTY(change.status().code() == absl::StatusCode::kDataLoss);
  PROPERTY(change.status().message().find(absl::StrCat("change-log row ", row.rev, ": ")) != absl::string_view::npos);
  return change;
}

// Of a record: every time is one that the API can say.
struct TimeCheck {
  template <typename T>
  void operator()(const char*, const T& field, const InBody& = {}) const {
    if constexpr (std::same_as<T, absl::Time>) {
      PROPERTY(field == Never() || IsInRange(field));
    } else if constexpr (std::same_as<T, std::vector<SecretVersion>>) {
      for (const SecretVersion& version : field) VisitFields(version, TimeCheck());
    }
  }
};

void CheckTimes(const Change& change) {
  if (change.key) VisitFields(*change.key, TimeCheck());
  if (change.organization) VisitFields(*change.organization, TimeCheck());
  if (change.role) VisitFields(*change.role, TimeCheck());
  if (change.settings) VisitFields(*change.settings, TimeCheck());
}

bool IsAboutSomething(const Change& change) {
  return change.key || change.organization || change.role || change.settings;
}

// What was read is what a server would write, and read again.
void CheckRoundTrip(const Change& change, const LogRow& row) {
  PROPERTY(change.body == row.body);
  PROPERTY(LevelOf(change) <= kNewestLevel);
  if (!IsAboutSomething(change)) return;
  PROPERTY(RequireLevel({change}, Settings{.level = kNewestLevel}).ok());
  LogRow again = row;
  again.body = EncodeBody(change, Audit());
  const absl::StatusOr<Change> read = Decode(again);
  PROPERTY(read.ok());
  PROPERTY(read->key == change.key);
  PROPERTY(read->organization == change.organization);
  PROPERTY(read->role == change.role);
  PROPERTY(read->settings == change.settings);
}

void CheckIndexed(const KeyIndex& index, const KeyRecord& key) {
  const KeyIndex::Pin pin(index);
  const IndexedKey* const found = pin.FindKey(key.kid);
  if (key.kid.size() > IndexedKey::kMaxKidLength) {
    PROPERTY(found == nullptr);
    return;
  }
  PROPERTY(found != nullptr);
  PROPERTY(found->kid() == key.kid);
  PROPERTY(found->display_name() == key.display_name);
  PROPERTY(found->owner() == key.owner);
  PROPERTY(found->labels() == key.labels);
  PROPERTY(found->expires_at() == key.expires_at);
  PROPERTY(found->purge_at() == key.purge_at);
  PROPERTY(found->deleted() == key.deleted());
  PROPERTY(pin.RoleIdOf(*found) == key.role);
  const OrganizationRecord* const organization = pin.OrganizationOf(*found);
  PROPERTY(organization == pin.FindOrganization(key.organization));
  PROPERTY(organization == nullptr || organization->id == key.organization);
  // A block that can't be read must not leave the key to be used from anywhere.
  PROPERTY(found->allowed_cidrs().size() == key.allowed_cidrs.size());
  PROPERTY(static_cast<size_t>(found->version_count()) == key.versions.size());
  for (int i = 0; i < found->version_count(); ++i) {
    PROPERTY(found->version(i).id == key.versions[static_cast<size_t>(i)].id);
    PROPERTY(found->version(i).expires_at == key.versions[static_cast<size_t>(i)].expires_at);
    PROPERTY(!found->version(i).proof);
  }
}

void CheckIndexed(const KeyIndex& index, const RoleRecord& role) {
  const KeyIndex::Pin pin(index);
  const RoleRecord* const found = pin.FindRole(role.organization, role.id);
  if (const RoleRecord* const built_in = FindBuiltInRole(role.id)) {
    PROPERTY(found != nullptr && *found == *built_in);
  } else if (role.removed) {
    PROPERTY(found == nullptr);
  } else {
    PROPERTY(found != nullptr && *found == role);
  }
}

void CheckIndexed(const KeyIndex& index, const OrganizationRecord& organization) {
  const KeyIndex::Pin pin(index);
  const OrganizationRecord* const found = pin.FindOrganization(organization.id);
  PROPERTY(found != nullptr && *found == organization);
}

// Every row that a cache has to hear of comes once, of a kind and by a name that are the change's.
void CheckTold(const std::vector<Invalidation>& told, const Change& change, const LogRow& row) {
  const std::string organization = change.key            ? change.key->organization
                                   : change.role         ? change.role->organization
                                   : change.organization ? change.organization->id
                                                         : "";
  if (organization.empty()) {
    PROPERTY(told.empty());
    return;
  }
  PROPERTY(told.size() == 1);
  PROPERTY(told[0].revision == core::RevisionToken::Of(row.rev, row.chain));
  PROPERTY(told[0].organization == organization);
  PROPERTY((told[0].kind == Invalidation::Kind::kKey) == change.key.has_value());
  PROPERTY((told[0].kind == Invalidation::Kind::kRole) == change.role.has_value());
  PROPERTY(told[0].id == (change.key ? change.key->kid : change.role ? change.role->id : ""));
}

// A server that follows a log.
struct Server {
  Server() {
    PROPERTY(follower.Renew().ok());
    stream = hub.Subscribe({}, {}, nullptr).value().stream;
  }
  LogRow NextRow(std::string_view body) const {
    const LogPosition at = index.position();
    LogRow row{.rev = at.rev + 1, .at = absl::FromUnixMicros(at.rev), .body = std::string(body), .chain = ""};
    row.chain = ChainOf(at.chain, row.rev, row.at, row.body);
    return row;
  }

  testing::FakeClock clock;
  storage::MemoryKeyStore store{[] { return absl::FromUnixSeconds(1'700'000'000); }};
  KeyIndex index;
  WatchHub hub;
  LogFollower follower{store, index, hub, clock, {}};
  std::shared_ptr<WatchHub::Stream> stream;
};

// A row that must not be applied: no lease is left that could cover it, and no stream goes on behind it.
void CheckRefused(Server& server, const LogRow& row) {
  const LogPosition before = server.index.position();
  server.follower.Deliver({.rows = {row}, .history = server.index.Read().history});
  const LogPosition after = server.index.position();
  PROPERTY(after.rev <= before.rev && after.chain != row.chain);
  PROPERTY(server.index.Read().lease_until == base::BootTime::Never());
  for (const Invalidation& told : server.stream->Take(kMostRows)) PROPERTY(told.revision.revision < row.rev);
}

}  // namespace
}  // namespace latchkey::keys

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace latchkey::keys;  // NOLINT(google-build-using-namespace)
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  Server server;
  size_t rows = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (++rows > kMostRows) break;
    const LogRow row = server.NextRow({line.data(), line.size()});
    const absl::StatusOr<Change> change = Decode(row);
    if (!change.ok()) {
      CheckRefused(server, row);
      return 0;
    }
    CheckTimes(*change);
    CheckRoundTrip(*change, row);
    server.follower.Deliver({.rows = {row}, .history = server.index.Read().history});
    PROPERTY(server.index.position().rev == row.rev && server.index.position().chain == row.chain);
    const KeyIndex::Snapshot snapshot = server.index.Read();
    PROPERTY(snapshot.revision == row.rev && snapshot.lease_until > latchkey::base::BootTime::Never());
    PROPERTY(server.hub.position() == latchkey::core::RevisionToken::Of(row.rev, row.chain));
    if (change->key) CheckIndexed(server.index, *change->key);
    if (change->role) CheckIndexed(server.index, *change->role);
    if (change->organization) CheckIndexed(server.index, *change->organization);
    CheckTold(server.stream->Take(kMostRows), *change, row);
    PROPERTY(server.stream->ended().ok());
  }
  LogRow broken = server.NextRow(R"({"v":3})");
  broken.chain[0] = static_cast<char>(broken.chain[0] ^ 1);
  CheckRefused(server, broken);
  return 0;
}
