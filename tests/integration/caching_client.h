#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "latchkey/verifier.h"
#include "tests/support/postgres_environment.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"

// What the tests of the Verifier with its cache share.
namespace latchkey::testing {

inline const absl::Duration kPatience = absl::Seconds(30);

using KeyChange = std::function<void(v1::Key&)>;

inline std::string KeyIdOf(const v1::Key& key) { return key.name().substr(key.name().rfind('/') + 1); }

inline v1::CreateKeyResponse CreateWith(const RpcClient& client, const std::string& organization,
                                        const std::string& role, const KeyChange& change) {
  v1::CreateKeyRequest request;
  request.set_parent("organizations/" + organization);
  request.mutable_key()->set_display_name("cached");
  request.mutable_key()->set_role(role);
  change(*request.mutable_key());
  const absl::StatusOr<v1::CreateKeyResponse> made = client.Call(&v1::KeyAdmin::Stub::CreateKey, request);
  EXPECT_THAT(made, IsOk());
  return made.value_or(v1::CreateKeyResponse());
}

inline absl::StatusOr<v1::Key> Update(const RpcClient& client, const std::string& name, const KeyChange& change) {
  v1::UpdateKeyRequest request;
  request.mutable_key()->set_name(name);
  change(*request.mutable_key());
  return client.Call(&v1::KeyAdmin::Stub::UpdateKey, request);
}

// Returns once every server and every client refuses the key, or by the bound.
inline absl::StatusOr<v1::Key> DeleteEverywhere(RpcClient client, const std::string& name) {
  client.SetTimeout(kPatience);
  v1::DeleteKeyRequest request;
  request.set_name(name);
  request.set_wait(v1::REVOCATION_WAIT_ALL);
  return client.Call(&v1::KeyAdmin::Stub::DeleteKey, request);
}

inline std::unique_ptr<Verifier> MustConnect(VerifierOptions options) {
  options.timeout = absl::Seconds(10);
  absl::StatusOr<std::unique_ptr<Verifier>> verifier = Verifier::Connect(options);
  EXPECT_TRUE(verifier.ok()) << verifier.status();
  return verifier.ok() ? *std::move(verifier) : nullptr;
}

inline bool WaitForLease(const Verifier& verifier) {
  return Eventually(kPatience, [&] { return verifier.Stats().lease_remaining > absl::ZeroDuration(); });
}

inline std::unique_ptr<Verifier> CachingVerifierOn(DevServer& dev) {
  auto verifier = MustConnect({.server = dev.server().address(), .key_file = dev.KeyFile("verifier")});
  EXPECT_TRUE(WaitForLease(*verifier));
  return verifier;
}

inline int64_t Questions(const Verifier& verifier) {
  const VerifierStats stats = verifier.Stats();
  return stats.batched + stats.unary_calls;
}

// Asks until it is answered from memory.
inline void Warm(Verifier& verifier, const std::string& key_string) {
  EXPECT_TRUE(Eventually(kPatience, [&] {
    const int64_t hits = verifier.Stats().hits;
    verifier.Verify(key_string);
    return verifier.Stats().hits > hits;
  }));
}

// L = 2 s from the start, so that what waits for it to pass waits less.
inline void SetShortBound(const std::string& database) {
  RunSql(database, "UPDATE settings SET bound_us = 2000000, previous_bound_us = 2000000");
}

// An observer that remembers the last reason for a lost stream.
class Ear : public VerifierObserver {
 public:
  void OnWatchDown(const absl::Status& why) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    why_ = why;
  }
  void OnDrain() override { ++drains; }
  void OnLeaseLost() override { ++leases_lost; }
  void OnGraceBegan() override { ++graces; }
  absl::Status why() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return why_;
  }
  std::atomic<int> drains = 0;
  std::atomic<int> leases_lost = 0;
  std::atomic<int> graces = 0;

 private:
  mutable std::mutex mutex_;
  absl::Status why_;
};

}  // namespace latchkey::testing
