#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/core/key_format.h"
#include "client/src/cache/lease_cache.h"
#include "tests/support/fake_clock.h"

namespace latchkey::client {
using core::Decision;

inline constexpr absl::Duration kL = absl::Seconds(5);

inline std::string Padded(const std::string& text, size_t size) { return text + std::string(size - text.size(), 'x'); }
inline std::string KidOf(const std::string& name) { return Padded(name, core::kKeyIdLength); }
inline std::string KeyOf(const std::string& name, const std::string& secret = "s", const std::string& label = "") {
  return core::AssembleKeyString(label, KidOf(name), Padded(secret, core::kSecretLength), '0',
                                 Padded("t", core::kTagLength));
}

inline constexpr core::HistoryId kHistory = 7;
inline constexpr core::HistoryId kOtherHistory = 8;

inline core::RevisionToken At(int64_t revision) { return core::RevisionToken::Of(revision, "chainchain"); }

inline Identity::Fields FieldsOf(const std::string& name) {
  Identity::Fields fields;
  fields.organization = "acme";
  fields.key_id = KidOf(name);
  fields.display_name = "Key " + name;
  fields.role = "editor";
  fields.permissions = {"app.read", "app.write"};
  fields.owner = "web team";
  fields.secret_version = 1;
  return fields;
}

class LeaseCacheTest : public ::testing::Test {
 protected:
  explicit LeaseCacheTest(LeaseCache::Options options = {}) : cache(options, clock) {}

  // A stream that said Hello at `revision`, past the window in which entries last no longer than their answers.
  void OpenSettledStream(int64_t revision = 10, core::HistoryId history = kHistory) {
    stream = cache.BeginStream();
    cache.Hello(stream, At(revision), false, kL, history);
    clock.Advance(absl::Seconds(10));
  }
  void Pong(int64_t revision = 10, absl::Duration remaining = kL, core::HistoryId history = kHistory) {
    EXPECT_TRUE(cache.Pong(stream, clock.BootNow(), At(revision), remaining, history));
  }
  LeaseCache::ServerAnswer Allowed(const std::string& name, int64_t revision = 10) {
    return AllowedAs(FieldsOf(name), revision);
  }
  LeaseCache::ServerAnswer AllowedAs(const Identity::Fields& fields, int64_t revision = 10) {
    LeaseCache::ServerAnswer answer;
    answer.decision = Decision::kAllowed;
    answer.identity = Identity(fields);
    answer.revision = revision;
    answer.lease_remaining = kL;
    return answer;
  }
  LeaseCache::ServerAnswer Denied(Decision decision, int64_t revision = 10) {
    LeaseCache::ServerAnswer answer;
    answer.decision = decision;
    answer.revision = revision;
    answer.lease_remaining = kL;
    return answer;
  }
  std::optional<LeaseCache::Hit> Insert(const std::string& name, const LeaseCache::ServerAnswer& answer,
                                        const VerifyParams& params = {}) {
    return cache.Insert(cache.BeginRequest(KeyOf(name)), answer, params);
  }
  // kUnspecified = not remembered.
  Decision Find(const std::string& name, const VerifyParams& params = {}) {
    return DecisionOf(cache.Find(KeyOf(name), params));
  }
  Decision FindInGrace(const std::string& name, const VerifyParams& params = {}) {
    return DecisionOf(cache.FindInGrace(KeyOf(name), params));
  }
  static Decision DecisionOf(const std::optional<LeaseCache::Hit>& hit) {
    return hit.has_value() ? hit->decision : Decision::kUnspecified;
  }
  void InvalidateKey(const std::string& name, int64_t revision) {
    cache.Invalidate(stream, {.revision = At(revision), .key_ids = {KidOf(name)}});
  }

  testing::FakeClock clock;
  LeaseCache cache;
  uint64_t stream = 0;
};

}  // namespace latchkey::client
