// Usage: scale_bench --latchkeyd PROGRAM --directory DIR --out FILE.json [--seconds S] [--rounds N] [--active N]
//                    [--keys N] [--watchers N] [--revocations N] [--only SCENARIO]
//
// Measures what shows only with many keys, many clients or after a restart: scripts/bench runs it, README.md says how
// to read it. DIR must not exist. Exits with 1 if any call was answered otherwise than expected.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <fstream>
#include <functional>
#include <latch>
#include <map>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "latchkey/v1/key_admin.pb.h"
#include "latchkey/v1/key_verify.pb.h"
#include "server/app/dev/embedded_postgres.h"
#include "server/app/files.h"
#include "server/keys/crypto/hash_pool.h"
#include "tests/bench/installation.h"
#include "tests/bench/load.h"
#include "tests/bench/process.h"
#include "tests/bench/report.h"
#include "tests/bench/sql.h"
#include "tests/bench/watching_clients.h"

namespace latchkey::bench {
namespace {

constexpr char kVerify[] = "/latchkey.v1.KeyVerify/Verify";
constexpr char kDeleteKey[] = "/latchkey.v1.KeyAdmin/DeleteKey";
constexpr int kInFlight = 16;  // On each of two channels.
constexpr int64_t kUnproven = 20'000;
constexpr size_t kMostRequests = 200'000;
constexpr double kGentle = 0.2;  // Of the saturated rate: where p99 is the server's and not the queue's.
constexpr double kOverload = 10;
constexpr int kProbes = 5;
constexpr int kDeletes = 20;
const absl::Duration kForDeletes = absl::Seconds(1);

struct Options {
  std::string latchkeyd;
  std::string directory;
  std::string out;
  double seconds = 2;
  int rounds = 5;
  int64_t active = 10'000;
  int64_t keys = 200'000;
  int watching = 100;
  int watchers = 1'000;
  int revocations = 40;  // A round.
  std::string only;
};

Target VerifyTarget(const std::vector<std::string>& strings, const std::string& verifier_key, v1::Decision wanted) {
  Target target;
  target.method = kVerify;
  target.bearer = verifier_key;
  for (size_t i = 0; i < std::min(strings.size(), kMostRequests); ++i) {
    v1::VerifyRequest request;
    request.set_key(strings[i]);
    target.requests.push_back(Serialised(request));
  }
  target.is_right = [wanted](grpc::ByteBuffer& bytes) {
    v1::VerifyResponse response;
    return Parse(bytes, response) && response.decision() == wanted;
  };
  return target;
}

// What Argon2 is to the scheduler and nothing else: as many threads that compute without end as the server has hash
// workers, each as nice as those.
class BusyLoops {
 public:
  explicit BusyLoops(int count) {
    for (int i = 0; i < count; ++i) {
      threads_.emplace_back([this] {
        const id_t thread = static_cast<id_t>(gettid());
        setpriority(PRIO_PROCESS, thread, keys::HashPool::Options().nice);
        while (!over_) {
        }
      });
    }
  }
  ~BusyLoops() {
    over_ = true;
    for (std::thread& thread : threads_) thread.join();
  }
  BusyLoops(const BusyLoops&) = delete;
  BusyLoops& operator=(const BusyLoops&) = delete;

 private:
  std::atomic<bool> over_ = false;
  std::vector<std::thread> threads_;
};

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options) {
    auto started = app::EmbeddedPostgres::Start({.directory = options.directory + "/postgres"});
    if (!started.ok()) {
      std::fprintf(stderr, "scale_bench: %s\n", std::string(started.status().message()).c_str());
      std::exit(1);
    }
    postgres_ = *std::move(started);
    std::fprintf(stderr, "[bench] copying %ld active keys\n", options_.active);
    active_ = std::make_unique<Installation>(*postgres_, "active", options_.latchkeyd, options_.directory + "/active",
                                             options_.active, kUnproven);
    target_ = VerifyTarget(active_->keys().proven, active_->verifier_key(), v1::DECISION_ALLOWED);
  }

  // Returns the exit code.
  int Run() {
    const std::vector<std::pair<std::string, std::function<void()>>> scenarios = {
        {"restart", [this] { Restart(); }},
        {"overload", [this] { Overload(); }},
        {"revocation", [this] { Revocation(); }},
        {"idle", [this] { Idle(); }},
        {"start", [this] { StartWithManyKeys(); }}};
    for (const auto& [name, scenario] : scenarios) {
      if (!options_.only.empty() && options_.only != name) continue;
      std::fprintf(stderr, "[bench] %s\n", name.c_str());
      scenario();
    }
    Print();
    Write();
    if (failures_ > 0) std::fprintf(stderr, "[bench] %ld calls failed: the numbers are worth nothing\n", failures_);
    return failures_ > 0 ? 1 : 0;
  }

