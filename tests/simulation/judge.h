#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "tests/simulation/schedule.h"
#include "tests/simulation/world.h"

namespace latchkey::simulation {

inline constexpr double kBound = 5;  // L, as a new database has it.
inline constexpr char kOrganization[] = "acme";

// A key of the schedule, and when it stopped being good.
struct SimulatedKey {
  std::string kid;
  std::string text;
  std::string role;
  std::string organization = kOrganization;
  std::optional<double> dead_at;
  int64_t revoked_by = 0;  // The revision that did it.
  int64_t widened_by = 0;  // The revision that made it good, if one did.
  // When a caller was told, by wait=ALL, that it is refused everywhere.
  std::optional<double> certain_at;
};

// Oracle of a schedule: judges every accept, and every lease that is lent.
class Judge {
 public:
  explicit Judge(World& world) : world_(world) {}

  // L is this from now on. Revocations are judged by the longest bound that has been in force.
  void SetBound(double seconds) { longest_bound_ = std::max(longest_bound_, seconds); }

  // At this moment `who` lets the key in; it began to look at `began`. `grace`: in seconds, 0 = it is none.
  void Accept(const SimulatedKey& key, const char* who, double began, double grace = 0);
  // A server lends a client time for `remaining`. Its caller's key was judged at `judged_at`; its Hello told `told`.
  void Lend(const SimulatedKey& caller, double judged_at, absl::Duration remaining, absl::Duration told);
  // wait=ALL, begun at `began`, is not over when the schedule is, though its bound is.
  void NoteEndlessWait(double began);

  Outcome outcome;

 private:
  double Bound() const { return longest_bound_; }
  void Late(const std::string& what);

  World& world_;
  double longest_bound_ = kBound;
};

}  // namespace latchkey::simulation
