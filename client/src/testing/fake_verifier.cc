#include "latchkey/testing/fake_verifier.h"

#include <utility>
#include <vector>

#include "client/core/cidr.h"
#include "client/core/judge.h"
#include "client/src/offline_answer.h"

namespace latchkey::testing {

void FakeVerifier::Allow(std::string_view key_string, const Identity& identity) {
  Deny(key_string, Decision::kAllowed, identity);
}

void FakeVerifier::Deny(std::string_view key_string, Decision decision, const Identity& identity) {
  const std::lock_guard lock(mutex_);
  rules_[std::string(key_string)] = {decision, identity};
}

void FakeVerifier::SetUndecided(absl::Status error) {
  const std::lock_guard lock(mutex_);
  undecided_ = std::move(error);
}

void FakeVerifier::Forget(std::string_view key_string) {
  const std::lock_guard lock(mutex_);
  const auto found = rules_.find(key_string);
  if (found != rules_.end()) rules_.erase(found);
}

int FakeVerifier::calls() const {
  const std::lock_guard lock(mutex_);
  int sum = 0;
  for (const auto& [key, count] : calls_) sum += count;
  return sum;
}

int FakeVerifier::calls(std::string_view key_string) const {
  const std::lock_guard lock(mutex_);
  const auto found = calls_.find(key_string);
  return found == calls_.end() ? 0 : found->second;
}

Answer FakeVerifier::Verify(std::string_view key_string, const VerifyParams& params) {
  const std::lock_guard lock(mutex_);
  ++calls_[std::string(key_string)];
  absl::Status error = client::CheckParams(params);
  if (error.ok()) error = undecided_;
  if (!error.ok()) {
    ++stats_.undecided;
    return Answer::Undecided(std::move(error));
  }
  ++stats_.hits;
  const auto found = rules_.find(key_string);
  if (found == rules_.end()) return Answer::Decided(Decision::kNotFound, {});
  const Rule& rule = found->second;
  if (rule.decision != Decision::kAllowed) return Answer::Decided(rule.decision, rule.identity);
  const std::vector<std::string> allowed = rule.identity.allowed_cidrs();
  std::vector<core::Cidr> blocks;
  for (const std::string& text : allowed) {
    if (const auto block = core::Cidr::Parse(text); block.ok()) blocks.push_back(*block);
  }
  // No block would be everywhere to the judge.
  if (blocks.empty() && !allowed.empty()) return Answer::Decided(Decision::kClientNotAllowed, rule.identity);
  std::vector<std::string> permissions;
  if (!rule.identity.empty()) permissions = rule.identity.permissions();
  core::Decision decision = core::Judge({.permissions = &permissions, .allowed_cidrs = blocks},
                                        {.permissions = &params.required_permissions, .client_ip = params.client_ip});
  return Answer::Decided(static_cast<Decision>(decision), rule.identity);
}

void FakeVerifier::VerifyAsync(std::string_view key_string, const VerifyParams& params, Callback done) {
  done(Verify(key_string, params));
}

bool FakeVerifier::WaitUntilConnected(absl::Duration /*patience*/) {
  const std::lock_guard lock(mutex_);
  return undecided_.ok();
}

VerifierStats FakeVerifier::Stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace latchkey::testing