 private:
  void Keep(const std::string& row, const std::string& number, double value) {
    numbers_[row][number].rounds.push_back(value);
  }
  void Failed(const std::string& what, const std::string& why) {
    if (failures_++ < 10) std::fprintf(stderr, "[bench] %s: %s\n", what.c_str(), why.c_str());
  }
  // Everything must have been answered right.
  void Check(const std::string& what, const Measurement& measured) {
    if (measured.failures == 0) return;
    Failed(what, measured.first_failure);
    failures_ += measured.failures - 1;
  }
  absl::Duration Length() const { return absl::Seconds(options_.seconds); }

  // Every one of the active keys is asked about, from the moment that the server says it is ready. Their Argon2 hashes
  // are of nothing: an Argon2 would be seen as a wrong answer.
  void Restart() {
    Target each = target_;
    each.look_at_one_in = 1;
    for (int round = 0; round < options_.rounds; ++round) {
      const std::unique_ptr<Server> server = active_->Start();
      const Measurement first =
          RunClosedLoop(server->channels(), each, kInFlight, absl::ZeroDuration(), absl::Seconds(1), server->pid());
      const Measurement steady = RunClosedLoop(server->channels(), each, kInFlight, absl::Milliseconds(500),
                                               std::max(absl::Seconds(1), Length()), server->pid());
      Check("restart, first second", first);
      Check("restart, steady", steady);
      Keep("restart", "first_rate", first.rate());
      Keep("restart", "steady_rate", steady.rate());
      Keep("restart", "first_wrong", static_cast<double>(first.failures));
      Keep("restart", "ready_ms", absl::ToDoubleMilliseconds(server->time_to_ready()));
      steady_rate_ = steady.rate();
    }
    numbers_["restart"]["first_to_steady"] = numbers_["restart"]["first_rate"] / numbers_["restart"]["steady_rate"];
  }

  double GentleRate(const Server& server) {
    if (steady_rate_ == 0) {
      steady_rate_ =
          RunClosedLoop(server.channels(), target_, kInFlight, absl::Milliseconds(200), absl::Seconds(1), server.pid())
              .rate();
    }
    return steady_rate_ * kGentle;
  }

  grpc::Status Delete(const Server& server, const std::string& key, grpc::ByteBuffer& response, int64_t& took) {
    v1::DeleteKeyRequest request;
    request.set_name(absl::StrCat("organizations/acme/keys/", KeyIdOf(key)));
    return CallOnce(server.channels().front(), kDeleteKey, active_->owner_key(), Serialised(request), response, took);
  }

  // Of keys that nobody asks about, one at a time.
  Histogram DeleteSome(const Server& server) {
    Histogram took_all;
    for (int i = 0; i < kDeletes; ++i) {
      const std::vector<std::string>& keys = active_->keys().unproven;
      grpc::ByteBuffer response;
      int64_t took = 0;
      const grpc::Status status = Delete(server, keys[keys.size() - ++deleted_ - kProbes], response, took);
      if (!status.ok()) Failed("DeleteKey", status.error_message());
      took_all.Add(took);
    }
    return took_all;
  }

