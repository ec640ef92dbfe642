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

// A key that a TestServer is to know.
struct TestKey {
  std::string organization = "acme";
  std::string display_name = "test key";
  // A role's permissions are TestServer::SetRolePermissions'. "viewer" starts with {"app.read"}, "editor" with
  // {"app.read", "app.write"}, "owner" with {"*"}; any other with none.
  std::string role = "viewer";
  std::string owner;
  std::map<std::string, std::string> labels;
  std::vector<std::string> allowed_cidrs;
  absl::Duration ttl = absl::InfiniteDuration();  // From now on.
};

// A KeyVerify server in this process, on a port of its own of 127.0.0.1, for tests of services with the real Verifier:
// Verify, BatchVerify, StreamVerify, Watch and ReportUsage as a real server answers them, from keys that the test
// makes. It judges as a real one does; there is no database, no hashing and no persistence. Thread-safe.
//
//   TestServer server;
//   const std::string key = server.AddKey({.role = "editor"});
//   auto verifier = latchkey::Verifier::Connect(server.Options());
//   ... (*verifier)->Verify(key) is allowed ...
//   server.Revoke(key);  // and some milliseconds later denied.
class TestServer {
 public:
  struct Settings {
    // L. Shorter than a real server's least (2 s) is fine here.
    absl::Duration max_staleness = absl::Seconds(5);
  };
  TestServer() : TestServer(Settings()) {}
  explicit TestServer(Settings settings);
  ~TestServer();
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  // What a Verifier needs to reach it: the address, and a key file in a temporary directory of this server's.
  VerifierOptions Options() const;
  std::string address() const;

  // --- Keys ---
  // The key string of a new key.
  std::string AddKey(const TestKey& key = {});
  // The 16 characters that name it.
  static std::string KeyId(std::string_view key_string);
  // From now on denied as kRevoked; Watch streams are told. By key string or key id. False: no such key.
  bool Revoke(std::string_view key);
  // Of every key that holds the role. Watch streams are told, in one message.
  void SetRolePermissions(const std::string& organization, const std::string& role,
                          std::vector<std::string> permissions);
  // All of its keys are denied as kRevoked.
  void DeleteOrganization(const std::string& organization);

  // --- Trouble ---
  // False: every call answers UNAVAILABLE LEASE_EXPIRED, and Watch streams are ended and refused.
  void SetAvailable(bool available);
  // True: StreamVerify takes questions and answers none; those it has taken are never answered.
  void StallVerifyStreams(bool stall);
  // True: Watch takes Pings and answers none, and keeps changes to itself.
  void StallWatches(bool stall);
  // Verify, BatchVerify and StreamVerify take so long to answer; a call's deadline ends it earlier.
  void SetLatency(absl::Duration latency);
  // Tells Watch streams that the server is about to stop.
  void Drain();
  // Ends all Watch streams; they may be opened again at once.
  void EndWatches();
  // As after a restore: the log has another history from here on, so that nobody can resume.
  void RewriteHistory();
  // False: every call answers UNAUTHENTICATED, as if the verifier's own key were revoked.
  void AcceptCaller(bool accept);

  // --- What happened ---
  struct Counts {
    int verify_calls = 0;
    int batch_calls = 0;
    int stream_messages = 0;   // StreamVerify messages.
    int stream_questions = 0;  // Questions in them.
    int questions = 0;         // By whatever call.
    int watches = 0;           // Watch streams begun.
    int resumes = 0;           // Of them: resumed.
    int pings = 0;
    int reports = 0;  // ReportUsage calls, repeated ones too.
  };
  Counts counts() const;
  int open_watches() const;
  // Questions for this key, by key string or key id.
  int questions(std::string_view key) const;
  // Uses that clients have reported for it with this decision; a repeated report counts once.
  int64_t reported_uses(std::string_view key, Decision decision = Decision::kAllowed) const;
  // The least revision that open Watch streams have acknowledged; the newest one if there is no stream.
  int64_t acknowledged_revision() const;
  int64_t revision() const;

 private:
  class Service;
  const std::unique_ptr<Service> service_;
};

}  // namespace latchkey::testing
