#include "server/keys/verify/secret_checker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/base/errors.h"
#include "tests/support/fake_clock.h"
#include "tests/support/forwarding_store.h"
#include "tests/support/memory_store/memory_key_store.h"
#include "tests/support/status_matchers.h"

namespace latchkey::keys {
namespace {

using ::latchkey::testing::FakeClock;
using ::latchkey::testing::HasReason;
using ::latchkey::testing::IsError;
using ::latchkey::testing::IsOk;
using Priority = HashPool::Priority;

// Secrets and proofs by hand; reads can be held up and both can fail.
class SecretStore final : public testing::ForwardingStore {
 public:
  SecretStore() : ForwardingStore(memory_) {}

  absl::StatusOr<std::vector<StoredSecret>> ReadSecrets(const std::string& kid) override {
    std::unique_lock<std::mutex> lock(mutex_);
    ++reads_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return held_.count(kid) == 0; });
    if (!failure_.ok()) return failure_;
    return secrets_[kid];
  }
  absl::Status PutProofs(std::vector<KeyProof> proofs) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!failure_.ok()) return failure_;
    put_.insert(put_.end(), proofs.begin(), proofs.end());
    return absl::OkStatus();
  }

  void Add(const std::string& kid, StoredSecret secret) {
    const std::lock_guard<std::mutex> lock(mutex_);
    secrets_[kid].push_back(std::move(secret));
  }
  void Hold(const std::string& kid) {
    const std::lock_guard<std::mutex> lock(mutex_);
    held_[kid] = true;
  }
  void LetGo(const std::string& kid) {
    const std::lock_guard<std::mutex> lock(mutex_);
    held_.erase(kid);
    changed_.notify_all();
  }
  void Fail(const absl::Status& failure) {
    const std::lock_guard<std::mutex> lock(mutex_);
    failure_ = failure;
  }
  void AwaitReads(int count) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return reads_ >= count; });
  }
  int reads() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return reads_;
  }
  std::vector<KeyProof> put() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return put_;
  }

 private:
  storage::MemoryKeyStore memory_{[] { return absl::UnixEpoch(); }};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::vector<StoredSecret>> secrets_;
  std::map<std::string, bool> held_;
  std::vector<KeyProof> put_;
  absl::Status failure_;
  int reads_ = 0;
};

// A ring whose proof generation 2 is active and 1 is retired.
KeyRing RotatedRing() {
  auto json = nlohmann::json::parse(KeyRing::Generate().Serialise().Expose());
  auto other = nlohmann::json::parse(KeyRing::Generate().Serialise().Expose());
  for (auto& entry : json["secrets"]) {
    if (entry["purpose"] == "proof") entry["state"] = "retired";
  }
  for (auto& entry : other["secrets"]) {
    if (entry["purpose"] != "proof") continue;
    entry["id"] = "2";
    json["secrets"].push_back(entry);
  }
  return *KeyRing::Parse(json.dump());
}

class ProverTest : public ::testing::Test {
 protected:
  ~ProverTest() override {
    for (const std::string& kid : kids_) store_.LetGo(kid);
  }

  enum class Stored { kNoProof, kActiveProof, kRetiredProof, kForeignProof };

  // The string of a new version of `kid`, which the index and the database know.
  std::string AddVersion(const std::string& kid, Stored stored, const std::string& pepper_id = "1") {
    const std::string text = WrongString(kid);
    const core::KeyParts parts = *core::ParseKeyString(text);
    const auto ticket = hashes_.Admit(absl::InfiniteDuration());
    StoredSecret secret;
    secret.version = static_cast<int32_t>(++versions_[kid]);
    secret.hash = *hashes_.Hash(*ticket, KeyRingHandle::Pin(ring_)->PreHash("1", parts.kid, parts.secret));
    secret.pepper_id = pepper_id;
    if (stored == Stored::kActiveProof) secret.proof = KeyRingHandle::Pin(ring_)->ProofOf(parts);
    if (stored == Stored::kRetiredProof) secret.proof = KeyRingHandle::Pin(ring_)->ProofOf(parts, '1');
    if (stored == Stored::kForeignProof) secret.proof = Proof{.ring_id = '9'};
    store_.Add(kid, secret);
    LoadIndex();
    return text;
  }
  std::string AddKey(Stored stored, const std::string& pepper_id = "1") {
    const core::Secret minted = KeyRingHandle::Pin(ring_)->Mint();
    kids_.emplace_back(core::ParseKeyString(minted.Expose())->kid);
    return AddVersion(kids_.back(), stored, pepper_id);
  }
  // A well-formed string that is none of the key's, each time another.
  std::string WrongString(const std::string& kid) {
    std::string secret = std::to_string(++strings_);
    secret.insert(0, core::kSecretLength - secret.size(), 's');
    return core::AssembleKeyString("", kid, secret, '1', std::string(core::kTagLength, 't'));
  }
  void LoadIndex() {
    KeyIndex::SnapshotLoader load(index_);
    load.Begin({.rev = 1, .chain = std::string(32, 'c')}, 1);
    for (const auto& [kid, count] : versions_) {
      std::vector<storage::SnapshotVersion> versions;
      for (int32_t id = 1; id <= count; ++id) versions.push_back({.id = id});
      storage::SnapshotKey key;
      key.organization = "acme";
      key.kid = kid;
      key.role = "viewer";
      key.versions = versions;
      load.Add(key);
    }
    load.Publish();
  }

