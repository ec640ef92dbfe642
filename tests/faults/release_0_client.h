#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "tests/faults/verifying_client.h"
#include "tests/support/child_process.h"

namespace latchkey::faults {

// A VerifyingClient with release 0's library, in a process of its own (tests/release_0/verifying_client_main.cc). All
// of it is the adding thread's; what it says is as of the last Sync. Of the stats it knows the lease alone.
class ReleaseZeroClient final : public VerifyingClient {
 public:
  // `commands`: a file for what it is to do, which does not exist yet.
  ReleaseZeroClient(const KeyTable& keys, const VerifierOptions& options, const std::string& commands);
  ~ReleaseZeroClient() override;

  Told ToldOf(size_t key) const override { return key < told_.size() ? told_[key] : Told(); }
  int64_t undecided() const override { return undecided_; }
  int64_t accepts() const override { return accepts_; }
  VerifierStats Stats() const override { return stats_; }
  void Sync() override;

 private:
  void Write(const std::string& command);

  const KeyTable& keys_;
  std::ofstream commands_;
  testing::ChildProcess process_;
  size_t added_ = 0;
  size_t first_ = 0;
  std::vector<Told> told_;
  int64_t undecided_ = 0;
  int64_t accepts_ = 0;
  VerifierStats stats_;
};

}  // namespace latchkey::faults
