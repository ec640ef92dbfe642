#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "client/cli/arguments.h"
#include "client/cli/output.h"
#include "client/cli/table.h"
#include "client/core/key_format.h"
#include "client/src/convert.h"
#include "client/src/key_file.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"

namespace latchkey::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string KeyString() {
  return core::AssembleKeyString("", "0123456789ABCDEF", "SecretSecretSecretSecretSecretSecretSecret0", '0',
                                 "00000000000");
}

TEST(ParseDuration, ReadsNumbersWithUnitsFromLargeToSmall) {
  EXPECT_EQ(*ParseDuration("30d"), absl::Hours(24 * 30));
  EXPECT_EQ(*ParseDuration("12h"), absl::Hours(12));
  EXPECT_EQ(*ParseDuration("1d12h"), absl::Hours(36));
  EXPECT_EQ(*ParseDuration("2w"), absl::Hours(24 * 14));
  EXPECT_EQ(*ParseDuration("90s"), absl::Seconds(90));
  EXPECT_EQ(*ParseDuration("5m"), absl::Minutes(5));
  EXPECT_EQ(*ParseDuration("500ms"), absl::Milliseconds(500));
  EXPECT_EQ(*ParseDuration("1m1ms"), absl::Minutes(1) + absl::Milliseconds(1));
  EXPECT_EQ(*ParseDuration("36525d"), absl::Hours(24 * 36525));
}

