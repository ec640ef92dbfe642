// No key string, secret or pepper is ever in a table, a log or an error.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/core/key_format.h"
#include "server/app/dev/embedded_postgres.h"
#include "server/keys/crypto/key_ring.h"
#include "tests/support/postgres_environment.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"

namespace latchkey::testing {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;

// What must not be found, and how it may be written: as it is, in hex, and in both base64 alphabets at each of the
// three offsets that it can have in a longer text.
std::vector<std::string> FormsOf(const std::string& secret) {
  const std::string hex = absl::BytesToHexString(secret);
  std::vector<std::string> forms = {secret, hex, absl::AsciiStrToUpper(hex)};
  for (size_t offset = 0; offset < 3; ++offset) {
    const std::string shifted = std::string(offset, '\0') + secret;
    for (std::string encoded : {absl::Base64Escape(shifted), absl::WebSafeBase64Escape(shifted)}) {
      // The digits at both ends also depend on what stands beside it.
      encoded = encoded.substr(offset == 0 ? 0 : offset + 1);
      while (!encoded.empty() && encoded.back() == '=') encoded.pop_back();
      encoded.resize(encoded.size() - 1);
      forms.push_back(encoded);
    }
  }
  return forms;
}

std::vector<std::string> PlacesOf(const std::string& secret, const std::map<std::string, std::string>& texts) {
  std::vector<std::string> places;
  for (const std::string& form : FormsOf(secret)) {
    for (const auto& [place, text] : texts) {
      if (text.find(form) != std::string::npos) places.push_back(place);
    }
  }
  return places;
}

// Every row of every table as text, and the bodies of the change log as they are.
std::map<std::string, std::string> TablesOf(const std::string& connection) {
  std::map<std::string, std::string> texts;
  const auto tables = nlohmann::json::parse(RunSql(connection,
                                                   "SELECT json_agg(tablename) FROM pg_tables WHERE schemaname NOT IN "
                                                   "('pg_catalog', 'information_schema')"));
  for (const std::string table : tables) {
    texts["table " + table] =
        RunSql(connection, absl::StrCat("SELECT string_agg(t::text, E'\\n') FROM \"", table, "\" AS t"));
  }
  texts["change log bodies"] =
      absl::HexStringToBytes(RunSql(connection, "SELECT encode(string_agg(body, ''::bytea), 'hex') FROM change_log"));
  return texts;
}

// Every file of the data directory: what was deleted from a table may still be there, and in the log of changes.
std::map<std::string, std::string> FilesUnder(const std::string& directory) {
  std::map<std::string, std::string> texts;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file()) texts["file " + entry.path().string()] = ReadFile(entry.path());
  }
  return texts;
}

std::string SecretOf(const std::string& key_string) { return std::string(core::ParseKeyString(key_string)->secret); }

