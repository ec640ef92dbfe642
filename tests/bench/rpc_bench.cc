// Usage: rpc_bench --latchkeyd PROGRAM --directory DIR --out FILE.json [--seconds S] [--rounds N] [--only ROW]
//        rpc_bench --callback-echo-server | --queue-echo-server
//
// Measures the RPCs beside their floors; scripts/bench runs it, README.md says how to read it. DIR must not exist; it
// is the caller's to remove. Exits with 1 if any call was answered otherwise than expected.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "client/core/key_format.h"
#include "grpc/health/v1/health.pb.h"
#include "latchkey/v1/key_admin.pb.h"
#include "latchkey/v1/key_verify.pb.h"
#include "server/keys/crypto/key_ring.h"
#include "tests/bench/echo_server.h"
#include "tests/bench/floors.h"
#include "tests/bench/load.h"
#include "tests/bench/report.h"
#include "tests/bench/servers.h"

namespace latchkey::bench {
namespace {

constexpr char kVerify[] = "/latchkey.v1.KeyVerify/Verify";
constexpr char kStreamVerify[] = "/latchkey.v1.KeyVerify/StreamVerify";
constexpr char kCreateKey[] = "/latchkey.v1.KeyAdmin/CreateKey";
constexpr int kInFlight = 16;  // On each of two channels.
constexpr int kKeys = 32;      // Hot set; verified for the first time after each restart.
constexpr int kGarbage = 512;
constexpr int kItems = 64;      // In a message of a stream.
constexpr int kMessages = 4;    // In flight on each of two streams: a window of 256.
constexpr double kOpen = 0.4;   // Of the slowest row's saturated rate: what the open loop sends.
constexpr int kSlices = 4;      // Of a row in a round.
constexpr int kStatements = 4;  // Of each kind, for each hash: they are cheap and vary.

constexpr char kEcho[] = "echo 92 B";
constexpr char kQueueEcho[] = "echo 92 B, queue";

struct Options {
  std::string latchkeyd;
  std::string directory;
  std::string out;
  double seconds = 2;
  int rounds = 5;
  std::string only;  // One row, for a profiler.
};

// A row of the RPC tables.
struct Row {
  std::string name;
  Servers::Which server;
  Target target;
};
struct StreamRow {
  std::string name;
  Servers::Which server;
  StreamTarget target;
};

std::function<bool(grpc::ByteBuffer&)> Decides(v1::Decision decision) {
  return [decision](grpc::ByteBuffer& bytes) {
    v1::VerifyResponse response;
    return Parse(bytes, response) && response.decision() == decision;
  };
}

grpc::ByteBuffer VerifyRequestFor(std::string_view key_string) {
  v1::VerifyRequest request;
  request.set_key(key_string.data(), key_string.size());
  return Serialised(request);
}

class Bench {
 public:
  Bench(const Options& options, const std::string& program)
      : options_(options),
        servers_(options.latchkeyd, program, options.directory + "/server"),
        floors_(options.directory + "/floor") {
    std::vector<std::string> hot;
    hot.reserve(kKeys);
    for (int i = 0; i < kKeys; ++i) hot.push_back(CreateKey().first);
    for (const std::string& key : hot) proven_.push_back(VerifyRequestFor(key));
    // Right in form, minted by somebody else.
    const keys::KeyRing other = keys::KeyRing::Generate();
    for (int i = 0; i < kGarbage; ++i) garbage_.push_back(VerifyRequestFor(other.Mint().Expose()));
    for (const std::string& key : hot) {
      std::string mistyped = key;
      mistyped[30] = mistyped[30] == 'A' ? 'B' : 'A';
      malformed_.push_back(VerifyRequestFor(mistyped));
    }
    v1::VerifyRequest echoed;
    echoed.set_key(std::string(90, 'x'));
    grpc::health::v1::HealthCheckRequest health;
    const auto is_serving = [](grpc::ByteBuffer& bytes) {
      grpc::health::v1::HealthCheckResponse response;
      return Parse(bytes, response) && response.status() == grpc::health::v1::HealthCheckResponse::SERVING;
    };
    const std::string& bearer = servers_.verifier_key();
    using Which = Servers::Which;
    rows_ = {
        {kEcho, Which::kCallbackEcho, {kVerify, {Serialised(echoed)}, "", Decides(v1::DECISION_UNSPECIFIED)}},
        {kQueueEcho, Which::kQueueEcho, {kVerify, {Serialised(echoed)}, "", Decides(v1::DECISION_UNSPECIFIED)}},
        {"health Check", Which::kLatchkeyd, {"/grpc.health.v1.Health/Check", {Serialised(health)}, "", is_serving}},
        {"echo Verify-shaped", Which::kCallbackEcho, {kVerify, proven_, bearer, Decides(v1::DECISION_ALLOWED)}},
        {"echo Verify-shaped, queue", Which::kQueueEcho, {kVerify, proven_, bearer, Decides(v1::DECISION_ALLOWED)}},
        {"Verify proven", Which::kLatchkeyd, {kVerify, proven_, bearer, Decides(v1::DECISION_ALLOWED)}},
        {"Verify garbage", Which::kLatchkeyd, {kVerify, garbage_, bearer, Decides(v1::DECISION_NOT_FOUND)}},
        {"Verify malformed", Which::kLatchkeyd, {kVerify, malformed_, bearer, Decides(v1::DECISION_MALFORMED)}},
    };
    MakeStreamRows(hot);
  }