  static std::string KidOf(const std::string& text) { return std::string(core::ParseKeyString(text)->kid); }
  Proof NameOf(const std::string& text) const {
    return KeyRingHandle::Pin(ring_)->ProofOf(*core::ParseKeyString(text));
  }
  Proof Indexed(const std::string& kid, int32_t version = 1) const {
    const KeyIndex::Pin pin(index_);
    const IndexedKey* const key = pin.FindKey(kid);
    return key == nullptr ? Proof() : key->ProofOf(version);
  }

  void Start(SecretChecker::Options options = {}) {
    checker_ = std::make_unique<SecretChecker>(store_, index_, ring_, hashes_, clock_, options);
    before_ = hashes_.computed();
  }
  std::future<absl::Status> Ask(const std::string& text, Priority lane = Priority::kInteractive,
                                absl::Duration time_left = absl::InfiniteDuration(), const std::string& peer = "p") {
    const auto answer = std::make_shared<std::promise<absl::Status>>();
    checker_->Prove(*core::ParseKeyString(text), lane, time_left, {.address = peer, .share = "acme"},
                    [answer](absl::Status status) { answer->set_value(std::move(status)); });
    return answer->get_future();
  }
  absl::Status Prove(const std::string& text, Priority lane = Priority::kInteractive, const std::string& peer = "p") {
    return Ask(text, lane, absl::InfiniteDuration(), peer).get();
  }
  int64_t computed() const { return hashes_.computed() - before_; }

  FakeClock clock_;
  SecretStore store_;
  KeyRingHandle ring_{RotatedRing()};
  KeyIndex index_;
  HashPool hashes_{{.workers = 1, .profile = RandomKeyProfile(), .nice = 0}, clock_};
  std::map<std::string, int> versions_;
  std::vector<std::string> kids_;
  int strings_ = 0;
  int64_t before_ = 0;
  std::unique_ptr<SecretChecker> checker_;
};

TEST_F(ProverTest, AStoredProofDecidesWithoutArgon2) {
  const std::string key = AddKey(Stored::kActiveProof);
  Start();
  EXPECT_THAT(Prove(key), IsOk());
  EXPECT_EQ(computed(), 0);
  EXPECT_TRUE(Indexed(KidOf(key)) == NameOf(key));
  ASSERT_THAT(checker_->FlushProofs(), IsOk());
  EXPECT_TRUE(store_.put().empty()) << "it is there already";
  EXPECT_EQ(checker_->counters().by_database, 1);
}

TEST_F(ProverTest, AWrongStringForAVersionWithAStoredProofCostsNoArgon2) {
  const std::string key = AddKey(Stored::kActiveProof);
  const std::string wrong = WrongString(KidOf(key));
  Start();
  EXPECT_THAT(Prove(wrong), IsOk());
  EXPECT_EQ(computed(), 0);
  EXPECT_TRUE(checker_->IsKnownInvalid(NameOf(wrong)));
  EXPECT_TRUE(Indexed(KidOf(key)) == NameOf(key)) << "memory refuses the next one";
  EXPECT_EQ(checker_->counters().wrong, 1);
}

