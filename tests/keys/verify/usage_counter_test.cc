#include "server/keys/verify/usage_counter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/base/errors.h"
#include "tests/support/forwarding_store.h"
#include "tests/support/memory_store/memory_key_store.h"
#include "tests/support/status_matchers.h"

namespace latchkey::keys {
namespace {

using core::Decision;
using ::latchkey::testing::HasReason;
using ::latchkey::testing::IsOk;

const absl::Time kHour = absl::FromUnixSeconds(1'700'002'800);  // A whole one.
constexpr char kKid[] = "aaaaaaaaaaaaaaaa";

// Keeps what AddUses was given, and can refuse it.
class UseStore final : public testing::ForwardingStore {
 public:
  struct Call {
    std::vector<storage::Use> uses;
    std::vector<storage::UseReport> reports;
  };
  UseStore() : ForwardingStore(memory_) {}

  absl::Status AddUses(const std::vector<storage::Use>& uses, const std::vector<storage::UseReport>& reports) override {
    ++asked;
    if (const absl::Status refused = refuse(uses); !refused.ok()) return refused;
    calls.push_back({uses, reports});
    return absl::OkStatus();
  }
  // All counts of all calls, added up: (kid, decision) → count.
  std::map<std::pair<std::string, int>, int64_t> Totals() const {
    std::map<std::pair<std::string, int>, int64_t> totals;
    for (const Call& call : calls) {
      for (const storage::Use& use : call.uses) totals[{use.kid, use.decision}] += use.count;
    }
    return totals;
  }

  std::vector<Call> calls;
  int asked = 0;
  std::function<absl::Status(const std::vector<storage::Use>&)> refuse = [](const auto&) { return absl::OkStatus(); };

 private:
  storage::MemoryKeyStore memory_{[] { return kHour; }};
};

std::string Kid(int i) {
  std::string kid = std::to_string(i);
  return std::string(16 - kid.size(), '0') + kid;
}

storage::UseReport ReportOf(const std::string& id, int uses) {
  storage::UseReport report{.reporter = "r", .request_id = id, .uses = {}};
  for (int i = 0; i < uses; ++i) report.uses.push_back({.kid = Kid(i), .hour = kHour, .count = 1});
  return report;
}

TEST(UsageCounter, AddsUpPerKeyVersionDecisionAndHour) {
  UseStore store;
  UsageCounter counter(store, {});
  counter.Count(kKid, 1, Decision::kAllowed, kHour + absl::Seconds(70));
  counter.Count(kKid, 1, Decision::kAllowed, kHour + absl::Seconds(3599));
  counter.Count(kKid, 1, Decision::kAllowed, kHour + absl::Seconds(3600));
  counter.Count(kKid, 2, Decision::kAllowed, kHour);
  counter.Count(kKid, 1, Decision::kExpired, kHour + absl::Seconds(1));
  ASSERT_THAT(counter.Flush(), IsOk());
  ASSERT_EQ(store.calls.size(), 1u);
  const std::vector<storage::Use>& uses = store.calls[0].uses;
  ASSERT_EQ(uses.size(), 4u);
  EXPECT_EQ(uses[0].kid, kKid);
  EXPECT_EQ(uses[0].hour, kHour);
  EXPECT_EQ(uses[0].count, 2);
  EXPECT_EQ(uses[0].last_used_at, kHour + absl::Minutes(59));
  EXPECT_EQ(uses[1].hour, kHour + absl::Hours(1));
  EXPECT_EQ(uses[1].last_used_at, kHour + absl::Hours(1));
  EXPECT_EQ(uses[2].decision, static_cast<int>(Decision::kExpired));
  EXPECT_EQ(uses[2].last_used_at, absl::InfinitePast()) << "only an allowed use is one";
  EXPECT_EQ(uses[3].version, 2);

  ASSERT_THAT(counter.Flush(), IsOk());
  EXPECT_EQ(store.calls.size(), 1u) << "nothing is written twice";
}

TEST(UsageCounter, TheLastUseOnlyMovesForward) {
  UseStore store;
  UsageCounter counter(store, {});
  counter.Count(kKid, 1, Decision::kAllowed, kHour + absl::Minutes(10));
  counter.Count(kKid, 1, Decision::kAllowed, kHour + absl::Minutes(5));
  ASSERT_THAT(counter.Flush(), IsOk());
  EXPECT_EQ(store.calls.at(0).uses.at(0).last_used_at, kHour + absl::Minutes(10));
}

TEST(UsageCounter, WritesInBatchesSortedByKid) {
  UseStore store;
  UsageCounter counter(store, {.batch = 4});
  for (const int i : {7, 3, 9, 1, 5, 0, 8, 2, 6, 4}) counter.Count(Kid(i), 1, Decision::kAllowed, kHour);
  ASSERT_THAT(counter.Flush(), IsOk());
  ASSERT_EQ(store.calls.size(), 3u);
  int next = 0;
  for (const UseStore::Call& call : store.calls) {
    EXPECT_LE(call.uses.size(), 4u);
    for (const storage::Use& use : call.uses) EXPECT_EQ(use.kid, Kid(next++));
  }
  EXPECT_EQ(next, 10);
}

TEST(UsageCounter, WhatCannotBeWrittenWaitsAndIsAddedUp) {
  UseStore store;
  UsageCounter counter(store, {.batch = 1});
  counter.Count(Kid(1), 1, Decision::kAllowed, kHour + absl::Minutes(9));
  counter.Count(Kid(2), 1, Decision::kAllowed, kHour);
  store.refuse = [](const auto&) { return errors::DatabaseUnavailable(); };
  EXPECT_THAT(counter.Flush(), HasReason("DATABASE_UNAVAILABLE"));
  EXPECT_EQ(store.asked, 1) << "one error is enough to know that the database is away";
  counter.Count(Kid(1), 1, Decision::kAllowed, kHour + absl::Minutes(3));
  store.refuse = [](const auto&) { return absl::OkStatus(); };
  ASSERT_THAT(counter.Flush(), IsOk());
  const int allowed = static_cast<int>(Decision::kAllowed);
  EXPECT_EQ((store.Totals()[{Kid(1), allowed}]), 2);
  EXPECT_EQ((store.Totals()[{Kid(2), allowed}]), 1);
  EXPECT_EQ(store.calls.at(0).uses.at(0).last_used_at, kHour + absl::Minutes(9)) << "forward only";
}

TEST(UsageCounter, AnErrorAboutOneBatchDoesNotHoldUpTheOthers) {
  UseStore store;
  UsageCounter counter(store, {.batch = 1});
  for (int i = 0; i < 3; ++i) counter.Count(Kid(i), 1, Decision::kAllowed, kHour);
  store.refuse = [](const std::vector<storage::Use>& uses) {
    return uses.at(0).kid == Kid(0) ? errors::Contended() : absl::OkStatus();
  };
  EXPECT_THAT(counter.Flush(), HasReason("CONTENDED"));
  EXPECT_EQ(store.calls.size(), 2u);
}

TEST(UsageCounter, ARowThatCannotBeWrittenIsFoundAndDroppedAndTakesNothingAlong) {
  UseStore store;
  UsageCounter counter(store, {});
  for (int i = 0; i < 1000; ++i) counter.Count(Kid(i), 1, Decision::kAllowed, kHour);
  for (int i = 0; i < 5; ++i) counter.Count(Kid(7), 1, Decision::kAllowed, kHour);
  std::vector<absl::Status> answers;
  counter.Report(ReportOf("a", 3), [&](absl::Status status) { answers.push_back(std::move(status)); });
  store.refuse = [](const std::vector<storage::Use>& uses) {
    const bool bad = std::any_of(uses.begin(), uses.end(), [](const storage::Use& use) { return use.kid == Kid(7); });
    return bad ? errors::Internal("no such row") : absl::OkStatus();
  };
  EXPECT_THAT(counter.Flush(), HasReason("INTERNAL"));
  EXPECT_EQ(store.Totals().size(), 999u);
  EXPECT_LT(store.asked, 50) << "halves, not one by one";
  EXPECT_EQ(counter.dropped(), 6);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_THAT(answers[0], IsOk());
  ASSERT_THAT(counter.Flush(), IsOk()) << "it does not come back";
}

TEST(UsageCounter, AnErrorAboutEverythingDropsLittle) {
  UseStore store;
  UsageCounter counter(store, {});
  for (int i = 0; i < 1000; ++i) counter.Count(Kid(i), 1, Decision::kAllowed, kHour);
  store.refuse = [](const auto&) { return errors::Internal("no such table"); };
  EXPECT_THAT(counter.Flush(), HasReason("INTERNAL"));
  EXPECT_LT(store.asked, 100);
  EXPECT_LT(counter.dropped(), 50);
  store.refuse = [](const auto&) { return absl::OkStatus(); };
  ASSERT_THAT(counter.Flush(), IsOk());
  EXPECT_EQ(store.Totals().size() + static_cast<size_t>(counter.dropped()), 1000u);
}

TEST(UsageCounter, OneReporterHoldsAQuarterOfTheRowsThatWait) {
  UseStore store;
  std::vector<std::string> refused;
  UsageCounter counter(store, {.waiting_rows = 8});
  const auto report = [&](const std::string& reporter, const char* id) {
    storage::UseReport given = ReportOf(id, 1);
    given.reporter = reporter;
    counter.Report(std::move(given), [&refused, reporter](absl::Status status) {
      if (!status.ok()) refused.push_back(reporter);
    });
  };
  for (const char* id : {"1", "2", "3"}) report("flood", id);
  EXPECT_EQ(refused, std::vector<std::string>{"flood"});
  for (const char* id : {"1", "2"}) report("other", id);
  EXPECT_EQ(refused.size(), 1u);
  ASSERT_THAT(counter.Flush(), IsOk());
  for (const char* id : {"4", "5"}) report("flood", id);
  EXPECT_EQ(refused.size(), 1u) << "there is room again";
}

TEST(UsageCounter, DropsBeyondItsCapacityAndCountsThat) {
  UseStore store;
  UsageCounter counter(store, {.capacity = 3});
  for (int i = 0; i < 5; ++i) counter.Count(Kid(i), 1, Decision::kAllowed, kHour);
  counter.Count(Kid(0), 1, Decision::kAllowed, kHour);
  EXPECT_EQ(counter.dropped(), 2);
  ASSERT_THAT(counter.Flush(), IsOk());
  EXPECT_EQ(store.Totals().size(), 3u);
  counter.Count(Kid(4), 1, Decision::kAllowed, kHour);
  EXPECT_EQ(counter.dropped(), 2) << "what was written makes room";
}

TEST(UsageCounter, LosesNothingWhileThreadsCountAndItFlushes) {
  UseStore store;
  UsageCounter counter(store, {});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10'000; ++i) counter.Count(Kid(i % 100), 1, Decision::kAllowed, kHour);
    });
  }
  for (int i = 0; i < 50; ++i) ASSERT_THAT(counter.Flush(), IsOk());
  for (std::thread& thread : threads) thread.join();
  ASSERT_THAT(counter.Flush(), IsOk());
  int64_t total = 0;
  for (const auto& [key, count] : store.Totals()) total += count;
  EXPECT_EQ(total, 40'000);
  EXPECT_EQ(counter.dropped(), 0);
}

TEST(UsageCounter, AReportIsHandedOverWholeAndAnsweredOnceItIsDurable) {
  UseStore store;
  UsageCounter counter(store, {.batch = 4});
  std::vector<absl::Status> answers;
  const auto done = [&](absl::Status status) { answers.push_back(std::move(status)); };
  EXPECT_FALSE(counter.reports_waiting());
  counter.Report(ReportOf("a", 3), done);
  counter.Report(ReportOf("b", 6), done);
  counter.Report(ReportOf("c", 1), done);
  counter.Count(kKid, 1, Decision::kAllowed, kHour);
  EXPECT_TRUE(counter.reports_waiting());
  EXPECT_TRUE(answers.empty()) << "not before it is durable";
  ASSERT_THAT(counter.Flush(), IsOk());
  EXPECT_FALSE(counter.reports_waiting());
  EXPECT_EQ(answers, std::vector<absl::Status>(3));
  std::map<std::string, size_t> reported;
  for (const UseStore::Call& call : store.calls) {
    for (const storage::UseReport& report : call.reports) {
      EXPECT_EQ(report.reporter, "r");
      EXPECT_TRUE(reported.emplace(report.request_id, report.uses.size()).second) << "handed over twice";
    }
  }
  EXPECT_EQ(reported, (std::map<std::string, size_t>{{"a", 3}, {"b", 6}, {"c", 1}}));
}

TEST(UsageCounter, AReportThatCannotBeWrittenIsToldSoAndNotKept) {
  UseStore store;
  UsageCounter counter(store, {.batch = 1});
  std::vector<absl::Status> answers;
  for (const char* id : {"a", "b"}) {
    counter.Report(ReportOf(id, 1), [&](absl::Status status) { answers.push_back(std::move(status)); });
  }
  store.refuse = [](const auto&) { return errors::OutcomeUnknown(); };
  EXPECT_THAT(counter.Flush(), HasReason("OUTCOME_UNKNOWN"));
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_THAT(answers[0], HasReason("OUTCOME_UNKNOWN"));
  EXPECT_THAT(answers[1], HasReason("OUTCOME_UNKNOWN")) << "it does not wait for the database to come back";
  store.refuse = [](const auto&) { return absl::OkStatus(); };
  ASSERT_THAT(counter.Flush(), IsOk());
  EXPECT_TRUE(store.calls.empty()) << "the client retries it, with the same id";
}

TEST(UsageCounter, BoundsTheReportsThatWait) {
  UseStore store;
  absl::Status first, second;
  {
    UsageCounter counter(store, {.waiting_reports = 1});
    counter.Report(ReportOf("a", 1), [&](absl::Status status) { first = std::move(status); });
    counter.Report(ReportOf("b", 1), [&](absl::Status status) { second = std::move(status); });
    EXPECT_THAT(second, HasReason("WORKERS_BUSY"));
    EXPECT_THAT(first, IsOk()) << "not answered yet";
  }
  EXPECT_THAT(first, HasReason("SHUTTING_DOWN"));
}

TEST(UsageCounter, BoundsTheRowsOfTheReportsThatWait) {
  UseStore store;
  store.refuse = [](const auto&) { return absl::OkStatus(); };
  std::vector<absl::Status> answers;
  UsageCounter counter(store, {.waiting_rows = 2});
  const auto report = [&](const char* id) {
    storage::UseReport given = ReportOf(id, 1);
    given.reporter = id;
    counter.Report(std::move(given), [&](absl::Status status) { answers.push_back(std::move(status)); });
  };
  for (const char* id : {"a", "b"}) report(id);
  EXPECT_TRUE(answers.empty());
  report("one too many");
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_THAT(answers[0], HasReason("WORKERS_BUSY"));
  ASSERT_THAT(counter.Flush(), IsOk());
  answers.clear();
  report("b");
  EXPECT_TRUE(answers.empty()) << "there is room again";
}

}  // namespace
}  // namespace latchkey::keys