  // Returns the exit code.
  int Run() {
    if (!options_.only.empty()) {
      std::erase_if(rows_, [this](const Row& row) { return row.name != options_.only; });
      std::erase_if(stream_rows_, [this](const StreamRow& row) { return row.name != options_.only; });
    }
    for (int round = 0; round < options_.rounds; ++round) {
      std::fprintf(stderr, "[bench] round %d of %d\n", round + 1, options_.rounds);
      servers_.RestartLatchkeyd();
      MeasureSlowPaths();
      MeasureRows("saturated", kInFlight, round);
      MeasureRows("alone", 1, round);
      MeasureOpenLoop(round);
      MeasureStreams(round);
    }
    Print();
    Write();
    if (failures_ > 0) std::fprintf(stderr, "[bench] %ld calls failed: the numbers are worth nothing\n", failures_);
    return failures_ > 0 ? 1 : 0;
  }

 private:
  static std::string Name(const std::string& row, const std::string& how) { return absl::StrCat(row, ", ", how); }

  void Failed(const std::string& what, const std::string& why) {
    if (failures_++ < 10) std::fprintf(stderr, "[bench] %s: %s\n", what.c_str(), why.c_str());
  }

  // The key string and how long it took.
  std::pair<std::string, int64_t> CreateKey() {
    v1::CreateKeyRequest request;
    request.set_parent("organizations/acme");
    request.mutable_key()->set_display_name("bench key");
    request.mutable_key()->set_role("editor");
    grpc::ByteBuffer bytes;
    int64_t took = 0;
    const grpc::Status status = CallOnce(servers_.channels(Servers::Which::kLatchkeyd).front(), kCreateKey,
                                         servers_.owner_key(), Serialised(request), bytes, took);
    v1::CreateKeyResponse response;
    if (!status.ok()) {
      Failed("CreateKey", status.error_message());
    } else if (!Parse(bytes, response) || response.key_string().empty()) {
      Failed("CreateKey", "no key string");
    }
    return {response.key_string(), took};
  }

  int64_t VerifyOnce(const grpc::ByteBuffer& request, v1::Decision wanted) {
    grpc::ByteBuffer response;
    int64_t took = 0;
    const grpc::Status status = CallOnce(servers_.channels(Servers::Which::kLatchkeyd).front(), kVerify,
                                         servers_.verifier_key(), request, response, took);
    if (!status.ok()) {
      Failed("first Verify", status.error_message());
    } else if (!Decides(wanted)(response)) {
      Failed("first Verify", "another decision than expected");
    }
    return took;
  }

