#include "tests/faults/load.h"

#include <gtest/gtest.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/faults/deployment.h"

namespace latchkey::faults {
namespace {

// Bounds a round whose fault never comes.
constexpr int kMostCreates = 400;

Known KnownFrom(const Reply& reply) {
  if (reply.ok()) return Known::kAcknowledged;
  return reply.refused() ? Known::kRefused : Known::kUnknown;
}

}  // namespace

Load::Load(const std::shared_ptr<grpc::Channel>& channel, const Caller& owner, int threads, unsigned seed)
    : seed_(seed) {
  for (int i = 0; i < threads; ++i) {
    const std::string key_string = MustCreate(owner, "admin", absl::StrCat("minter ", i)).key_string();
    minters_.push_back(std::make_unique<Caller>(channel, key_string));
  }
}

Load::~Load() { Stop(); }

void Load::Start() {
  stop_ = false;
  acknowledged_ = 0;
  running_ = static_cast<int>(minters_.size());
  ++round_;
  for (size_t i = 0; i < minters_.size(); ++i) {
    threads_.emplace_back([this, i] { Run(i, seed_ + static_cast<unsigned>(round_ * 1000 + static_cast<int>(i))); });
  }
}

void Load::Stop() {
  stop_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

bool Load::WaitForAcknowledged(int count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return acknowledged_ >= count || running_ == 0; });
  return acknowledged_ >= count;
}

void Load::Run(size_t minter, unsigned seed) {
  Random random(seed);
  const Caller& caller = *minters_[minter];
  std::vector<Operation> mine;
  std::vector<size_t> live;
  const auto acknowledged = [&](Known known) {
    const std::lock_guard lock(mutex_);
    if (known == Known::kAcknowledged) ++acknowledged_;
    changed_.notify_all();
    return known == Known::kAcknowledged;
  };
  for (int i = 0; i < kMostCreates && !stop_; ++i) {
    Operation operation{.minter = minter, .request_id = RequestId(round_, static_cast<int>(minter), i)};
    v1::CreateKeyResponse created;
    operation.created = KnownFrom(
        WhileBusy([&] { return caller.Create("editor", operation.request_id, operation.request_id, &created); }));
    operation.name = created.key().name();
    operation.key_string = created.key_string();
    mine.push_back(operation);
    if (!acknowledged(operation.created)) break;
    live.push_back(mine.size() - 1);
    if (stop_ || Between(random, 0, 1) == 0) continue;
    const size_t chosen = static_cast<size_t>(Between(random, 0, static_cast<int>(live.size()) - 1));
    Operation& victim = mine[std::exchange(live[chosen], live.back())];
    live.pop_back();
    victim.deleted = KnownFrom(WhileBusy([&] { return caller.Delete(victim.name); }));
    if (!acknowledged(victim.deleted)) break;
  }
  const std::lock_guard lock(mutex_);
  for (Operation& operation : mine) operations_.push_back(std::move(operation));
  --running_;
  changed_.notify_all();
}

void Load::CheckAndSettle(const Caller& owner) {
  CheckDecisions(owner);
  for (Operation& operation : operations_) {
    if (operation.created != Known::kAcknowledged) SettleCreate(operation);
    if (operation.deleted == Known::kUnknown || operation.deleted == Known::kRefused) SettleDelete(owner, operation);
  }
  CheckDecisions(owner);
  summary_.creates = 0;
  summary_.deletes = 0;
  for (const Operation& operation : operations_) {
    if (operation.created == Known::kAcknowledged) ++summary_.creates;
    if (operation.deleted == Known::kAcknowledged) ++summary_.deletes;
  }
}

void Load::CheckDecisions(const Caller& owner) {
  std::vector<std::string> key_strings;
  std::vector<const Operation*> asked;
  for (const Operation& operation : operations_) {
    if (operation.key_string.empty()) continue;
    key_strings.push_back(operation.key_string);
    asked.push_back(&operation);
  }
  const std::vector<v1::Decision> decisions = owner.Verify(key_strings);
  for (size_t i = 0; i < asked.size(); ++i) {
    const Operation& operation = *asked[i];
    const v1::Decision decision = decisions[i];
    switch (operation.deleted) {
      case Known::kNothing:
      case Known::kRefused:
        EXPECT_EQ(decision, v1::DECISION_ALLOWED) << operation.request_id << ": an acknowledged create";
        break;
      case Known::kAcknowledged:
        EXPECT_EQ(decision, v1::DECISION_REVOKED) << operation.request_id << ": an acknowledged delete";
        break;
      case Known::kUnknown:
        EXPECT_TRUE(decision == v1::DECISION_ALLOWED || decision == v1::DECISION_REVOKED)
            << operation.request_id << ": " << v1::Decision_Name(decision);
        break;
    }
  }
}

void Load::SettleCreate(Operation& operation) {
  const bool refused = operation.created == Known::kRefused;
  ++(refused ? summary_.refused : summary_.unknown);
  const Caller& caller = *minters_[operation.minter];
  v1::CreateKeyResponse created;
  bool doubt = !refused;
  const Reply reply = Insist([&] {
    const Reply once = caller.Create("editor", operation.request_id, operation.request_id, &created);
    if (!once.ok() && !once.refused()) doubt = true;
    return once;
  });
  operation.created = Known::kAcknowledged;
  if (reply.ok()) {
    operation.name = created.key().name();
    operation.key_string = created.key_string();
    return;
  }
  EXPECT_EQ(reply.reason, "REQUEST_REPLAYED") << operation.request_id << ": " << reply;
  EXPECT_TRUE(doubt) << operation.request_id << ": a create that was refused had happened";
  ++summary_.had_happened;
  operation.name = reply.name;
  v1::Key key;
  const Reply got = Insist([&] { return caller.Get(operation.name, &key); });
  EXPECT_TRUE(got.ok()) << operation.request_id << ": " << got;
  EXPECT_EQ(key.display_name(), operation.request_id);
}

void Load::SettleDelete(const Caller& owner, Operation& operation) {
  const bool refused = operation.deleted == Known::kRefused;
  ++(refused ? summary_.refused : summary_.unknown);
  v1::Key key;
  const Reply got = Insist([&] { return owner.Get(operation.name, &key); });
  EXPECT_TRUE(got.ok()) << operation.request_id << ": " << got;
  if (key.state() == v1::Key::STATE_DELETED) {
    EXPECT_FALSE(refused) << operation.request_id << ": a delete that was refused had happened";
    ++summary_.had_happened;
  }
  const Reply reply = Insist([&] { return minters_[operation.minter]->Delete(operation.name); });
  EXPECT_TRUE(reply.ok()) << operation.request_id << ": " << reply;
  operation.deleted = Known::kAcknowledged;
}

}  // namespace latchkey::faults