// Drives everything that sees a key string, good and bad; `issued` gets the key strings.
void Drive(RunningServer& server, const std::string& system_key, std::string& transcript,
           std::vector<std::string>& issued) {
  RpcClient system = server.As(system_key);
  system.RecordInto(&transcript);
  EXPECT_THAT(system.CreateOrganization("acme"), IsOk());
  const v1::CreateKeyResponse owner = system.MustCreate("acme", "owner", "owner");
  const v1::CreateKeyResponse viewer = system.MustCreate("acme", "viewer", "viewer");
  const v1::CreateKeyResponse gone = system.MustCreate("acme", "gone", "viewer");
  issued = {system_key, owner.key_string(), viewer.key_string(), gone.key_string()};

  for (const std::string& key : issued) EXPECT_EQ(system.Decide(key), v1::DECISION_ALLOWED);
  for (const std::string& key : issued) {
    std::string mistyped = key;
    mistyped.back() = mistyped.back() == '0' ? '1' : '0';
    for (const std::string& bad : {mistyped, key.substr(0, 81), key + " ", "x" + key, key + key}) {
      EXPECT_EQ(system.Decide(bad), v1::DECISION_MALFORMED);
      EXPECT_THAT(system.As(bad).List("acme"), Not(IsOk()));
    }
    // A key string in every place where it does not belong.
    EXPECT_THAT(system.Get(key), Not(IsOk()));
    EXPECT_THAT(system.Get("organizations/acme/keys/" + key), Not(IsOk()));
    EXPECT_THAT(system.Create("acme", "x", key), Not(IsOk()));
    EXPECT_THAT(system.Create(key, "x", "viewer"), Not(IsOk()));
    EXPECT_THAT(system.CreateOrganization(key), Not(IsOk()));
    EXPECT_THAT(system.Verify(key, {key}), Not(IsOk()));
    EXPECT_THAT(system.WithAuthorization(key).List("acme"), Not(IsOk()));
    EXPECT_THAT(system.WithAuthorization("Bearer " + key + "," + key).List("acme"), Not(IsOk()));
    v1::ListKeysRequest list;
    list.set_parent("organizations/acme");
    list.set_page_token(key);
    EXPECT_THAT(system.Call(&v1::KeyAdmin::Stub::ListKeys, list), Not(IsOk()));
    list.set_filter(key);
    EXPECT_THAT(system.Call(&v1::KeyAdmin::Stub::ListKeys, list), Not(IsOk()));
    v1::UpdateKeyRequest update;
    update.mutable_key()->set_name(viewer.key().name());
    update.mutable_update_mask()->add_paths(key);
    EXPECT_THAT(system.Call(&v1::KeyAdmin::Stub::UpdateKey, update), Not(IsOk()));
    v1::CreateKeyRequest create;
    create.set_parent("organizations/acme");
    create.mutable_key()->set_display_name("x");
    create.mutable_key()->set_role("viewer");
    create.set_request_id(key);
    EXPECT_THAT(system.Call(&v1::KeyAdmin::Stub::CreateKey, create), Not(IsOk()));
    create.clear_request_id();
    (*create.mutable_key()->mutable_labels())[key] = "x";
    EXPECT_THAT(system.Call(&v1::KeyAdmin::Stub::CreateKey, create), Not(IsOk()));
    v1::BatchVerifyRequest batch;
    batch.add_requests()->set_key(key);
    batch.add_requests()->set_key(mistyped);
    batch.add_requests()->add_required_permissions(key);
    EXPECT_THAT(system.Call(&v1::KeyVerify::Stub::BatchVerify, batch), IsOk());
  }
  EXPECT_THAT(system.As(viewer.key_string()).Create("acme", "x", "owner"), Not(IsOk()));
  EXPECT_THAT(system.As(owner.key_string()).Rename(viewer.key().name(), "renamed"), IsOk());
  EXPECT_THAT(system.As(owner.key_string()).Delete(gone.key().name()), IsOk());
  EXPECT_EQ(system.Decide(gone.key_string()), v1::DECISION_REVOKED);
  for (const v1::Key& key : {owner.key(), viewer.key(), gone.key()}) EXPECT_THAT(system.Get(key.name()), IsOk());
  v1::ListKeysRequest list;
  list.set_parent("organizations/acme");
  list.set_show_deleted(true);
  EXPECT_THAT(system.Call(&v1::KeyAdmin::Stub::ListKeys, list), IsOk());
}

