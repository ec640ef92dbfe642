// Lowering and revoking a key while it mints.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <condition_variable>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/faults/deployment.h"
#include "tests/faults/history.h"
#include "tests/faults/load.h"
#include "tests/support/postgres_environment.h"

namespace latchkey::faults {
namespace {

constexpr int kMinters = 8;

// Threads that mint with one key until they are refused. A call that was sent after Revoked() must be.
class Minters {
 public:
  Minters(const std::shared_ptr<grpc::Channel>& channel, const std::string& key_string, const std::string& role)
      : caller_(channel, key_string), role_(role) {
    for (int i = 0; i < kMinters; ++i) threads_.emplace_back([this] { Run(); });
  }
  ~Minters() { Join(); }

  // Blocks until `count` keys have been minted; false if the minters were refused before that.
  bool WaitForMinted(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return minted_ >= count || ended_ == kMinters; });
    return minted_ >= count;
  }
  void Revoked() { revoked_ = true; }
  void Join() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  int minted() const {
    const std::lock_guard lock(mutex_);
    return minted_;
  }
  // After Join.
  int minted_too_late() const { return minted_too_late_; }
  // How each thread ended.
  const std::vector<std::string>& ends() const { return ends_; }

 private:
  // Bounds a test whose revocation never comes.
  static constexpr int kMost = 2000;

  void Run() {
    std::string end;
    for (;;) {
      const bool revoked = revoked_;
      const Reply reply = WhileBusy([&] { return caller_.Create(role_, "minted", "", nullptr); });
      if (!reply.ok()) {
        end = reply.reason;
        break;
      }
      const std::lock_guard lock(mutex_);
      if (revoked) ++minted_too_late_;
      changed_.notify_all();
      if (++minted_ >= kMost) break;
    }
    const std::lock_guard lock(mutex_);
    ends_.push_back(end);
    ++ended_;
    changed_.notify_all();
  }

  const Caller caller_;
  const std::string role_;
  std::atomic<bool> revoked_ = false;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int minted_ = 0;
  int minted_too_late_ = 0;
  int ended_ = 0;
  std::vector<std::string> ends_;
  std::vector<std::thread> threads_;
};

class Latencies {
 public:
  explicit Latencies(std::string what) : what_(std::move(what)) {}

  // Runs the call and keeps how long it took.
  template <typename Call>
  Reply Measure(Call call) {
    const absl::Time start = absl::Now();
    Reply reply = call();
    milliseconds_.push_back(absl::ToDoubleMilliseconds(absl::Now() - start));
    return reply;
  }
  double Percentile(double part) const {
    std::vector<double> sorted = milliseconds_;
    std::sort(sorted.begin(), sorted.end());
    return sorted[std::min(sorted.size() - 1, static_cast<size_t>(part * static_cast<double>(sorted.size())))];
  }
  void Report(const Latencies& idle) const {
    std::cout << absl::StreamFormat("%-44s n=%d  p50 %6.1f ms (x%.1f)  p99 %6.1f ms (x%.1f)\n", what_,
                                    milliseconds_.size(), Percentile(0.5), Percentile(0.5) / idle.Percentile(0.5),
                                    Percentile(0.99), Percentile(0.99) / idle.Percentile(0.99));
    std::string property = what_;
    std::replace(property.begin(), property.end(), ' ', '_');
    ::testing::Test::RecordProperty(property + "_p50_ms", absl::StrFormat("%.1f", Percentile(0.5)));
    ::testing::Test::RecordProperty(property + "_p99_ms", absl::StrFormat("%.1f", Percentile(0.99)));
  }

 private:
  const std::string what_;
  std::vector<double> milliseconds_;
};

// Lowers `name` to viewer; what stands above that among its children is deleted first, as an operator would. Returns
// how often it was refused, -1 if it did not succeed.
int DemoteToViewer(const Caller& owner, const std::string& name) {
  for (int refused = 0; refused < 1000; ++refused) {
    const Reply lowered = WhileBusy([&] { return owner.SetRole(name, "viewer"); });
    if (lowered.ok()) return refused;
    EXPECT_EQ(lowered.reason, "DESCENDANTS_EXCEED_CREATOR") << lowered;
    if (lowered.reason != "DESCENDANTS_EXCEED_CREATOR") return -1;
    std::vector<v1::Key> keys;
    const Reply listed = owner.List(&keys);
    EXPECT_TRUE(listed.ok()) << listed;
    for (const v1::Key& key : keys) {
      if (key.creator() != name || key.role() == "viewer") continue;
      const Reply deleted = WhileBusy([&] { return owner.Delete(key.name()); });
      EXPECT_TRUE(deleted.ok()) << deleted;
    }
  }
  return -1;
}

