#include "tests/simulation/world.h"

#include <algorithm>
#include <utility>

namespace latchkey::simulation {

void World::In(double delay, std::function<void()> event) {
  if (ending_) return;
  events_.push({now_ + std::max(delay, 0.0), next_order_++, std::make_shared<Fiber>(std::move(event)), false});
}

void World::Sleep(double seconds) {
  if (ending_) return;
  events_.push({now_ + std::max(seconds, 0.0), next_order_++, running_, true});
  Fiber::Yield();
}

void World::RunUntil(double end) {
  while (!events_.empty() && events_.top().at < end) {
    const Event event = events_.top();
    events_.pop();
    now_ = event.at;
    running_ = event.fiber;
    running_->Resume();
    running_.reset();
  }
  ending_ = true;
  for (; !events_.empty(); events_.pop()) {
    if (events_.top().begun) events_.top().fiber->Resume();
  }
}

void World::Cut(const std::string& link, double from, double until) { outages_.push_back({link, from, until}); }

bool World::IsCut(const std::string& link) const { return HealedAt(link) > now_; }

double World::HealedAt(const std::string& link) const {
  double healed = now_;
  bool again = true;
  while (again) {
    again = false;
    for (const Outage& outage : outages_) {
      if (outage.link == link && outage.from <= healed && healed < outage.until) {
        healed = outage.until;
        again = true;
      }
    }
  }
  return healed;
}

double World::Delay() {
  const double kind = Uniform(0, 1);
  if (kind < 0.90) return Exponential(0.005);
  if (kind < 0.97) return Exponential(0.3);
  return Uniform(0.5, 9);
}

bool World::Cross(const std::string& link) {
  if (IsCut(link) || Chance(0.01)) return false;
  Sleep(Delay());
  return !IsCut(link);
}

}  // namespace latchkey::simulation
