#include "server/keys/verify/async_verifier.h"

#include <algorithm>
#include <utility>

#include "server/base/errors.h"
#include "server/base/guarded.h"

namespace latchkey::keys {
namespace {

// A reading of the log that takes longer will not come; a worker is not held, and a stop not held up, by whoever has
// all day.
constexpr absl::Duration kLongestWait = absl::Seconds(5);
// Far above any deadline that is meant, far below what the clock's arithmetic could not hold.
constexpr absl::Duration kLongestSearch = absl::Hours(1);

}  // namespace

// What the answers of one VerifyAsync share.
struct AsyncVerifier::PendingBatch {
  std::vector<PendingItem> open;
  VerifyAsker asker;
  base::BootTime deadline;
};

std::optional<AsyncVerifier::Answer> AsyncVerifier::Ask(const VerifyQuery& query, std::string_view organization) {
  return base::Guarded([&]() -> std::optional<Answer> {
    return verifier_.VerifyFromMemory({.key = query.key,
                                       .required_permissions = &query.required_permissions,
                                       .client_ip = query.client_ip,
                                       .asker_organization = organization});
  });
}

std::optional<AsyncVerifier::Answer> AsyncVerifier::FromMemory(const VerifyQuery& query,
                                                               std::string_view organization) {
  if (query.fresh) return std::nullopt;
  if (query.min_revision.has_value()) {
    switch (follower_.StatusOf(*query.min_revision)) {
      case RevisionStatus::kApplied:
        break;
      case RevisionStatus::kUnknown:
        return errors::RevisionUnknown();
      case RevisionStatus::kAhead:
      case RevisionStatus::kOld:
        return std::nullopt;
    }
  }
  return Ask(query, organization);
}

void AsyncVerifier::VerifyAsync(std::vector<PendingItem> open, VerifyAsker asker, absl::Duration time_left) {
  const auto batch = std::make_shared<PendingBatch>(
      PendingBatch{std::move(open), std::move(asker),
                   clock_.BootNow() + std::clamp(time_left, absl::ZeroDuration(), kLongestSearch)});
  std::vector<size_t> must_wait;
  for (size_t i = 0; i < batch->open.size(); ++i) {
    const VerifyQuery& query = batch->open[i].query;
    if (query.fresh || query.min_revision.has_value()) {
      must_wait.push_back(i);
    } else {
      Prove(batch, i);
    }
  }
  if (must_wait.empty()) return;
  waiting_.Run(batch->asker.share, [this, batch, must_wait](const absl::Status& turn) {
    if (turn.ok()) {
      Wait(batch, must_wait);
    } else {
      for (const size_t i : must_wait) batch->open[i].done(turn);
    }
  });
}

void AsyncVerifier::Wait(const std::shared_ptr<PendingBatch>& batch, const std::vector<size_t>& which) {
  const base::BootTime deadline = std::min(batch->deadline, clock_.BootNow() + kLongestWait);
  std::optional<absl::Status> caught_up;  // Once for all of them.
  for (const size_t i : which) {
    const VerifyQuery& query = batch->open[i].query;
    const absl::Status waited = base::Guarded([&]() -> absl::Status {
      if (query.fresh) {
        if (!caught_up.has_value()) caught_up = follower_.CatchUp(deadline);
        if (!caught_up->ok()) return *caught_up;
      }
      return query.min_revision.has_value() ? follower_.Await(*query.min_revision, deadline) : absl::OkStatus();
    });
    if (waited.ok()) {
      Resume(batch, i);
    } else {
      batch->open[i].done(waited);
    }
  }
}

void AsyncVerifier::Resume(const std::shared_ptr<PendingBatch>& batch, size_t i) {
  const PendingItem& open = batch->open[i];
  if (const std::optional<Answer> answer = Ask(open.query, batch->asker.organization)) {
    open.done(*answer);
  } else {
    Prove(batch, i);
  }
}

void AsyncVerifier::Prove(const std::shared_ptr<PendingBatch>& batch, size_t i) {
  const VerifyQuery& query = batch->open[i].query;
  verifier_.Prove(query.key, batch->deadline - clock_.BootNow(),
                  {.address = batch->asker.address, .share = batch->asker.share},
                  [this, batch, i](const absl::Status& proven) {
                    const PendingItem& asked = batch->open[i];
                    if (!proven.ok()) {
                      asked.done(proven);
                      return;
                    }
                    const std::optional<Answer> answer = Ask(asked.query, batch->asker.organization);
                    // Memory has forgotten again what was just found out: it was loaded anew meanwhile.
                    asked.done(answer.has_value() ? *answer : Answer(errors::LeaseExpired()));
                  });
}

}  // namespace latchkey::keys