  // Right after a restart: nothing is proven. Floors and ours in turn, one at a time.
  void MeasureSlowPaths() {
    VerifyOnce(malformed_.front(), v1::DECISION_MALFORMED);  // Proves the verifier's own key,
    CreateKey();                                             // and the owner's.
    Histogram hash, select, commit, first, create;
    for (int i = 0; i < kKeys; ++i) {
      for (int j = 0; j < kStatements; ++j) {
        select.Add(floors_.PointSelect());
        commit.Add(floors_.Commit());
      }
      hash.Add(floors_.Hash());
      first.Add(VerifyOnce(proven_[i], v1::DECISION_ALLOWED));
      hash.Add(floors_.Hash());
      create.Add(CreateKey().second);
    }
    const auto keep = [this](const std::string& name, const Histogram& histogram) {
      numbers_[name]["p50_us"].rounds.push_back(histogram.Quantile(0.5) / 1e3);
      numbers_[name]["p99_us"].rounds.push_back(histogram.Quantile(0.99) / 1e3);
    };
    keep("Argon2id owasp", hash);
    keep("point select", select);
    keep("commit", commit);
    keep("first Verify after a restart", first);
    keep("CreateKey", create);
  }

  // Every row in turn, in short slices: a machine that drifts over seconds then drifts for all of them.
  void MeasureRows(const std::string& how, int in_flight, int round) {
    std::vector<Measurement> measured(rows_.size());
    for (int slice = 0; slice < kSlices; ++slice) {
      for (size_t i = 0; i < rows_.size(); ++i) {
        // Another row first each time: none always follows the same one.
        const size_t row = (i + slice + round) % rows_.size();
        measured[row].Add(Measure(rows_[row], in_flight));
      }
    }
    for (size_t i = 0; i < rows_.size(); ++i) Keep(rows_[i].name, how, measured[i]);
  }

  Measurement Measure(const Row& row, int in_flight) {
    const Channels& all = servers_.channels(row.server);
    const Channels channels = in_flight == 1 ? Channels{all.front()} : all;
    return RunClosedLoop(channels, row.target, in_flight, absl::Milliseconds(50),
                         absl::Seconds(options_.seconds) / kSlices, servers_.pid(row.server));
  }

  // Every row at the same rate, that of the first round: what all of them can bear.
  void MeasureOpenLoop(int round) {
    if (open_rate_ == 0) {
      open_rate_ = std::numeric_limits<double>::infinity();
      for (const Row& row : rows_) {
        open_rate_ = std::min(open_rate_, kOpen * numbers_[Name(row.name, "saturated")]["rate"].rounds.front());
      }
    }
    std::vector<Measurement> measured(rows_.size());
    for (int slice = 0; slice < kSlices; ++slice) {
      for (size_t i = 0; i < rows_.size(); ++i) {
        const Row& row = rows_[(i + slice + round) % rows_.size()];
        measured[(i + slice + round) % rows_.size()].Add(
            RunOpenLoop(servers_.channels(row.server), row.target, open_rate_, absl::Milliseconds(50),
                        absl::Seconds(options_.seconds) / kSlices, servers_.pid(row.server)));
      }
    }
    for (size_t i = 0; i < rows_.size(); ++i) Keep(rows_[i].name, "open loop", measured[i]);
  }

  // The echo servers answer with as many bytes as latchkeyd does.
  void MakeStreamRows(const std::vector<std::string>& hot) {
    StreamTarget ours;
    ours.method = kStreamVerify;
    ours.items = kItems;
    ours.bearer = servers_.verifier_key();
    for (int message = 0; message < kMessages; ++message) {
      v1::StreamVerifyRequest request;
      request.set_batch_id(message + 1);
      for (int i = 0; i < kItems; ++i) request.add_requests()->set_key(hot[(message * 7 + i) % hot.size()]);
      ours.requests.push_back(Serialised(request));
    }
    ours.is_right = [](size_t message, grpc::ByteBuffer& bytes) {
      v1::StreamVerifyResponse response;
      if (!Parse(bytes, response) || response.batch_id() != message + 1 || response.results_size() != kItems) {
        return false;
      }
      return std::all_of(response.results().begin(), response.results().end(),
                         [](const auto& item) { return item.result().response().decision() == v1::DECISION_ALLOWED; });
    };
    // One message, to see how long the answer is.
    size_t answer_bytes = 0;
    StreamTarget probe = ours;
    probe.is_right = [&answer_bytes, right = ours.is_right](size_t message, grpc::ByteBuffer& bytes) {
      answer_bytes = bytes.Length();
      return right(message, bytes);
    };
    const Measurement probed =
        RunStreams({servers_.channels(Servers::Which::kLatchkeyd).front()}, probe, absl::ZeroDuration(),
                   absl::Milliseconds(50), servers_.pid(Servers::Which::kLatchkeyd));
    if (probed.failures > 0) Failed("StreamVerify", probed.first_failure);
    StreamTarget echo = ours;
    echo.method = kEchoStream;
    echo.bearer = "";
    echo.answer_bytes = answer_bytes;
    echo.is_right = [answer_bytes](size_t, const grpc::ByteBuffer& bytes) { return bytes.Length() == answer_bytes; };
    stream_rows_ = {{"echo stream", Servers::Which::kCallbackEcho, echo},
                    {"echo stream, queue", Servers::Which::kQueueEcho, echo},
                    {"StreamVerify proven", Servers::Which::kLatchkeyd, ours}};
    answer_bytes_ = answer_bytes;
  }