TEST(Ceiling, HoldsWhenTheMintingKeyIsLoweredConcurrently) {
  constexpr unsigned kSeed = 20233;
  constexpr int kRounds = 40;
  Random random(kSeed);
  OneServer one(testing::FreshDatabase());
  const std::string& database = one.deployment.database();
  int minted = 0, minted_above = 0, refused = 0, rounds_with_both = 0;
  for (int round = 0; round < kRounds && !HasFailure(); ++round) {
    SCOPED_TRACE(round);
    // Odd rounds race for the first child. In even ones most children don't stand in the way, so that the key is
    // lowered somewhere in the middle; the few others are what must not slip through.
    const bool first_child = round % 2 == 1;
    const int most_each = first_child ? 4 : 60;
    const v1::CreateKeyResponse admin = MustCreate(*one.owner, "admin", "admin");
    const Caller caller(one.server->channel(), admin.key_string());
    std::atomic<int> ok = 0, above = 0, denied = 0;
    std::barrier start(kMinters + 1);
    std::vector<std::thread> threads;
    for (int i = 0; i < kMinters; ++i) {
      threads.emplace_back([&, seed = kSeed + static_cast<unsigned>(round * 100 + i)] {
        Random mine(seed);
        start.arrive_and_wait();
        for (int n = 0; n < most_each; ++n) {
          const bool stands_above = first_child || Between(mine, 1, 16) == 1;
          const std::string role = stands_above ? (n % 2 == 0 ? "editor" : "admin") : "viewer";
          const Reply reply = WhileBusy([&] { return caller.Create(role, "minted", "", nullptr); });
          if (reply.ok()) {
            ++ok;
            if (stands_above) ++above;
            continue;
          }
          EXPECT_EQ(reply.reason, "PERMISSION_MISSING") << reply;
          ++denied;
          break;
        }
      });
    }
    start.arrive_and_wait();
    absl::SleepFor(absl::Microseconds(Between(random, 0, first_child ? 6'000 : 60'000)));
    const int times = DemoteToViewer(*one.owner, admin.key().name());
    EXPECT_GE(times, 0) << "the key was never lowered";
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(KeysAboveTheirCreator(database), 0);
    minted += ok;
    minted_above += above;
    refused += times;
    if (ok > 0 && denied > 0) ++rounds_with_both;
  }
  std::cout << "concurrent demotion (seed " << kSeed << "): " << kRounds << " demotions against " << minted
            << " keys minted (" << minted_above << " of them above a viewer); refused " << refused
            << " times for descendants; " << rounds_with_both << " rounds were cut in their middle\n";
  EXPECT_GE(rounds_with_both, 1) << "the demotions did not race";
  EXPECT_EQ(FlawOfHistory(database), "");
}

TEST(Revocation, OfAKeyThatMintsAtFullSpeedIsPromptAndFinal) {
  constexpr unsigned kSeed = 20234;
  constexpr int kRounds = 50;
  constexpr absl::Duration kDeadline = absl::Seconds(2);
  Random random(kSeed);
  OneServer one(testing::FreshDatabase());
  const Caller owner(one.server->channel(), one.owner_string, kDeadline);
  Latencies idle_delete("delete, no minting"), idle_demotion("demotion, no minting");
  Latencies own_delete("delete of the minting key"), own_demotion("demotion of the minting key");
  Latencies other_demotion("demotion of another key of the same creator");
  int minted = 0;
  // How many keys were minted while the minting key was being revoked: what a busy machine can't blur.
  std::vector<int> overtaken;
  const auto expect_end = [&](Minters& minters, const std::string& reason) {
    minters.Join();
    minted += minters.minted();
    EXPECT_EQ(minters.minted_too_late(), 0);
    for (const std::string& end : minters.ends()) EXPECT_EQ(end, reason);
  };
  for (int round = 0; round < kRounds && !HasFailure(); ++round) {
    SCOPED_TRACE(round);
    const v1::CreateKeyResponse first = MustCreate(owner, "admin", "first");
    const v1::CreateKeyResponse second = MustCreate(owner, "admin", "second");
    const v1::CreateKeyResponse childless = MustCreate(owner, "admin", "childless");
    const std::string quiet = MustCreate(owner, "admin", "quiet").key().name();

    Reply reply = idle_demotion.Measure([&] { return owner.SetRole(quiet, "viewer"); });
    EXPECT_TRUE(reply.ok()) << reply;
    reply = idle_delete.Measure([&] { return owner.Delete(quiet); });
    EXPECT_TRUE(reply.ok()) << reply;

    {
      Minters minters(one.server->channel(), first.key_string(), "editor");
      EXPECT_TRUE(minters.WaitForMinted(kMinters + Between(random, 0, 20)));
      reply = other_demotion.Measure([&] { return owner.SetRole(childless.key().name(), "viewer"); });
      EXPECT_TRUE(reply.ok()) << reply;
      EXPECT_TRUE(minters.WaitForMinted(2 * kMinters + Between(random, 0, 20)));
      const int before = minters.minted();
      reply = own_delete.Measure([&] { return owner.Delete(first.key().name()); });
      EXPECT_TRUE(reply.ok()) << reply;
      overtaken.push_back(minters.minted() - before);
      minters.Revoked();
      expect_end(minters, "CREDENTIALS_INVALID");
    }
    {
      Minters minters(one.server->channel(), second.key_string(), "viewer");
      EXPECT_TRUE(minters.WaitForMinted(kMinters + Between(random, 0, 20)));
      const int before = minters.minted();
      reply = own_demotion.Measure([&] { return owner.SetRole(second.key().name(), "viewer"); });
      EXPECT_TRUE(reply.ok()) << reply;
      overtaken.push_back(minters.minted() - before);
      minters.Revoked();
      expect_end(minters, "PERMISSION_MISSING");
    }
  }
  std::cout << kMinters << " minters on one key, " << minted
            << " keys minted; ratios to the same call without minting\n";
  idle_delete.Report(idle_delete);
  idle_demotion.Report(idle_demotion);
  own_delete.Report(idle_delete);
  own_demotion.Report(idle_demotion);
  other_demotion.Report(idle_demotion);
  std::sort(overtaken.begin(), overtaken.end());
  std::cout << "keys minted meanwhile: median " << overtaken[overtaken.size() / 2] << ", most " << overtaken.back()
            << "\n";
  EXPECT_EQ(KeysAboveTheirCreator(one.deployment.database()), 0);
  EXPECT_EQ(FlawOfHistory(one.deployment.database()), "");
}

}  // namespace
}  // namespace latchkey::faults