TEST_F(ProverTest, WithoutAProofArgon2DecidesAndTheProofIsKeptEverywhere) {
  const std::string key = AddKey(Stored::kNoProof);
  Start();
  EXPECT_THAT(Prove(key), IsOk());
  EXPECT_EQ(computed(), 1);
  EXPECT_TRUE(Indexed(KidOf(key)) == NameOf(key));
  ASSERT_THAT(checker_->FlushProofs(), IsOk());
  ASSERT_EQ(store_.put().size(), 1u);
  EXPECT_EQ(store_.put()[0].kid, KidOf(key));
  EXPECT_EQ(store_.put()[0].version, 1);
  EXPECT_TRUE(store_.put()[0].proof == NameOf(key));
}

TEST_F(ProverTest, WithProofsInMemoryNothingIsWritten) {
  const std::string key = AddKey(Stored::kNoProof);
  Start({.shared = false});
  EXPECT_THAT(Prove(key), IsOk());
  EXPECT_TRUE(Indexed(KidOf(key)) == NameOf(key));
  ASSERT_THAT(checker_->FlushProofs(), IsOk());
  EXPECT_TRUE(store_.put().empty());
}

TEST_F(ProverTest, ManyAskersOfOneStringShareOneHash) {
  const std::string key = AddKey(Stored::kNoProof);
  Start();
  store_.Hold(KidOf(key));
  std::vector<std::future<absl::Status>> answers;
  for (int i = 0; i < 20; ++i) answers.push_back(Ask(key));
  store_.LetGo(KidOf(key));
  for (auto& answer : answers) EXPECT_THAT(answer.get(), IsOk());
  EXPECT_EQ(computed(), 1);
  EXPECT_EQ(store_.reads(), 1);
  EXPECT_EQ(checker_->counters().started, 1);
  EXPECT_EQ(checker_->counters().joined, 19);
  // One that looked at memory before the flight's end and asks after it.
  EXPECT_THAT(Prove(key), IsOk());
  EXPECT_EQ(computed(), 1);
  EXPECT_EQ(store_.reads(), 1);
}

TEST_F(ProverTest, ThreadsThatAskAtOnceHashOnceAString) {
  const std::string key = AddKey(Stored::kNoProof);
  const std::string wrong = WrongString(KidOf(key));
  Start();
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&, i] { good += Prove(i % 2 == 0 ? key : wrong).ok() ? 1 : 0; });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 16);
  EXPECT_LE(computed(), 2);
  EXPECT_GE(computed(), 1) << "the wrong one costs none if the right one was first";
}

TEST_F(ProverTest, OnlyVersionsThatNoProofDecidesAreHashed) {
  const std::string one = AddKey(Stored::kActiveProof);
  const std::string kid = KidOf(one);
  const std::string two = AddVersion(kid, Stored::kNoProof);
  Start();
  EXPECT_THAT(Prove(WrongString(kid)), IsOk());
  EXPECT_EQ(computed(), 1);
  EXPECT_THAT(Prove(two), IsOk());
  EXPECT_EQ(computed(), 2);
  EXPECT_TRUE(Indexed(kid, 2) == NameOf(two));
  EXPECT_THAT(Prove(WrongString(kid)), IsOk());
  EXPECT_EQ(computed(), 2) << "both versions are known by now";
}

TEST_F(ProverTest, EachUnprovenVersionIsHashedOnce) {
  const std::string one = AddKey(Stored::kNoProof);
  AddVersion(KidOf(one), Stored::kNoProof);
  Start();
  const std::string wrong = WrongString(KidOf(one));
  EXPECT_THAT(Prove(wrong), IsOk());
  EXPECT_EQ(computed(), 2);
  EXPECT_TRUE(checker_->IsKnownInvalid(NameOf(wrong)));
}

TEST_F(ProverTest, AMatchUnderARetiredGenerationIsRenewedWithoutArgon2) {
  const std::string key = AddKey(Stored::kRetiredProof);
  Start();
  EXPECT_THAT(Prove(WrongString(KidOf(key))), IsOk());
  EXPECT_THAT(Prove(key), IsOk());
  EXPECT_EQ(computed(), 0);
  ASSERT_THAT(checker_->FlushProofs(), IsOk());
  // The wrong string put the stored proof into memory, and memory decided then; the verifier renews that one.
  checker_->Store({KidOf(key), 1, NameOf(key)}, index_.Read().view_id);
  ASSERT_THAT(checker_->FlushProofs(), IsOk());
  ASSERT_EQ(store_.put().size(), 1u);
  EXPECT_EQ(store_.put()[0].proof.ring_id, '2');
  EXPECT_TRUE(Indexed(KidOf(key)) == NameOf(key));

  const std::string other = AddKey(Stored::kRetiredProof);
  EXPECT_THAT(Prove(other), IsOk());
  ASSERT_THAT(checker_->FlushProofs(), IsOk());
  ASSERT_EQ(store_.put().size(), 2u);
  EXPECT_TRUE(store_.put()[1].proof == NameOf(other));
  EXPECT_TRUE(Indexed(KidOf(other)) == NameOf(other));
}