TEST(ParseDuration, RefusesEverythingElse) {
  for (const char* text : {"", "30", "d", "0s", "-1d", "+1d", "1.5h", "1 d", " 1d", "1d ", "1y", "1D", "1h1d", "1h1h",
                           "36526d", "36525d1ms", "99999999999999999999s", "9223372036854775807ms", "1d2"}) {
    EXPECT_EQ(ParseDuration(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(ParseDuration, ErrorOffersNothingThatNoKeyMayHave) {
  EXPECT_THAT(ParseDuration("soon").status().message(), Not(HasSubstr("ms")));
}

TEST(ParseTime, ReadsRfc3339WithItsZone) {
  EXPECT_EQ(*ParseTime("2030-01-02T03:04:05Z"), absl::FromUnixSeconds(1'893'553'445));
  EXPECT_EQ(*ParseTime("2030-01-02T05:04:05+02:00"), absl::FromUnixSeconds(1'893'553'445));
  EXPECT_EQ(*ParseTime("2030-01-02T03:04:05.5Z"), absl::FromUnixMillis(1'893'553'445'500));
}

TEST(ParseTime, RefusesEverythingElse) {
  for (const char* text : {"", "2030-01-02", "2030-01-02T03:04:05", "tomorrow", "infinite-future",
                           "infinite-future         ", "2030-13-02T03:04:05Z"}) {
    EXPECT_EQ(ParseTime(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(KeyNameFrom, TakesFullShortAndBareNames) {
  const std::string name = "organizations/acme/keys/0123456789ABCDEF";
  EXPECT_EQ(*KeyNameFrom(name, ""), name);
  EXPECT_EQ(*KeyNameFrom(name, "acme"), name);
  EXPECT_EQ(*KeyNameFrom("acme/0123456789ABCDEF", ""), name);
  EXPECT_EQ(*KeyNameFrom("0123456789ABCDEF", "acme"), name);
}

TEST(KeyNameFrom, RefusesEverythingElse) {
  for (const char* text : {"", "/", "0123456789ABCDEF", "acme/", "/0123456789ABCDEF", "acme/0123456789ABCDE",
                           "Acme/0123456789ABCDEF", "acme/0123456789ABCDE-", "acme/0123456789ABCDEF/",
                           "organizations/acme/keys/", "organizations/acme", "keys/acme/0123456789ABCDEF"}) {
    EXPECT_EQ(KeyNameFrom(text, "").status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_FALSE(KeyNameFrom("acme/0123456789ABCDEF", "globex").ok());
}

TEST(KeyNameFrom, NeverQuotesAKeyStringGivenForAName) {
  const absl::Status error = KeyNameFrom(KeyString(), "acme").status();
  EXPECT_THAT(error.ToString(), HasSubstr("key string"));
  EXPECT_THAT(error.ToString(), Not(HasSubstr("Secret")));
}

TEST(ParseLabel, SplitsAtTheFirstEqualsSign) {
  EXPECT_EQ(*ParseLabel("team=web"), std::make_pair(std::string("team"), std::string("web")));
  EXPECT_EQ(*ParseLabel("query=a=b"), std::make_pair(std::string("query"), std::string("a=b")));
  EXPECT_EQ(*ParseLabel("empty="), std::make_pair(std::string("empty"), std::string()));
  EXPECT_FALSE(ParseLabel("team").ok());
  EXPECT_FALSE(ParseLabel("=web").ok());
}

TEST(ParseReason, KnowsTheFourReasons) {
  EXPECT_EQ(*ParseReason("unused"), v1::REASON_UNUSED);
  EXPECT_EQ(*ParseReason("rotated"), v1::REASON_ROTATED);
  EXPECT_EQ(*ParseReason("compromised"), v1::REASON_COMPROMISED);
  EXPECT_EQ(*ParseReason("owner-left"), v1::REASON_OWNER_LEFT);
  EXPECT_FALSE(ParseReason("").ok());
  EXPECT_FALSE(ParseReason("OWNER_LEFT").ok());
}

TEST(Table, AlignsByDisplayColumnsAndEndsLinesWithoutSpaces) {
  Table table({"NAME", "ROLE"});
  table.AddRow({"日本", "viewer"});
  table.AddRow({"e\xCC\x81t\xC3\xA9", "editor"});
  EXPECT_EQ(table.ToString(), "NAME  ROLE\n日本  viewer\ne\xCC\x81t\xC3\xA9   editor\n");
}

TEST(Table, StoredNameCannotDriveTheTerminal) {
  Table table({"NAME"});
  table.AddRow({"\x1B[2Jgone\nKEY\xE2\x80\xAE"});
  const std::string text = table.ToString();
  EXPECT_THAT(text, Not(HasSubstr("\x1B")));
  EXPECT_THAT(text, Not(HasSubstr("\xE2\x80\xAE")));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
}

TEST(Shortened, CutsBetweenCharactersToTheColumnsGiven) {
  EXPECT_EQ(Shortened("", 5), "");
  EXPECT_EQ(Shortened("abcde", 5), "abcde");
  EXPECT_EQ(Shortened("abcdef", 5), "abcd…");
  EXPECT_EQ(Shortened("日本語", 6), "日本語");
  EXPECT_EQ(Shortened("日本語", 5), "日本…");
  EXPECT_EQ(Shortened("日本語", 4), "日…");
  EXPECT_EQ(Shortened("e\xCC\x81t\xC3\xA9s", 3), "e\xCC\x81t…");
  EXPECT_EQ(Shortened("ab", 1), "…");
}

TEST(DropLineEnd, TakesOneLineEndAndNothingElse) {
  const auto dropped = [](std::string text) {
    client::DropLineEnd(text);
    return text;
  };
  EXPECT_EQ(dropped("key"), "key");
  EXPECT_EQ(dropped("key\n"), "key");
  EXPECT_EQ(dropped("key\r\n"), "key");
  EXPECT_EQ(dropped("key\n\n"), "key\n");
  EXPECT_EQ(dropped("key\r\r\n"), "key\r");
  EXPECT_EQ(dropped("key\r"), "key\r");
  EXPECT_EQ(dropped(" key \n"), " key ");
  EXPECT_EQ(dropped("\n"), "");
  EXPECT_EQ(dropped(""), "");
}

TEST(ErrorText, IsOneLineWithCodeAndReasonAndALineForEachField) {
  absl::Status error = absl::InvalidArgumentError("one field is wrong");
  google::rpc::ErrorInfo info;
  info.set_reason("FIELD_INVALID");
  error.SetPayload(client::kErrorInfoUrl, absl::Cord(info.SerializeAsString()));
  google::rpc::BadRequest fields;
  auto* violation = fields.add_field_violations();
  violation->set_field("key.display_name");
  violation->set_description("1..100 characters");
  error.SetPayload(client::kBadRequestUrl, absl::Cord(fields.SerializeAsString()));
  EXPECT_EQ(ErrorText(error),
            "latchkey: one field is wrong (INVALID_ARGUMENT, FIELD_INVALID)\n  key.display_name: 1..100 characters\n");
  EXPECT_EQ(ExitCodeFor(error), kRefused);
}

TEST(ErrorText, HasNoReasonWhereNobodyGaveOne) {
  const absl::Status error = absl::UnavailableError("connection\nrefused");
  EXPECT_EQ(ErrorText(error), "latchkey: connection\xEF\xBF\xBDrefused (UNAVAILABLE)\n");
  EXPECT_EQ(ExitCodeFor(error), kTrouble);
}

TEST(ExitCodeFor, TellsRefusalsFromEverythingElse) {
  const auto exit_code = [](absl::StatusCode code, const std::string& reason) {
    absl::Status error(code, "no");
    google::rpc::ErrorInfo info;
    info.set_reason(reason);
    error.SetPayload(client::kErrorInfoUrl, absl::Cord(info.SerializeAsString()));
    return ExitCodeFor(error);
  };
  for (const absl::StatusCode code :
       {absl::StatusCode::kInvalidArgument, absl::StatusCode::kNotFound, absl::StatusCode::kAlreadyExists,
        absl::StatusCode::kPermissionDenied, absl::StatusCode::kFailedPrecondition, absl::StatusCode::kAborted,
        absl::StatusCode::kOutOfRange}) {
    EXPECT_EQ(exit_code(code, "ANY_REASON"), kRefused) << code;
    EXPECT_EQ(exit_code(code, ""), kTrouble) << code << " that is not Latchkey's";
  }
  for (const absl::StatusCode code :
       {absl::StatusCode::kUnavailable, absl::StatusCode::kDeadlineExceeded, absl::StatusCode::kResourceExhausted,
        absl::StatusCode::kUnauthenticated, absl::StatusCode::kUnknown, absl::StatusCode::kCancelled,
        absl::StatusCode::kInternal, absl::StatusCode::kDataLoss, absl::StatusCode::kUnimplemented}) {
    EXPECT_EQ(exit_code(code, "ANY_REASON"), kTrouble) << code;
  }
}

TEST(ToJson, UsesLowerCamelCaseAndNamesOfEnumValues) {
  v1::Key key;
  key.set_display_name("CI");
  key.set_state(v1::Key::STATE_ACTIVE);
  EXPECT_THAT(ToJson(key), HasSubstr(R"("displayName": "CI")"));
  EXPECT_THAT(ToJson(key), HasSubstr(R"("state": "STATE_ACTIVE")"));
}

}  // namespace
}  // namespace latchkey::cli
