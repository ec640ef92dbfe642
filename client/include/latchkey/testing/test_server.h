#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "latchkey/verifier.h"

namespace latchkey::testing {

// Key of a TestServer.
struct TestKey {
  std::string organization = "acme";
  std::string display_name = "test key";
  // A role's permissions are TestServer::SetRolePermissions'. "viewer" starts with {"app.read"}, "editor" with
  // {"app.read", "app.write"}, "owner" with {"*"}; any other with none.
  std::string role = "viewer";
  std::string owner;
  std::map<std::string, std::string> labels;
  std::vector<std::string> allowed_cidrs;         // As Identity::Fields'; AddKey wants each of them readable.
  absl::Duration ttl = absl::InfiniteDuration();  // From AddKey on, by this machine's clock; infinite = no expiry.
};

// In-process KeyVerify server on a port of its own of 127.0.0.1, for tests of services with the real Verifier:
// Verify, BatchVerify, StreamVerify, Watch and ReportUsage as a real server answers them, from keys that the test
// makes. It judges as a real one does; there is no database, no hashing and no persistence. It is never behind, so
// that any min_revision is met; `fresh` and malformed requests, which no Verifier sends, are not looked at. Time is
// real: what has to run out in a test, a lease or a key, should be short. Thread-safe; a Verifier that outlives it
// finds nobody there.
//
//   TestServer server;
//   const std::string key = server.AddKey({.role = "editor"});
//   auto verifier = latchkey::Verifier::Connect(server.Options());
//   ... (*verifier)->Verify(key) is allowed ...
//   server.Revoke(key);  // and some milliseconds later denied.
class TestServer {
 public:
  struct Settings {
    // L, > 0. Shorter than a real server's least (2 s) is fine here.
    absl::Duration max_staleness = absl::Seconds(5);
  };
  // Answers when this returns. Throws std::runtime_error if it can't listen or has no place for its key file.
  TestServer() : TestServer(Settings()) {}
  explicit TestServer(Settings settings);
  ~TestServer();
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  // What a Verifier needs to reach it: the address, and a key file in a temporary directory that goes with this server.
  // All else is as VerifierOptions has it; a test on a busy machine may want a longer `timeout`.
  VerifierOptions Options() const;
  std::string address() const;  // "127.0.0.1:{port}".

  // --- Keys ---
  // The key string of a new key. Throws std::invalid_argument if one of its allowed_cidrs can't be read.
  std::string AddKey(const TestKey& key = {});
  // The 16 characters that name it; "" if that is no key string.
  static std::string KeyId(std::string_view key_string);
  // From now on denied as kRevoked; Watch streams are told. By key string or key id. False: no such key.
  bool Revoke(std::string_view key);
  // In place of those that the role (an id, built-in or not) had in this organization, for every key that holds it.
  // Watch streams are told, in one message.
  void SetRolePermissions(const std::string& organization, const std::string& role,
                          std::vector<std::string> permissions);
  // All of its keys are denied as kRevoked, those that are added later too. Watch streams are told, in one message.
  void DeleteOrganization(const std::string& organization);

  // --- Trouble ---
  // False: every call answers UNAVAILABLE LEASE_EXPIRED, and Watch streams are ended and refused. A Verifier goes on
  // answering from memory until its lease is over, max_staleness later at most.
  void SetAvailable(bool available);
  // True: StreamVerify takes questions and answers none; those it has taken are never answered.
  void StallVerifyStreams(bool stall);
  // True: Watch streams are silent but for the Hello of a new one. False: what was kept back from a stream is sent, in
  // order and before any Pong; Pings that came meanwhile stay without an answer. A client gives up a stream that is
  // silent for long (2.5 of its Pings, each min(1 s, max_staleness / 5)) and opens another one.
  void StallWatches(bool stall);
  // Verify, BatchVerify and each message of StreamVerify, one after the other, take so long to answer; a call's
  // deadline ends it earlier. 0 = at once.
  void SetLatency(absl::Duration latency);
  // Tells Watch streams that the server is about to stop, so that clients open others; it does not stop.
  void Drain();
  // Ends all Watch streams; they may be opened again at once, and resumed.
  void EndWatches();
  // As after a restore: the log has another history from here on. Ends all Watch streams; none of them can be resumed.
  void RewriteHistory();
  // False: every call answers UNAUTHENTICATED, as if the verifier's own key were revoked, and Watch streams are ended.
  void AcceptCaller(bool accept);

  // --- What happened ---
  // Since this server was made; calls that were refused count too.
  struct Counts {
    int verify_calls = 0;
    int batch_calls = 0;
    int stream_messages = 0;   // StreamVerify messages.
    int stream_questions = 0;  // Questions in them.
    int questions = 0;         // By whatever call.
    int watches = 0;           // Watch streams that got as far as Hello.
    int resumes = 0;           // Of them: resumed.
    int pings = 0;
    int reports = 0;  // ReportUsage calls, repeated ones too.
  };
  Counts counts() const;
  int open_watches() const;
  // Questions for this key, by key string or key id; 0 if there is none. What is answered from memory is no question.
  int questions(std::string_view key) const;
  // Uses that clients have reported for it with this decision: those answered from memory; a repeated report counts
  // once. They report each 10 s, and when the Verifier is destroyed.
  int64_t reported_uses(std::string_view key, Decision decision = Decision::kAllowed) const;
  // The least revision that open Watch streams have acknowledged, 0 before a stream's first Ping; the newest one if
  // there is no stream. Once it is revision(), every Verifier that watches answers by all changes so far.
  int64_t acknowledged_revision() const;
  // Of the last change: 0 at first, one more for each key added, key revoked, role changed, ...
  int64_t revision() const;

 private:
  class Service;
  const std::unique_ptr<Service> service_;
};

}  // namespace latchkey::testing