TEST_F(ProverTest, AProofOfAGenerationTheRingLacksDecidesNothing) {
  const std::string key = AddKey(Stored::kForeignProof);
  Start();
  EXPECT_THAT(Prove(key), IsOk());
  EXPECT_EQ(computed(), 1);
  ASSERT_THAT(checker_->FlushProofs(), IsOk());
  EXPECT_EQ(store_.put().size(), 1u);
}

TEST_F(ProverTest, AnErrorReachesAllAskersAndIsNotRemembered) {
  const std::string key = AddKey(Stored::kNoProof);
  Start();
  store_.Hold(KidOf(key));
  auto one = Ask(key);
  auto two = Ask(key);
  store_.Fail(errors::DatabaseUnavailable());
  store_.LetGo(KidOf(key));
  EXPECT_THAT(one.get(), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_THAT(two.get(), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_FALSE(checker_->IsKnownInvalid(NameOf(key)));
  store_.Fail(absl::OkStatus());
  EXPECT_THAT(Prove(key), IsOk());
  EXPECT_TRUE(Indexed(KidOf(key)) == NameOf(key));
}

TEST_F(ProverTest, APepperThatTheRingLacksIsNoVerdict) {
  const std::string key = AddKey(Stored::kNoProof, "gone");
  Start();
  EXPECT_THAT(Prove(key), IsError(absl::StatusCode::kUnavailable, "KEY_RING_LACKS_ID"));
  EXPECT_FALSE(checker_->IsKnownInvalid(NameOf(key)));
  // Another version of the same key can still be proven.
  const std::string other = AddVersion(KidOf(key), Stored::kNoProof);
  EXPECT_THAT(Prove(other), IsOk());
}

TEST_F(ProverTest, OverloadIsRefusedAtOnceButForThoseWhoRide) {
  const std::string key = AddKey(Stored::kNoProof);
  const std::string other = AddKey(Stored::kNoProof);
  Start();
  store_.Hold(KidOf(key));
  auto first = Ask(key);
  store_.AwaitReads(1);
  std::deque<HashPool::Ticket> others;
  // Ten times what is admitted.
  for (int i = 0; i < 10'000; ++i) {
    others.push_back(*hashes_.Admit(absl::InfiniteDuration(), Priority::kInteractive, "acme"));
  }
  const absl::Status refused = Prove(other);
  EXPECT_THAT(refused, IsError(absl::StatusCode::kResourceExhausted, "HASH_POOL_FULL"));
  EXPECT_GT(errors::DetailOf(refused)->retry_after, absl::ZeroDuration());
  EXPECT_EQ(store_.reads(), 1) << "before the SELECT";
  auto rider = Ask(key);
  store_.LetGo(KidOf(key));
  EXPECT_THAT(first.get(), IsOk());
  EXPECT_THAT(rider.get(), IsOk());
  EXPECT_THAT(Prove(key), HasReason("HASH_POOL_FULL")) << "a proven key is memory's to answer, not the checker's";
  others.clear();
  EXPECT_THAT(Prove(other), IsOk());
}

TEST_F(ProverTest, AnAskersOwnDeadlineIsKept) {
  const std::string key = AddKey(Stored::kNoProof);
  Start();
  store_.Hold(KidOf(key));
  auto hurried = Ask(key, Priority::kInteractive, absl::Seconds(1));
  auto patient = Ask(key, Priority::kInteractive, absl::Seconds(10));
  store_.AwaitReads(1);
  clock_.Advance(absl::Seconds(5));
  store_.LetGo(KidOf(key));
  EXPECT_THAT(hurried.get(), HasReason("DEADLINE_EXCEEDED"));
  EXPECT_THAT(patient.get(), IsOk());
  EXPECT_TRUE(Indexed(KidOf(key)) == NameOf(key));
  EXPECT_THAT(Ask(WrongString(KidOf(key)), Priority::kInteractive, absl::ZeroDuration()).get(),
              HasReason("DEADLINE_EXCEEDED"));
}

TEST_F(ProverTest, AFlightThatNobodyWaitsForIsNotFlown) {
  const std::string blocking = AddKey(Stored::kNoProof);
  const std::string key = AddKey(Stored::kNoProof);
  Start({.workers = 1});
  store_.Hold(KidOf(blocking));
  auto first = Ask(blocking);
  store_.AwaitReads(1);
  auto late = Ask(key, Priority::kInteractive, absl::Seconds(1));
  clock_.Advance(absl::Seconds(2));
  store_.LetGo(KidOf(blocking));
  EXPECT_THAT(late.get(), HasReason("DEADLINE_EXCEEDED"));
  EXPECT_THAT(first.get(), IsOk());
  EXPECT_EQ(store_.reads(), 1);
}

TEST_F(ProverTest, AWrongStringNeverLocksOutTheRightOne) {
  const std::string key = AddKey(Stored::kNoProof);
  Start();
  for (int i = 0; i < 50; ++i) {
    const std::string wrong = WrongString(KidOf(key));
    EXPECT_THAT(Prove(wrong), IsOk());
    EXPECT_TRUE(checker_->IsKnownInvalid(NameOf(wrong)));
  }
  EXPECT_FALSE(checker_->IsKnownInvalid(NameOf(key)));
  EXPECT_THAT(Prove(key), IsOk());
  EXPECT_TRUE(Indexed(KidOf(key)) == NameOf(key));
}

TEST_F(ProverTest, ANegativeAnswerCostsNothingUntilItExpires) {
  const std::string key = AddKey(Stored::kNoProof);
  const std::string wrong = WrongString(KidOf(key));
  Start({.negative_ttl = absl::Seconds(10)});
  EXPECT_THAT(Prove(wrong), IsOk());
  clock_.Advance(absl::Seconds(9));
  EXPECT_THAT(Prove(wrong), IsOk());
  EXPECT_EQ(computed(), 1);
  clock_.Advance(absl::Seconds(1));
  EXPECT_FALSE(checker_->IsKnownInvalid(NameOf(wrong)));
  EXPECT_THAT(Prove(wrong), IsOk());
  EXPECT_EQ(computed(), 2);
}

TEST_F(ProverTest, FailuresEmptyTheBucketsOfTheSlowLaneOnly) {
  const std::string key = AddKey(Stored::kNoProof);
  const std::string other = AddKey(Stored::kNoProof);
  Start({.failures_per_second = 1, .failure_burst = 3});
  for (int i = 0; i < 10; ++i) EXPECT_THAT(Prove(WrongString(KidOf(key))), IsOk()) << "the first lane";
  for (int i = 0; i < 3; ++i) EXPECT_THAT(Prove(WrongString(KidOf(key)), Priority::kBackground, "bad"), IsOk()) << i;
  const int reads = store_.reads();
  const absl::Status refused = Prove(WrongString(KidOf(key)), Priority::kBackground, "good");
  EXPECT_THAT(refused, IsError(absl::StatusCode::kResourceExhausted, "TOO_MANY_FAILURES")) << "by its kid";
  EXPECT_GT(errors::DetailOf(refused)->retry_after, absl::ZeroDuration());
  EXPECT_LE(errors::DetailOf(refused)->retry_after, absl::Seconds(1));
  EXPECT_THAT(Prove(WrongString(KidOf(other)), Priority::kBackground, "bad"), HasReason("TOO_MANY_FAILURES"))
      << "by its peer";
  EXPECT_EQ(store_.reads(), reads) << "before any work";
  EXPECT_THAT(Prove(other, Priority::kBackground, "good"), IsOk()) << "neither kid nor peer failed";
  EXPECT_THAT(Prove(WrongString(KidOf(key)), Priority::kInteractive, "bad"), IsOk()) << "the first lane never looks";
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(Prove(WrongString(KidOf(key)), Priority::kBackground, "good"), IsOk());
}

TEST_F(ProverTest, WhatIsRightInTheSlowLaneTakesNoToken) {
  Start({.failure_burst = 1});
  for (int i = 0; i < 5; ++i) EXPECT_THAT(Prove(AddKey(Stored::kNoProof), Priority::kBackground), IsOk());
}

TEST_F(ProverTest, TheSlowLaneDoesNotHoldUpTheFirst) {
  const std::string stuck = AddKey(Stored::kNoProof);
  const std::string key = AddKey(Stored::kNoProof);
  Start({.workers = 1});
  store_.Hold(KidOf(stuck));
  std::vector<std::future<absl::Status>> slow;
  for (int i = 0; i < 5; ++i) slow.push_back(Ask(WrongString(KidOf(stuck)), Priority::kBackground));
  EXPECT_THAT(Prove(key), IsOk());
  store_.LetGo(KidOf(stuck));
  for (auto& answer : slow) EXPECT_THAT(answer.get(), IsOk());
}

TEST_F(ProverTest, TheQueueIsBounded) {
  const std::string key = AddKey(Stored::kNoProof);
  Start({.workers = 1, .queue = 1});
  store_.Hold(KidOf(key));
  auto flying = Ask(key);
  store_.AwaitReads(1);
  auto waiting = Ask(WrongString(KidOf(key)));
  EXPECT_THAT(Prove(WrongString(KidOf(key))), HasReason("WORKERS_BUSY"));
  store_.LetGo(KidOf(key));
  EXPECT_THAT(flying.get(), IsOk());
  EXPECT_THAT(waiting.get(), IsOk());
}

TEST_F(ProverTest, WhileTheDatabaseIsAwayTheNewestProofsWait) {
  std::vector<std::string> keys;
  for (int i = 0; i < 3; ++i) keys.push_back(AddKey(Stored::kNoProof));
  Start({.waiting_proofs = 2});
  for (const std::string& key : keys) EXPECT_THAT(Prove(key), IsOk());
  store_.Fail(errors::DatabaseUnavailable());
  EXPECT_THAT(checker_->FlushProofs(), HasReason("DATABASE_UNAVAILABLE"));
  store_.Fail(absl::OkStatus());
  ASSERT_THAT(checker_->FlushProofs(), IsOk());
  ASSERT_EQ(store_.put().size(), 2u);
  EXPECT_EQ(store_.put()[0].kid, KidOf(keys[1]));
  EXPECT_EQ(store_.put()[1].kid, KidOf(keys[2]));
}

TEST_F(ProverTest, AProofIsNotCarriedIntoAnotherHistory) {
  const std::string key = AddKey(Stored::kNoProof);
  const std::string other = AddKey(Stored::kNoProof);
  Start();
  EXPECT_THAT(Prove(key), IsOk());
  store_.Hold(KidOf(other));
  auto during = Ask(other);
  store_.AwaitReads(2);
  LoadIndex();
  store_.LetGo(KidOf(other));
  EXPECT_THAT(during.get(), IsOk());
  EXPECT_FALSE(Indexed(KidOf(other)));
  ASSERT_THAT(checker_->FlushProofs(), IsOk());
  EXPECT_TRUE(store_.put().empty());
}

TEST_F(ProverTest, AMatchUnderAViewThatWasReplacedMeanwhileIsNotKept) {
  const std::string key = AddKey(Stored::kNoProof);
  Start();
  LoadIndex();
  checker_->Store({KidOf(key), 1, NameOf(key)}, index_.Read().view_id - 1);
  EXPECT_FALSE(Indexed(KidOf(key)));
  EXPECT_THAT(checker_->FlushProofs(), IsOk());
  EXPECT_TRUE(store_.put().empty());
}

TEST_F(ProverTest, ItsEndWaitsForTheFlightsThatHaveBegunOnly) {
  const std::string key = AddKey(Stored::kNoProof);
  Start({.workers = 1});
  store_.Hold(KidOf(key));
  auto begun = Ask(key);
  store_.AwaitReads(1);
  auto waiting = Ask(WrongString(KidOf(key)));
  SecretChecker* const checker = checker_.get();
  std::thread end([this] { checker_.reset(); });
  // It can't be gone before the held flight ends.
  const std::string probe = WrongString(KidOf(key));
  const auto ending = std::make_shared<std::atomic<bool>>(false);  // Those that wait in the queue are told later.
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!*ending && std::chrono::steady_clock::now() < give_up) {
    checker->Prove(*core::ParseKeyString(probe), Priority::kInteractive, absl::InfiniteDuration(),
                   {.address = "p", .share = "acme"}, [ending](const absl::Status& status) {
                     if (errors::NameOf(errors::ReasonOf(status)) == "SHUTTING_DOWN") *ending = true;
                   });
    std::this_thread::yield();
  }
  EXPECT_TRUE(*ending) << "who comes while it ends is not told so";
  store_.LetGo(KidOf(key));
  end.join();
  EXPECT_THAT(begun.get(), IsOk());
  EXPECT_THAT(waiting.get(), HasReason("SHUTTING_DOWN"));
  EXPECT_EQ(store_.reads(), 1);
}

}  // namespace
}  // namespace latchkey::keys
