#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "server/model/key_store.h"
#include "server/model/record_fields.h"

// What the contract's cases are written in. KeyStoreContract's cases run on every implementation of KeyStore; each case
// has an empty store of its own.
namespace latchkey::contract {

struct Implementation {
  std::string name;
  std::unique_ptr<storage::KeyStore> (*make)();
  // What the contract does not show of a store that `make` made. The stored count of uses:
  int64_t (*use_count)(const storage::KeyStore& store, const storage::Use& use);
  // From now on everything beside the log was written this much earlier.
  void (*age)(const storage::KeyStore& store, absl::Duration by);
  // The installation is at that feature level from now on, which no call could bring about.
  void (*set_level)(storage::KeyStore& store, int level);
  // A server of release 0 enters.
  void (*enter_release_zero)(storage::KeyStore& store, const std::string& replica);
};
inline void PrintTo(const Implementation& implementation, std::ostream* out) { *out << implementation.name; }

// A snapshot's key, with nothing that points elsewhere.
struct ShownKey {
  std::string organization;
  std::string kid;
  std::string display_name;
  std::string role;
  std::string owner;
  std::vector<std::pair<std::string, std::string>> labels;
  std::vector<std::string> allowed_cidrs;
  absl::Time expires_at;
  absl::Time purge_at;
  bool deleted = false;
  struct Version {
    int32_t id = 0;
    absl::Time expires_at;
    keys::Proof proof;
    friend bool operator==(const Version&, const Version&) = default;
  };
  std::vector<Version> versions;
  friend bool operator==(const ShownKey&, const ShownKey&) = default;
};
// What a snapshot shows of `key` without proofs.
ShownKey ShownOf(const keys::KeyRecord& key);

// Collects a snapshot.
struct Snapshot final : storage::SnapshotSink {
  void Begin(const keys::LogPosition& at, int64_t count) override;
  void Add(const keys::OrganizationRecord& organization) override { organizations.push_back(organization); }
  void Add(const keys::RoleRecord& role) override { roles.push_back(role); }
  void Add(const storage::SnapshotKey& key) override;

  int begun = 0;
  keys::LogPosition position;
  int64_t key_count = 0;
  std::vector<keys::OrganizationRecord> organizations;
  std::vector<keys::RoleRecord> roles;
  std::vector<ShownKey> keys;
  storage::SnapshotHead head;  // Not the sink's: what LoadSnapshot returned.
};

// All of them, and their names in a test's.
std::vector<Implementation> Implementations();
inline std::string NameOf(const ::testing::TestParamInfo<Implementation>& instance) { return instance.param.name; }

class KeyStoreContract : public ::testing::TestWithParam<Implementation> {
 protected:
  void SetUp() override;

  // Commits `changes` after locking the keys and the organization that they touch. The log rows; fails the test on an
  // error.
  std::vector<keys::LogRow> Put(const std::vector<keys::Change>& changes);
  // What `decide` is shown for `plan`.
  storage::LockedState Look(const storage::LockPlan& plan);
  // As it is stored; fails the test if it is not.
  keys::KeyRecord Stored(const std::string& kid);
  // What LoadSnapshot shows; fails the test on an error.
  Snapshot TakeSnapshot();
  // All of the log.
  std::vector<keys::LogRow> Log();

  std::unique_ptr<storage::KeyStore> store_;
};

// Sets each field that it visits to a value that is not its default, most of them unlike every other.
class FieldFiller {
 public:
  template <typename T>
  void operator()(const char* name, T& field, const keys::InBody& = {}) {
    ++number_;
    Fill(name, field);
  }

 private:
  void Fill(const char* name, std::string& text) const { text = name; }
  void Fill(const char*, absl::Time& time) const { time = absl::FromUnixSeconds(1'700'000'000 + number_); }
  void Fill(const char*, absl::Duration& duration) const { duration = absl::Seconds(10 + number_); }
  void Fill(const char*, bool& value) const { value = true; }
  void Fill(const char*, int32_t& value) const { value = 10 + number_; }
  void Fill(const char*, keys::DeleteReason& reason) const { reason = keys::DeleteReason::kCompromised; }
  void Fill(const char* name, std::vector<std::string>& items) const { items = {name, "second"}; }
  void Fill(const char* name, std::map<std::string, std::string>& items) const { items = {{name, "value"}}; }
  void Fill(const char*, std::vector<keys::SecretVersion>& versions) const {
    versions.resize(1);
    keys::VisitFields(versions[0], FieldFiller());
  }

  int number_ = 0;
};

// A record with every stored field set, so that one that gets lost is noticed.
template <typename Record>
Record Filled() {
  Record record;
  keys::VisitFields(record, FieldFiller());
  return record;
}
// One that a store takes: of `acme`.
keys::KeyRecord FilledKey(const std::string& kid);

// Everything in a record is set, so that nothing can be lost unseen. `minute` orders keys by age.
keys::KeyRecord Key(const std::string& kid, const std::string& organization = "acme", int minute = 0);
keys::SecretVersion Version(int32_t id, absl::Time created_at, absl::Time expires_at = keys::Never());
keys::OrganizationRecord Organization(const std::string& id);
keys::RoleRecord Role(const std::string& organization, const std::string& id);
keys::NewSecret Secret(int32_t version = 1);
keys::NewSecret ProvenSecret(int32_t version, char generation);
// The proof that ProvenSecret has.
keys::Proof ProofOf(int32_t version, char generation);

// With the body that a server would write.
keys::Change ChangeOf(const keys::KeyRecord& key);
keys::Change ChangeOf(const keys::KeyRecord& key, const keys::NewSecret& secret);
keys::Change ChangeOf(const keys::OrganizationRecord& organization);
keys::Change ChangeOf(const keys::RoleRecord& role);
keys::Change ChangeOf(const keys::Settings& settings);

// Locks what `changes` touch.
storage::LockPlan PlanFor(const std::vector<keys::Change>& changes);
// A decide() that always wants `changes`.
inline auto Always(const std::vector<keys::Change>& changes, const std::string& request_name = "") {
  return [changes, request_name](const storage::LockedState&) -> absl::StatusOr<storage::Mutation> {
    return storage::Mutation{changes, request_name};
  };
}

// "" if the log starts at 0 without a gap and every chain is right; else what is wrong.
std::string Flaw(const std::vector<keys::LogRow>& log);

// The same instant every time, exact to the microsecond.
absl::Time At(int minute);

}  // namespace latchkey::contract
