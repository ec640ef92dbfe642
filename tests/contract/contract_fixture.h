#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "server/storage/key_store.h"

// What the contract's cases are written in. KeyStoreContract's cases run on every implementation of KeyStore; each case
// has an empty store of its own.
namespace latchkey::contract {

struct Implementation {
  std::string name;
  std::unique_ptr<storage::KeyStore> (*make)();
};
inline void PrintTo(const Implementation& implementation, std::ostream* out) { *out << implementation.name; }

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
  // All of the log.
  std::vector<keys::LogRow> Log();

  std::unique_ptr<storage::KeyStore> store_;
};

// Everything in a record is set, so that nothing can be lost unseen. `minute` orders keys by age.
keys::KeyRecord Key(const std::string& kid, const std::string& organization = "acme", int minute = 0);
keys::OrganizationRecord Organization(const std::string& id);
keys::RoleRecord Role(const std::string& organization, const std::string& id);
keys::NewSecret Secret(int32_t version = 1);

// With the body that a server would write.
keys::Change ChangeOf(const keys::KeyRecord& key);
keys::Change ChangeOf(const keys::KeyRecord& key, const keys::NewSecret& secret);
keys::Change ChangeOf(const keys::OrganizationRecord& organization);
keys::Change ChangeOf(const keys::RoleRecord& role);

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
