#include "tests/faults/cluster.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "tests/faults/release_0_client.h"
#include "tests/support/postgres_environment.h"

namespace latchkey::faults {
namespace {

using ::latchkey::testing::TcpProxy;

constexpr absl::Duration kPatience = absl::Seconds(30);
constexpr absl::Duration kAdminDeadline = absl::Seconds(3);
// A client that knows one server waits for it however long that takes: the answer that comes at last must not be
// believed. One that knows two gives up soon.
constexpr absl::Duration kLongTimeout = absl::Seconds(10);
constexpr absl::Duration kShortTimeout = absl::Seconds(1);
// An acceptance is known only to lie between question and answer. One whose question was in time and whose answer came
// later than the bound by more than this, and than this process was ever held up, was late.
constexpr absl::Duration kOnItsWay = absl::Seconds(1);

}  // namespace

class Cluster::StallMeter {
 public:
  explicit StallMeter(const core::Clock& clock) : clock_(clock), thread_([this] { Run(); }) {}
  ~StallMeter() {
    stop_ = true;
    thread_.join();
  }
  absl::Duration longest() const { return absl::Nanoseconds(longest_ns_.load()); }

 private:
  void Run() {
    core::BootTime last = clock_.BootNow();
    while (!stop_) {
      absl::SleepFor(absl::Milliseconds(5));
      const core::BootTime now = clock_.BootNow();
      longest_ns_ = std::max(longest_ns_.load(), absl::ToInt64Nanoseconds(now - last));
      last = now;
    }
  }