TEST(Canary, NoKeyStringSecretOrPepperIsInAnyTableLogOrError) {
  const TempDirectory directory;
  const std::string data = directory.Child("postgres");
  // Every statement with its values: what PostgreSQL is sent at all must not hold a secret.
  auto started = app::EmbeddedPostgres::Start(
      {.directory = data,
       .durable = false,
       .extra_settings = "log_statement = all\nlog_parameter_max_length = -1\n"
                         "log_parameter_max_length_on_error = -1\nlog_error_verbosity = verbose\n"
                         "log_min_messages = debug1\n"});
  ASSERT_THAT(started, IsOk());
  const std::string connection = (*started)->ConnectionString();
  const Installation installation(connection);

  std::string transcript;
  std::vector<std::string> issued;
  std::string first_log;
  std::string first_output;
  {
    RunningServer server(
        installation.Serve({"--hash-profile", "random-key", "--log-level", "debug", "--proofs", "memory"}));
    ASSERT_TRUE(server.WaitUntilServing());
    Drive(server, installation.system_key(), transcript, issued);
    EXPECT_EQ(server.Terminate(), 0);
    first_log = server.process().error();
    first_output = server.process().output();
  }
  // Again with nothing proven, so that each goes through Argon2 and its proof is stored.
  RunningServer again(installation.Serve({"--hash-profile", "random-key", "--log-level", "debug"}));
  ASSERT_TRUE(again.WaitUntilServing());
  RpcClient system = again.As(installation.system_key());
  system.RecordInto(&transcript);
  for (size_t i = 0; i + 1 < issued.size(); ++i) EXPECT_EQ(system.Decide(issued[i]), v1::DECISION_ALLOWED);
  // And through an outage.
  ASSERT_THAT((*started)->Restart(), IsOk());
  ASSERT_TRUE(Eventually(kStartPatience, [&] { return system.Create("acme", "after", "viewer").ok(); }));
  EXPECT_EQ(again.Terminate(), 0);

  std::map<std::string, std::string> texts = TablesOf(connection);
  const ChildProcess::Result dump =
      ChildProcess::Run({.arguments = {"/usr/lib/postgresql/15/bin/pg_dump", "-d", connection}});
  ASSERT_EQ(dump.exit_code, 0) << dump.error;
  texts["pg_dump"] = dump.output;
  texts["the server's log"] = first_log + again.process().error();
  texts["the server's output"] = first_output + again.process().output();
  texts["answers and errors"] = transcript;
  started = absl::UnavailableError("stopped");
  texts["PostgreSQL's log"] = ReadFile(data + "/postgres.log");

  std::map<std::string, std::string> secrets;
  const auto ring_json = nlohmann::json::parse(ReadFile(installation.keyring_file()));
  for (const auto& item : ring_json["secrets"]) {
    std::string bytes;
    ASSERT_TRUE(absl::Base64Unescape(item["secret"].get<std::string>(), &bytes));
    secrets["key ring's " + item["purpose"].get<std::string>()] = bytes;
  }
  ASSERT_GE(secrets.size(), 4u);
  const auto ring = keys::KeyRing::Parse(ReadFile(installation.keyring_file()));
  ASSERT_THAT(ring, IsOk());
  std::map<std::string, std::string> proofs;
  for (const std::string& key_string : issued) {
    const core::KeyParts parts = *core::ParseKeyString(key_string);
    const std::string kid(parts.kid);
    secrets["key string of " + kid] = key_string;
    secrets["secret of " + kid] = SecretOf(key_string);
    const keys::Proof proof = ring->ProofOf(parts);
    proofs[kid] = std::string(proof.digest.begin(), proof.digest.end());
    secrets["pre-hash of " + kid] =
        std::string(ring->PreHash(ring->active_pepper_id(), parts.kid, parts.secret).Expose());
  }
  const std::map<std::string, std::string> files = FilesUnder(data);
  for (const auto& [what, secret] : secrets) {
    EXPECT_THAT(PlacesOf(secret, texts), IsEmpty()) << what;
    for (const auto& [place, text] : files) EXPECT_EQ(text.find(secret), std::string::npos) << what << " in " << place;
  }

  // Proofs are in their table, and so in what PostgreSQL was sent; nowhere else.
  for (const auto& [kid, proof] : proofs) {
    EXPECT_THAT(PlacesOf(proof, texts), ::testing::IsSubsetOf({"table proofs", "pg_dump", "PostgreSQL's log"})) << kid;
  }
  const std::string proven(core::ParseKeyString(issued[1])->kid);
  EXPECT_THAT(PlacesOf(proofs[proven], texts), ::testing::Contains("table proofs"));

  // That the search finds what is there: a key id is public, and in all of these.
  const std::string kid(core::ParseKeyString(issued[1])->kid);
  EXPECT_THAT(PlacesOf(kid, texts),
              ::testing::IsSupersetOf({"table keys", "table secret_versions", "change log bodies", "pg_dump",
                                       "the server's log", "answers and errors", "PostgreSQL's log"}));
  EXPECT_TRUE(std::any_of(files.begin(), files.end(),
                          [&kid](const auto& file) { return absl::StrContains(file.second, kid); }));
}

TEST(Canary, TheSearchFindsASecretInEveryForm) {
  const std::string secret = "0123456789-the-secret\xff\x01";
  for (const char* before : {"", "a", "ab", "abc"}) {
    const std::string text = before + secret + "tail";
    for (const std::string& written :
         {text, absl::BytesToHexString(text), absl::AsciiStrToUpper(absl::BytesToHexString(text)),
          absl::Base64Escape(text), absl::WebSafeBase64Escape(text)}) {
      EXPECT_THAT(PlacesOf(secret, {{"here", written}}), Not(IsEmpty())) << written;
    }
    EXPECT_THAT(PlacesOf(secret, {{"here", absl::StrCat(before, "another text of about this length")}}), IsEmpty());
  }
}

}  // namespace
}  // namespace latchkey::testing