  void MeasureStreams(int round) {
    std::vector<Measurement> measured(stream_rows_.size());
    for (int slice = 0; slice < kSlices; ++slice) {
      for (size_t i = 0; i < stream_rows_.size(); ++i) {
        const size_t at = (i + slice + round) % stream_rows_.size();
        const StreamRow& row = stream_rows_[at];
        measured[at].Add(RunStreams(servers_.channels(row.server), row.target, absl::Milliseconds(50),
                                    absl::Seconds(options_.seconds) / kSlices, servers_.pid(row.server)));
      }
    }
    for (size_t i = 0; i < stream_rows_.size(); ++i) Keep(stream_rows_[i].name, "stream", measured[i]);
  }

  void Keep(const std::string& row, const std::string& how, const Measurement& measured) {
    failures_ += measured.failures;
    if (measured.failures > 0) std::fprintf(stderr, "[bench] %s: %s\n", row.c_str(), measured.first_failure.c_str());
    auto& numbers = numbers_[Name(row, how)];
    numbers["rate"].rounds.push_back(measured.rate());
    numbers["p50_us"].rounds.push_back(measured.latency.Quantile(0.5) / 1e3);
    numbers["p99_us"].rounds.push_back(measured.latency.Quantile(0.99) / 1e3);
    numbers["server_cpu_us"].rounds.push_back(measured.server_cpu_us());
  }

  // Rates for `saturated`, p50 for `alone`: ours ÷ the floor's, round by round.
  void PrintRpcTable(const std::string& how, const std::string& title, const std::string& number,
                     const std::string& label) {
    std::vector<std::vector<std::string>> lines = {{"", "calls/s", "p50 µs", "p99 µs", "server CPU µs/call",
                                                    label + " ÷ echo", label + " ÷ health Check", "CPU ÷ echo"}};
    for (const Row& row : rows_) {
      auto& numbers = numbers_[Name(row.name, how)];
      numbers[number + "_to_echo"] = numbers[number] / numbers_[Name(kEcho, how)][number];
      numbers[number + "_to_health"] = numbers[number] / numbers_[Name("health Check", how)][number];
      numbers["server_cpu_to_echo"] = numbers["server_cpu_us"] / numbers_[Name(kEcho, how)]["server_cpu_us"];
      lines.push_back({row.name, Show(numbers["rate"], 1, "%.0f"), Show(numbers["p50_us"], 1, "%.0f"),
                       Show(numbers["p99_us"], 1, "%.0f"), Show(numbers["server_cpu_us"], 1, "%.1f"),
                       Show(numbers[number + "_to_echo"]), Show(numbers[number + "_to_health"]),
                       Show(numbers["server_cpu_to_echo"])});
    }
    PrintTable(title, lines);
  }

  void PrintStreamTable() {
    std::vector<std::vector<std::string>> lines = {
        {"", "verdicts/s", "message p50 µs", "message p99 µs", "server CPU µs/verdict", "rate ÷ echo stream"}};
    for (const StreamRow& row : stream_rows_) {
      auto& numbers = numbers_[Name(row.name, "stream")];
      numbers["rate_to_echo"] = numbers["rate"] / numbers_[Name("echo stream", "stream")]["rate"];
      lines.push_back({row.name, Show(numbers["rate"], 1, "%.0f"), Show(numbers["p50_us"], 1, "%.0f"),
                       Show(numbers["p99_us"], 1, "%.0f"), Show(numbers["server_cpu_us"]),
                       Show(numbers["rate_to_echo"])});
    }
    PrintTable(absl::StrCat("Streams: 2, of ", kMessages, " messages in flight, ", kItems, " verdicts and ",
                            answer_bytes_, " B a message"),
               lines);
  }