  const core::Clock& clock_;
  std::atomic<bool> stop_ = false;
  std::atomic<int64_t> longest_ns_ = 0;
  std::thread thread_;
};

Cluster::Cluster(const Options& options) : deployment_(options.database, options.made_by) {
  owner_string_ = deployment_.Bootstrap();
  // Before any server has a lease: no longer one is out there.
  deployment_.SetBound(static_cast<int>(absl::ToInt64Seconds(kBound)));
  for (int i = 0; i < options.servers; ++i) {
    database_links_.push_back(std::make_unique<TcpProxy>(testing::SocketOf(options.database)));
    servers_.push_back(deployment_.NewServer(options.server_flags,
                                             testing::ThroughPort(options.database, database_links_.back()->port())));
    admin_servers_.insert(i);
    servers_.back()->ReplaceBy(static_cast<size_t>(i) < options.programs.size()
                                   ? options.programs[static_cast<size_t>(i)]
                                   : testing::Program("server/latchkeyd"));
  }
  for (const auto& server : servers_) {
    server->Start();
    if (!options.programs.empty()) server->WaitUntilServing();
  }
  for (const auto& server : servers_) server->WaitUntilServing();
  for (const auto& server : servers_) {
    owners_.push_back(std::make_unique<Caller>(server->channel(), owner_string_, kAdminDeadline));
  }
  const Reply made = Insist([&] { return owners_[0]->CreateOrganization("acme"); });
  EXPECT_TRUE(made.ok()) << made;

  stalls_ = std::make_unique<StallMeter>(clock_);
  for (size_t i = 0; i < options.clients.size(); ++i) {
    std::vector<std::string> addresses;
    for (const int server : options.clients[i]) {
      auto link = std::make_unique<TcpProxy>(servers_[static_cast<size_t>(server)]->socket());
      addresses.push_back(link->address());
      client_links_[{static_cast<int>(i), server}] = std::move(link);
    }
    const std::string name = absl::StrCat("client", i);
    const std::string key = MustCreate(*owners_[0], "verifier", name).key_string();
    const VerifierOptions client_options{.server = absl::StrCat("ipv4:", absl::StrJoin(addresses, ",")),
                                         .key_file = directory_.WriteFile(name, key + "\n"),
                                         .timeout = addresses.size() == 1 ? kLongTimeout : kShortTimeout};
    if (options.release_zero_clients.contains(static_cast<int>(i))) {
      clients_.push_back(
          std::make_unique<ReleaseZeroClient>(keys_, client_options, directory_.Child(name + ".commands")));
    } else {
      clients_.push_back(std::make_unique<LocalClient>(keys_, client_options));
    }
  }
}

Cluster::~Cluster() {
  // A client that waits for a stopped link or server would hold up the end.
  for (const auto& [ends, link] : client_links_) link->Set(TcpProxy::Mode::kCut);
  clients_.clear();
}

std::vector<TcpProxy*> Cluster::client_links(int server) {
  std::vector<TcpProxy*> links;
  for (const auto& [ends, link] : client_links_) {
    if (ends.second == server) links.push_back(link.get());
  }
  return links;
}

std::optional<size_t> Cluster::Create() {
  const absl::Time give_up = absl::Now() + kPatience;
  Reply reply;
  do {
    const auto server = std::next(admin_servers_.begin(), static_cast<int>(turn_++ % admin_servers_.size()));
    v1::CreateKeyResponse created;
    reply = owners_[static_cast<size_t>(*server)]->Create("viewer", "verified", "", &created);
    if (reply.ok()) {
      const size_t index = keys_.Add(created.key().name(), created.key_string());
      SyncClients();
      return index;
    }
    absl::SleepFor(absl::Milliseconds(20));
  } while (absl::Now() < give_up);
  ADD_FAILURE() << "no server creates a key: " << reply;
  return std::nullopt;
}

void Cluster::Revoke(size_t key) {
  const absl::Time give_up = absl::Now() + kPatience;
  const core::BootTime sent_at = clock_.BootNow();
  Reply reply;
  do {
    const auto server = std::next(admin_servers_.begin(), static_cast<int>(turn_++ % admin_servers_.size()));
    reply = owners_[static_cast<size_t>(*server)]->Delete(keys_[key].name);
    if (reply.ok()) {
      keys_[key].sent_at = sent_at;
      keys_[key].revoked_at = clock_.BootNow();
      return;
    }
    absl::SleepFor(absl::Milliseconds(20));
  } while (absl::Now() < give_up);
  ADD_FAILURE() << "no server revokes a key: " << reply;
}

void Cluster::Churn(absl::Duration duration, int live, absl::Duration pace) {
  const core::BootTime end = clock_.BootNow() + duration;
  while (clock_.BootNow() < end) {
    while (keys_.end() - oldest_live_ < static_cast<size_t>(live)) {
      if (!Create().has_value()) return;
    }
    Revoke(oldest_live_++);
    absl::SleepFor(pace);
  }
}

void Cluster::SyncClients() {
  for (const auto& client : clients_) client->Sync();
}

bool Cluster::WaitUntilAllAgree(core::BootTime since) {
  std::string missing;
  for (const absl::Time give_up = absl::Now() + kPatience; absl::Now() < give_up;) {
    missing.clear();
    SyncClients();
    for (size_t client = 0; client < clients_.size() && missing.empty(); ++client) {
      if (clients_[client]->Stats().lease_remaining <= absl::ZeroDuration()) {
        missing = absl::StrCat("client ", client, " has no lease");
      }
      for (size_t key = keys_.first(); key < keys_.end() && missing.empty(); ++key) {
        const Told told = clients_[client]->ToldOf(key);
        const Told::Last wanted = keys_[key].revoked() ? Told::Last::kDenied : Told::Last::kAllowed;
        if (told.last == wanted && told.asked_at >= since) continue;
        missing = absl::StrCat("client ", client, " on ", keys_[key].revoked() ? "revoked" : "live", " key ", key,
                               ": last answer ", static_cast<int>(told.last), ", ",
                               absl::FormatDuration(clock_.BootNow() - told.asked_at), " ago");
      }
    }
    if (missing.empty()) return true;
    absl::SleepFor(absl::Milliseconds(10));
  }
  ADD_FAILURE() << "the clients are not what they should be: " << missing;
  return false;
}

void Cluster::CheckAccepts(size_t client, size_t key, absl::Duration stall) const {
  const Told told = clients_[client]->ToldOf(key);
  if (told.accept_came_at == core::BootTime::Never()) return;
  const KeyTable::Entry& entry = keys_[key];
  const core::BootTime dead_at = entry.revoked_at + core::WithClockError(kBound);
  EXPECT_LT(told.accept_asked_at.nanoseconds(), dead_at.nanoseconds())
      << "client " << client << " accepted key " << key << " "
      << absl::FormatDuration(told.accept_asked_at - entry.revoked_at) << " after its revocation";
  EXPECT_LT(told.accept_came_at.nanoseconds(), (dead_at + kOnItsWay + stall).nanoseconds())
      << "client " << client << " was given an old answer about key " << key << " "
      << absl::FormatDuration(told.accept_came_at - entry.revoked_at) << " after its revocation";
}

Cluster::Summary Cluster::Tally() {
  SyncClients();
  Summary summary;
  const absl::Duration stall = stalls_->longest();
  size_t first_live = keys_.first();
  for (size_t key = keys_.first(); key < keys_.end(); ++key) {
    const KeyTable::Entry& entry = keys_[key];
    if (!entry.revoked()) continue;
    if (first_live == key) ++first_live;
    if (key >= tallied_) ++summary.revoked;
    for (size_t client = 0; client < clients_.size(); ++client) {
      CheckAccepts(client, key, stall);
      const Told told = clients_[client]->ToldOf(key);
      if (key < tallied_ || told.accept_came_at == core::BootTime::Never()) continue;
      ++summary.pairs;
      // It may have been over before: a client without a lease.
      if (told.over_at != core::BootTime::Never()) {
        summary.over.push_back(std::max(absl::ZeroDuration(), told.over_at - entry.sent_at));
      }
      summary.last_accept = std::max(summary.last_accept, told.accept_asked_at - entry.revoked_at);
    }
  }
  keys_.ForgetBefore(std::min(tallied_, first_live));
  tallied_ = first_live;
  int64_t undecided = 0;
  for (const auto& client : clients_) undecided += client->undecided();
  summary.undecided = undecided - std::exchange(undecided_before_, undecided);
  return summary;
}

absl::Duration Percentile(std::vector<absl::Duration> values, double part) {
  if (values.empty()) return absl::ZeroDuration();
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(part * static_cast<double>(values.size())))];
}

}  // namespace latchkey::faults