  void Overload() {
    const std::unique_ptr<Server> server = active_->Start();
    const double rate = GentleRate(*server);
    Target flood = VerifyTarget(active_->keys().unproven, active_->verifier_key(), v1::DECISION_NOT_FOUND);
    const Channels flood_channels = Connect(server->address(), 1);
    // From the end, where the flood does not come: what one costs.
    double cost = 0;
    for (int i = 0; i < kProbes; ++i) {
      grpc::ByteBuffer response;
      int64_t took = 0;
      const grpc::Status status = CallOnce(flood_channels.front(), kVerify, flood.bearer,
                                           flood.requests[flood.requests.size() - 1 - i], response, took);
      if (!status.ok()) Failed("overload", status.error_message());
      cost += static_cast<double>(took) / 1e9 / kProbes;
    }
    const int workers = std::max(1, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN) / 2));
    const double flood_rate = kOverload * workers / cost;
    for (int round = 0; round < options_.rounds; ++round) {
      const auto proven = [&](const std::string& how) {
        const Measurement measured = RunOpenLoop(server->channels(), target_, rate, absl::Milliseconds(300),
                                                 std::max(absl::Seconds(1), Length()), server->pid());
        Check("overload, proven keys", measured);
        Keep("overload", how + "_p50_us", measured.latency.Quantile(0.5) / 1e3);
        Keep("overload", how + "_p99_us", measured.latency.Quantile(0.99) / 1e3);
        Keep("overload", how + "_delete_p50_us", DeleteSome(*server).Quantile(0.5) / 1e3);
      };
      const auto with_flood = [&] {
        Measurement flooded;
        std::thread other([&] {
          flooded = RunOpenLoop(flood_channels, flood, flood_rate, absl::Milliseconds(100),
                                std::max(absl::Seconds(1), Length()) + kForDeletes, server->pid());
        });
        proven("flooded");
        other.join();
        Keep("overload", "hashed_per_second",
             static_cast<double>(flooded.latency.total() - flooded.refused) / flooded.seconds);
        Keep("overload", "refused_per_second", static_cast<double>(flooded.refused) / flooded.seconds);
        Keep("overload", "asked_per_second", flooded.rate());
        if (flooded.failures > flooded.refused) Failed("the flood", flooded.first_failure);
        // What was hashed is remembered for a while: the next flood is of other strings.
        const auto asked = static_cast<std::ptrdiff_t>(flooded.latency.total() * 3 / 2);
        std::rotate(flood.requests.begin(),
                    flood.requests.begin() + std::min(asked, static_cast<std::ptrdiff_t>(flood.requests.size())),
                    flood.requests.end());
      };
      const auto with_loops = [&] {
        const BusyLoops loops(workers);
        proven("beside_loops");
      };
      if (round % 2 == 0) proven("alone"), with_flood(), with_loops();
      if (round % 2 == 1) with_loops(), with_flood(), proven("alone");
    }
    auto& numbers = numbers_["overload"];
    numbers["p99_to_alone"] = numbers["flooded_p99_us"] / numbers["alone_p99_us"];
    numbers["p99_to_loops"] = numbers["flooded_p99_us"] / numbers["beside_loops_p99_us"];
    numbers["delete_to_alone"] = numbers["flooded_delete_p50_us"] / numbers["alone_delete_p50_us"];
    numbers["p50_to_alone"] = numbers["flooded_p50_us"] / numbers["alone_p50_us"];
    Keep("overload", "proven_rate", rate);
  }

  // Half of the clients watch the server that is asked to delete, half another one. The time counts from the log row's
  // `at`, which is taken just before the commit, by the same machine's clock.
  void Revocation() {
    const std::unique_ptr<Server> asked = active_->Start();
    const std::unique_ptr<Server> other = active_->Start();
    WatchingClients clients({asked->address(), other->address()}, active_->verifier_key(), options_.watching,
                            options_.watching);
    if (!clients.WaitForLeases(absl::Seconds(20))) Failed("revocation", "not every client holds a lease");
    // Until then an entry lasts no longer than its own answer.
    std::this_thread::sleep_for(std::chrono::milliseconds(5100));
    Sql sql(active_->database());
    for (int round = 0; round < options_.rounds; ++round) {
      Histogram all, at_other;
      for (int i = 0; i < options_.revocations; ++i) {
        const std::string& key = active_->keys().proven[next_revoked_++];
        if (!clients.InsertEverywhere(key)) Failed("revocation", "a client did not take the key");
        std::vector<int64_t> refused_at(clients.size(), 0);
        grpc::Status status;
        std::thread deleting([&] {
          grpc::ByteBuffer response;
          int64_t took = 0;
          status = Delete(*asked, key, response, took);
        });
        const absl::Time give_up = absl::Now() + absl::Seconds(6);
        for (int left = clients.size(); left > 0 && absl::Now() < give_up;) {
          for (int client = 0; client < clients.size(); ++client) {
            if (refused_at[client] != 0 || clients.cache(client).Find(key, {}).has_value()) continue;
            refused_at[client] = absl::ToUnixMicros(absl::Now());
            --left;
            if (!clients.HasLease(client)) Failed("revocation", "a client has lost its lease");
          }
          std::this_thread::sleep_for(std::chrono::microseconds(50));
        }
        deleting.join();
        if (!status.ok()) Failed("DeleteKey", status.error_message());
        const int64_t at = std::stoll(
            sql.Run(absl::StrCat("SELECT (extract(epoch FROM at) * 1000000)::bigint FROM change_log WHERE kid = '",
                                 KeyIdOf(key), "' ORDER BY rev DESC LIMIT 1")));
        for (int client = 0; client < clients.size(); ++client) {
          if (refused_at[client] == 0) Failed("revocation", "a client still accepts");
          all.Add((refused_at[client] - at) * 1000);
          if (client % 2 == 1) at_other.Add((refused_at[client] - at) * 1000);
        }
      }
      for (const auto& [name, quantile] : {std::pair{"p50_ms", 0.5}, {"p99_ms", 0.99}, {"max_ms", 1.0}}) {
        Keep("revocation", name, all.Quantile(quantile) / 1e6);
        Keep("revocation, other server", name, at_other.Quantile(quantile) / 1e6);
      }
    }
  }

  void Idle() {
    const std::unique_ptr<Server> server = active_->Start();
    // What the first calls allocate once is not the watchers'.
    RunClosedLoop(server->channels(), target_, kInFlight, absl::ZeroDuration(), absl::Milliseconds(300), server->pid());
    const auto cpu_percent = [&] {
      const double before = CpuSecondsOf(server->pid());
      const int64_t began = NowNanoseconds();
      std::this_thread::sleep_for(absl::ToChronoNanoseconds(std::max(absl::Seconds(5), Length())));
      return (CpuSecondsOf(server->pid()) - before) * 1e11 / static_cast<double>(NowNanoseconds() - began);
    };
    Keep("idle", "cpu_percent_without", cpu_percent());
    const int64_t before = ResidentBytesOf(server->pid());
    const auto clients = std::make_unique<WatchingClients>(std::vector<std::string>{server->address()},
                                                           active_->verifier_key(), options_.watchers, /*threads=*/4);
    if (!clients->WaitForLeases(absl::Seconds(30))) Failed("idle", "not every client holds a lease");
    std::this_thread::sleep_for(std::chrono::seconds(2));  // The storm of connects is over.
    for (int round = 0; round < std::min(3, options_.rounds); ++round) Keep("idle", "cpu_percent", cpu_percent());
    Keep("idle", "kib_each", static_cast<double>(ResidentBytesOf(server->pid()) - before) / 1024 / options_.watchers);
    for (int i = 0; i < clients->size(); ++i) {
      if (!clients->HasLease(i)) Failed("idle", "a client has lost its lease");
    }
  }

  void StartWithManyKeys() {
    const std::unique_ptr<Server> small = active_->Start();
    const int64_t small_bytes = ResidentBytesOf(small->pid());
    // Records, log, keys in this process: about 3 KiB a key, and as much on the disk.
    if (sysconf(_SC_AVPHYS_PAGES) * sysconf(_SC_PAGESIZE) < options_.keys * 3'500) {
      skipped_["start"] = absl::StrCat("not enough free memory for ", options_.keys, " keys");
      return;
    }
    std::fprintf(stderr, "[bench] copying %ld keys\n", options_.keys);
    const Installation many(*postgres_, "many", options_.latchkeyd, options_.directory + "/many", options_.keys, 0);
    std::fprintf(stderr, "[bench] copied in %.0f s\n", absl::ToDoubleSeconds(many.time_to_fill()));
    Sql sql(many.database());
    Keep("start", "keys", static_cast<double>(options_.keys));
    for (int round = 0; round < options_.rounds; ++round) {
      const int64_t began = NowNanoseconds();
      sql.CopyOut(
          "COPY (SELECT k.kid, s.version, s.expires_at, p.generation, p.digest, k.organization, k.display_name, "
          "k.role, "
          "k.owner, k.labels, k.allowed_cidrs, k.expires_at, k.purge_at, k.deleted_at FROM keys k LEFT JOIN "
          "secret_versions s ON s.kid = k.kid LEFT JOIN proofs p ON p.kid = s.kid AND p.version = s.version) TO "
          "STDOUT");
      Keep("start", "copy_out_s", static_cast<double>(NowNanoseconds() - began) / 1e9);
      const std::unique_ptr<Server> server = many.Start();
      Keep("start", "ready_s", absl::ToDoubleSeconds(server->time_to_ready()));
      Keep("start", "bytes_a_key",
           static_cast<double>(ResidentBytesOf(server->pid()) - small_bytes) /
               static_cast<double>(options_.keys - options_.active - kUnproven));
      Keep("start", "peak_mib", static_cast<double>(PeakResidentBytesOf(server->pid())) / (1 << 20));
    }
    numbers_["start"]["ready_to_copy_out"] = numbers_["start"]["ready_s"] / numbers_["start"]["copy_out_s"];
    CompareSizes(*small, many);
  }

  void CompareSizes(const Server& small, const Installation& many) {
    const std::unique_ptr<Server> large = many.Start();
    const double rate = GentleRate(small);
    const Target large_target = VerifyTarget(many.keys().proven, many.verifier_key(), v1::DECISION_ALLOWED);
    // Some of the small one's have been revoked.
    Target small_target = target_;
    small_target.requests.erase(small_target.requests.begin(),
                                small_target.requests.begin() + static_cast<std::ptrdiff_t>(next_revoked_));
    for (int round = 0; round < options_.rounds; ++round) {
      const auto measure = [&](const std::string& name, const Server& server, const Target& target) {
        const Measurement measured = RunOpenLoop(server.channels(), target, rate, absl::Milliseconds(200),
                                                 std::max(absl::Seconds(1), Length()), server.pid());
        Check(name, measured);
        Keep("many keys", name + "_p50_us", measured.latency.Quantile(0.5) / 1e3);
        Keep("many keys", name + "_p99_us", measured.latency.Quantile(0.99) / 1e3);
        Keep("many keys", name + "_server_cpu_us", measured.server_cpu_us());
      };
      if (round % 2 == 0) measure("small", small, small_target), measure("large", *large, large_target);
      if (round % 2 == 1) measure("large", *large, large_target), measure("small", small, small_target);
    }
    auto& numbers = numbers_["many keys"];
    numbers["p99_to_small"] = numbers["large_p99_us"] / numbers["small_p99_us"];
    numbers["server_cpu_to_small"] = numbers["large_server_cpu_us"] / numbers["small_server_cpu_us"];
  }

  void Print() {
    std::printf("\nMedians of %d rounds [min..max over the rounds].\n", options_.rounds);
    std::vector<std::vector<std::string>> lines = {{"scale", "number", "value"}};
    for (const auto& [row, numbers] : numbers_) {
      for (const auto& [number, series] : numbers) lines.push_back({row, number, Show(series)});
    }
    for (const auto& [row, why] : skipped_) lines.push_back({row, "NOT MEASURED", why});
    PrintTable("Many keys, many clients, restarts", lines);
    std::fflush(stdout);
  }

  void Write() {
    nlohmann::ordered_json json = {{"run", DescribeRun(options_.seconds, options_.rounds)},
                                   {"options",
                                    {{"active", options_.active},
                                     {"keys", options_.keys},
                                     {"watching", options_.watching},
                                     {"watchers", options_.watchers},
                                     {"revocations", options_.revocations}}},
                                   {"failures", failures_},
                                   {"skipped", skipped_},
                                   {"rows", ToJson(numbers_)}};
    std::ofstream(options_.out) << json.dump(1) << "\n";
  }

  const Options options_;
  std::unique_ptr<app::EmbeddedPostgres> postgres_;
  std::unique_ptr<Installation> active_;
  Target target_;
  double steady_rate_ = 0;
  size_t next_revoked_ = 0;
  size_t deleted_ = 0;
  Rows numbers_;
  std::map<std::string, std::string> skipped_;
  int64_t failures_ = 0;
};

}  // namespace
}  // namespace latchkey::bench