  void PrintSlowTable() {
    numbers_["first Verify after a restart"]["p50_to_floor"] =
        numbers_["first Verify after a restart"]["p50_us"] /
        (numbers_["Argon2id owasp"]["p50_us"] + numbers_["point select"]["p50_us"]);
    numbers_["CreateKey"]["p50_to_floor"] =
        numbers_["CreateKey"]["p50_us"] / (numbers_["Argon2id owasp"]["p50_us"] + numbers_["commit"]["p50_us"]);
    std::vector<std::vector<std::string>> lines = {{"", "p50 ms", "p99 ms", "p50 ÷ floor", "floor"}};
    const std::vector<std::pair<std::string, std::string>> rows = {
        {"Argon2id owasp", ""},
        {"point select", ""},
        {"commit", ""},
        {"first Verify after a restart", "Argon2id + point select"},
        {"CreateKey", "Argon2id + commit"}};
    for (const auto& [row, floor] : rows) {
      auto& numbers = numbers_[row];
      lines.push_back({row, Show(numbers["p50_us"], 1e-3), Show(numbers["p99_us"], 1e-3),
                       floor.empty() ? "" : Show(numbers["p50_to_floor"]), floor});
    }
    PrintTable(absl::StrCat("Slow paths, one at a time, ", kKeys, " keys a round"), lines);
  }

  void Print() {
    std::printf("\nMedians of %d rounds of %g s [min..max over the rounds]; ratios are taken within a round.\n",
                options_.rounds, options_.seconds);
    PrintRpcTable("saturated", "Saturated: closed loop, 2 channels × 16 in flight", "rate", "rate");
    PrintRpcTable("alone", "Alone: one call at a time", "p50_us", "p50");
    PrintRpcTable("open loop",
                  absl::StrCat("Open loop: ", rows_.empty() ? 0 : static_cast<int>(open_rate_),
                               " calls/s, latency from the intended time"),
                  "p99_us", "p99");
    PrintStreamTable();
    PrintSlowTable();
    std::fflush(stdout);
  }

  void Write() {
    nlohmann::ordered_json json = {
        {"run", DescribeRun(options_.seconds, options_.rounds)}, {"failures", failures_}, {"rows", ToJson(numbers_)}};
    std::ofstream(options_.out) << json.dump(1) << "\n";
  }

  const Options options_;
  Servers servers_;
  Floors floors_;
  std::vector<grpc::ByteBuffer> proven_, garbage_, malformed_;
  std::vector<Row> rows_;
  std::vector<StreamRow> stream_rows_;
  size_t answer_bytes_ = 0;
  double open_rate_ = 0;
  Rows numbers_;
  int64_t failures_ = 0;
};

}  // namespace
}  // namespace latchkey::bench

int main(int argc, char** argv) {
  CLI::App app("Measures Latchkey's RPCs beside their floors");
  latchkey::bench::Options options;
  bool callback_echo = false;
  bool queue_echo = false;
  app.add_flag("--callback-echo-server", callback_echo, "Be the bare echo server on gRPC's callback API");
  app.add_flag("--queue-echo-server", queue_echo, "Be the one on a completion queue with one thread");
  app.add_option("--latchkeyd", options.latchkeyd, "The server's program");
  app.add_option("--directory", options.directory, "Where data lives meanwhile");
  app.add_option("--out", options.out, "The JSON file to write");
  app.add_option("--seconds", options.seconds, "How long each row is measured in a round")
      ->check(CLI::Range(0.1, 60.0));
  app.add_option("--rounds", options.rounds, "How often")->check(CLI::Range(1, 100));
  app.add_option("--only", options.only, "Measure one row alone, named as in the table: for a profiler");
  CLI11_PARSE(app, argc, argv);
  if (callback_echo) return latchkey::bench::RunCallbackEchoServer();
  if (queue_echo) return latchkey::bench::RunQueueEchoServer();
  if (options.latchkeyd.empty() || options.directory.empty() || options.out.empty()) {
    std::fprintf(stderr, "rpc_bench: --latchkeyd, --directory and --out are wanted (see scripts/bench)\n");
    return 64;
  }
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);  // A client that costs less shows more.
  latchkey::bench::Bench bench(options, "/proc/self/exe");
  return bench.Run();
}
