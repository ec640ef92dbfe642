#include "tests/faults/verifying_client.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"

namespace latchkey::faults {
namespace {

constexpr absl::Duration kBetweenRounds = absl::Milliseconds(3);
// So that eight clients without a server leave the machine some time; spread, so that they don't come in a herd.
constexpr absl::Duration kAfterUndecided = absl::Milliseconds(60);
constexpr absl::Duration kSpread = absl::Milliseconds(7);
constexpr size_t kSpreads = 11;

}  // namespace

size_t KeyTable::Add(const std::string& name, const std::string& key_string) {
  const size_t index = end_;
  if (index >= kMost) {
    ADD_FAILURE() << "more keys than the table has room for";
    return index - 1;
  }
  entries_[index] = std::make_unique<Entry>(Entry{name, key_string, {}, {}});
  end_ = index + 1;
  return index;
}

LocalClient::LocalClient(const KeyTable& keys, const VerifierOptions& options) : keys_(keys), states_(KeyTable::kMost) {
  absl::StatusOr<std::unique_ptr<Verifier>> verifier = Verifier::Connect(options);
  EXPECT_TRUE(verifier.ok()) << verifier.status();
  if (!verifier.ok()) return;
  verifier_ = *std::move(verifier);
  thread_ = std::thread([this] { Run(); });
}

LocalClient::~LocalClient() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
  verifier_.reset();  // Waits for what is in flight, and that is noted here.
}

Told LocalClient::ToldOf(size_t key) const {
  const std::lock_guard lock(mutex_);
  return states_[key].told;
}

void LocalClient::Run() {
  while (!stop_) {
    const size_t end = keys_.end();
    for (size_t key = keys_.first(); key < end && !stop_; ++key) StartVerify(key);
    absl::SleepFor(kBetweenRounds);
  }
}

void LocalClient::StartVerify(size_t key) {
  const core::BootTime asked_at = clock_.BootNow();
  {
    const std::lock_guard lock(mutex_);
    KeyState& state = states_[key];
    if (state.in_flight || asked_at < state.not_before) return;
    state.in_flight = true;
  }
  verifier_->VerifyAsync(keys_[key].key_string, {},
                         [this, key, asked_at](const Answer& answer) { Note(key, asked_at, answer); });
}

void LocalClient::Note(size_t key, core::BootTime asked_at, const Answer& answer) {
  const core::BootTime now = clock_.BootNow();
  const std::lock_guard lock(mutex_);
  KeyState& state = states_[key];
  Told& told = state.told;
  state.in_flight = false;
  told.asked_at = asked_at;
  if (answer.allowed()) {
    told.last = Told::Last::kAllowed;
    told.accept_asked_at = asked_at;
    told.accept_came_at = now;
    told.over_at = core::BootTime::Never();
    ++accepts_;
    return;
  }
  if (told.over_at == core::BootTime::Never()) told.over_at = asked_at;
  told.last = answer.denied() ? Told::Last::kDenied : Told::Last::kUndecided;
  if (answer.denied()) return;
  ++undecided_;
  state.not_before = now + kAfterUndecided + kSpread * static_cast<int64_t>(key % kSpreads);
}

}  // namespace latchkey::faults