int main(int argc, char** argv) {
  CLI::App app("Measures Latchkey with many keys, many clients, and after restarts");
  latchkey::bench::Options options;
  app.add_option("--latchkeyd", options.latchkeyd, "The server's program")->required();
  app.add_option("--directory", options.directory, "Where data lives meanwhile")->required();
  app.add_option("--out", options.out, "The JSON file to write")->required();
  app.add_option("--seconds", options.seconds, "How long each row is measured in a round")
      ->check(CLI::Range(0.1, 60.0));
  app.add_option("--rounds", options.rounds, "How often")->check(CLI::Range(1, 100));
  app.add_option("--active", options.active, "Keys that are in use; half of the others at most")
      ->check(CLI::Range(2'000, 1'000'000));
  app.add_option("--keys", options.keys, "Keys of the large installation")->check(CLI::Range(50'000, 10'000'000));
  app.add_option("--watchers", options.watchers, "Idle clients")->check(CLI::Range(1, 10'000));
  app.add_option("--revocations", options.revocations, "In a round")->check(CLI::Range(1, 1'000));
  app.add_option("--only", options.only, "restart, overload, revocation, idle or start");
  CLI11_PARSE(app, argc, argv);
  if (options.keys < 2 * options.active) {
    std::fprintf(stderr, "scale_bench: --keys wants at least twice --active\n");
    return 64;
  }
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  latchkey::bench::RaiseDescriptorLimit();
  if (absl::Status made = latchkey::app::MakePrivateDirectory(options.directory).status(); !made.ok()) {
    std::fprintf(stderr, "scale_bench: %s\n", std::string(made.message()).c_str());
    return 73;
  }
  latchkey::bench::Bench bench(options);
  return bench.Run();
}
