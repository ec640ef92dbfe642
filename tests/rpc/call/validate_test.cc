#include "server/rpc/call/validate.h"

#include <gtest/gtest.h>

#include <string>

#include "client/core/key_format.h"
#include "server/base/errors.h"

namespace latchkey::rpc {
namespace {

using absl::StatusCode;

void ExpectFault(const absl::Status& status, const std::string& reason, const std::string& field) {
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status;
  const std::optional<errors::Detail> detail = errors::DetailOf(status);
  ASSERT_TRUE(detail.has_value()) << status;
  EXPECT_EQ(errors::NameOf(detail->reason), reason);
  EXPECT_EQ(detail->field, field);
  EXPECT_FALSE(detail->wanted.empty());
}

std::string Times(int count, const std::string& text) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

// Texts no name may hold.
const std::string kForbidden[] = {std::string("a\0b", 3), "a\nb",          "a\x1b[31m", "\x7f",           "\xC2\x85",
                                  "\xE2\x80\xA8",         "\u202Etxt.exe", "\u2066x",   "not utf-8 \xff", "\xC0\x80"};

TEST(FreeText, NeverTakesAKeyString) {
  const std::string pasted =
      core::AssembleKeyString("", std::string(16, 'k'), std::string(43, 's'), '1', std::string(11, 't'));
  ExpectFault(CheckDisplayName("f", pasted), "FIELD_INVALID", "f");
  ExpectFault(CheckDescription("f", "my key:\n" + pasted + "\n"), "FIELD_INVALID", "f");
  ExpectFault(CheckOwner("f", "me " + pasted), "FIELD_INVALID", "f");
  EXPECT_TRUE(CheckOwner("f", pasted.substr(4)).ok());  // No marker: just text.
  EXPECT_EQ(CheckOwner("f", pasted).message().find("sss"), absl::string_view::npos);
}

TEST(DisplayName, OneToAHundredCodePointsOfAnyScriptAreFine) {
  for (const std::string& name :
       {std::string("a"), std::string("Ключ"), std::string("鍵"), std::string("مفتاح"), Times(100, "a"),
        Times(100, "\xF0\x9F\x94\x91"), std::string("e\xCC\x81"), std::string("  spaces  ")}) {
    EXPECT_TRUE(CheckDisplayName("key.display_name", name).ok()) << name;
  }
}

TEST(DisplayName, EmptyIsRequired) {
  ExpectFault(CheckDisplayName("key.display_name", ""), "FIELD_REQUIRED", "key.display_name");
}

TEST(DisplayName, TooLongOrForbiddenIsInvalid) {
  ExpectFault(CheckDisplayName("key.display_name", Times(101, "a")), "FIELD_INVALID", "key.display_name");
  ExpectFault(CheckDisplayName("key.display_name", Times(101, "鍵")), "FIELD_INVALID", "key.display_name");
  ExpectFault(CheckDisplayName("key.display_name", Times(10000, "a")), "FIELD_INVALID", "key.display_name");
  for (const std::string& name : kForbidden) {
    ExpectFault(CheckDisplayName("key.display_name", name), "FIELD_INVALID", "key.display_name");
  }
}

TEST(Description, MayHoldNewlinesAndTabsUpToAThousandCharacters) {
  EXPECT_TRUE(CheckDescription("key.description", "").ok());
  EXPECT_TRUE(CheckDescription("key.description", "two\nlines\tand a tab").ok());
  EXPECT_TRUE(CheckDescription("key.description", Times(500, "\n鍵")).ok());
  ExpectFault(CheckDescription("key.description", Times(500, "\n鍵") + "x"), "FIELD_INVALID", "key.description");
  ExpectFault(CheckDescription("key.description", Times(1001, "\n")), "FIELD_INVALID", "key.description");
  ExpectFault(CheckDescription("key.description", "bell \x07"), "FIELD_INVALID", "key.description");
  ExpectFault(CheckDescription("key.description", "\xE2\x80\xAE"), "FIELD_INVALID", "key.description");
}

TEST(Owner, IsAtMost256CharactersWithoutControls) {
  EXPECT_TRUE(CheckOwner("key.owner", "").ok());
  EXPECT_TRUE(CheckOwner("key.owner", Times(256, "é")).ok());
  ExpectFault(CheckOwner("key.owner", Times(257, "é")), "FIELD_INVALID", "key.owner");
  for (const std::string& owner : kForbidden) ExpectFault(CheckOwner("key.owner", owner), "FIELD_INVALID", "key.owner");
}

TEST(Labels, KeysAndValuesHaveTheirForms) {
  google::protobuf::Map<std::string, std::string> labels;
  labels["team"] = "billing";
  labels["a" + Times(62, "0")] = Times(63, "鍵");
  labels["x_y-z"] = "";
  const auto good = LabelsOf("key.labels", labels);
  ASSERT_TRUE(good.ok()) << good.status();
  EXPECT_EQ(good->at("team"), "billing");
  EXPECT_EQ(good->size(), 3u);

  for (const std::string& key :
       {std::string(), std::string("Team"), std::string("0a"), std::string("_a"), std::string("a b"),
        std::string("a.b"), "a" + Times(63, "0"), std::string("é"), std::string("lk1_0123456789abcdef_secret")}) {
    google::protobuf::Map<std::string, std::string> bad;
    bad[key] = "v";
    ExpectFault(LabelsOf("key.labels", bad).status(), "FIELD_INVALID", "key.labels");
  }
  for (const std::string& value : {Times(64, "a"), std::string("a\nb")}) {
    google::protobuf::Map<std::string, std::string> bad;
    bad["team"] = value;
    ExpectFault(LabelsOf("key.labels", bad).status(), "FIELD_INVALID", "key.labels.team");
  }
}

TEST(Labels, ThirtyTwoAreFineAndThirtyThreeAreNot) {
  google::protobuf::Map<std::string, std::string> labels;
  for (int i = 0; i < 32; ++i) labels["l" + std::to_string(i)] = "v";
  EXPECT_TRUE(LabelsOf("key.labels", labels).ok());
  labels["one-more"] = "v";
  ExpectFault(LabelsOf("key.labels", labels).status(), "FIELD_INVALID", "key.labels");
}

TEST(Role, OfAnotherFormIsUnknownAndAMissingOneIsRequired) {
  EXPECT_TRUE(CheckRole("key.role", "editor", "acme").ok());
  EXPECT_TRUE(CheckRole("key.role", "not-there-but-well-formed", "acme").ok());
  ExpectFault(CheckRole("key.role", "", "acme"), "FIELD_REQUIRED", "key.role");
  for (const std::string& role : {std::string("Editor"), std::string("editor "), std::string("editor\n"),
                                  std::string("organizations/acme/roles/editor"), Times(64, "a")}) {
    ExpectFault(CheckRole("key.role", role, "acme"), "ROLE_UNKNOWN", "key.role");
  }
}

TEST(Role, ErrorQuotesLittleOfAHugeOne) {
  EXPECT_LT(CheckRole("key.role", Times(60000, "A"), "acme").message().size(), 300u);
}

TEST(Time, OutsideItsRangeIsInvalid) {
  google::protobuf::Timestamp time;
  time.set_seconds(1893456000);
  time.set_nanos(123456789);
  const absl::StatusOr<absl::Time> good = TimeOf("key.expire_time", time);
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(*good, absl::FromUnixMicros(1893456000123456));
  time.set_nanos(1'000'000'000);
  ExpectFault(TimeOf("key.expire_time", time).status(), "FIELD_INVALID", "key.expire_time");
  time.set_nanos(-1);
  ExpectFault(TimeOf("key.expire_time", time).status(), "FIELD_INVALID", "key.expire_time");
  time.set_nanos(0);
  for (const int64_t seconds : {int64_t{253402300800}, int64_t{-62135596801}, INT64_MAX, INT64_MIN}) {
    time.set_seconds(seconds);
    ExpectFault(TimeOf("key.expire_time", time).status(), "FIELD_INVALID", "key.expire_time");
  }
}

TEST(Ttl, IsOneSecondToAHundredYears) {
  google::protobuf::Duration ttl;
  for (const int64_t seconds : {int64_t{1}, int64_t{3600}, int64_t{3155760000}}) {
    ttl.set_seconds(seconds);
    const absl::StatusOr<absl::Duration> good = TtlOf("key.ttl", ttl);
    ASSERT_TRUE(good.ok()) << good.status();
    EXPECT_EQ(*good, absl::Seconds(seconds));
  }
  for (const auto& [seconds, nanos] : {std::pair<int64_t, int>{0, 0},
                                       {0, 999'999'999},
                                       {-1, 0},
                                       {3155760000, 1},
                                       {5, -1},
                                       {5, 1'000'000'000},
                                       {INT64_MAX, 0},
                                       {INT64_MIN, 0}}) {
    ttl.set_seconds(seconds);
    ttl.set_nanos(nanos);
    ExpectFault(TtlOf("key.ttl", ttl).status(), "FIELD_INVALID", "key.ttl");
  }
}

TEST(RequestId, IsAUuidInAnyCase) {
  EXPECT_EQ(RequestIdOf("request_id", "").value(), "");
  EXPECT_EQ(RequestIdOf("request_id", "0F8FAD5B-D9CB-469f-a165-70867728950e").value(),
            "0f8fad5b-d9cb-469f-a165-70867728950e");
  for (const std::string& bad :
       {std::string("1"), std::string("0f8fad5bd9cb469fa16570867728950e"),
        std::string("0f8fad5b-d9cb-469f-a165-70867728950g"), std::string("{0f8fad5b-d9cb-469f-a165-70867728950}"),
        std::string("0f8fad5b-d9cb-469f-a165-70867728950e ")}) {
    ExpectFault(RequestIdOf("request_id", bad).status(), "FIELD_INVALID", "request_id");
  }
}

TEST(PageSize, IsCoercedUpwardsAndRefusedBelowZero) {
  EXPECT_EQ(PageSizeOf(0).value(), 50);
  EXPECT_EQ(PageSizeOf(1).value(), 1);
  EXPECT_EQ(PageSizeOf(1000).value(), 1000);
  EXPECT_EQ(PageSizeOf(1001).value(), 1000);
  EXPECT_EQ(PageSizeOf(INT32_MAX).value(), 1000);
  ExpectFault(PageSizeOf(-1).status(), "FIELD_INVALID", "page_size");
}

TEST(Names, OfAnotherFormAreInvalidAndMissingOnesAreRequired) {
  EXPECT_EQ(OrganizationIdOf("parent", "organizations/acme").value(), "acme");
  ExpectFault(OrganizationIdOf("parent", "").status(), "FIELD_REQUIRED", "parent");
  for (const std::string& bad : {std::string("acme"), std::string("organizations/"), std::string("organizations/Acme"),
                                 std::string("organizations/acme/"), std::string("organizations/acme/keys/x")}) {
    ExpectFault(OrganizationIdOf("parent", bad).status(), "FIELD_INVALID", "parent");
  }
  const absl::StatusOr<core::KeyName> name = KeyNameIn("name", "organizations/acme/keys/0123456789ABCDEF");
  ASSERT_TRUE(name.ok());
  EXPECT_EQ(name->organization, "acme");
  EXPECT_EQ(name->kid, "0123456789ABCDEF");
  ExpectFault(KeyNameIn("name", "").status(), "FIELD_REQUIRED", "name");
  for (const std::string& bad : {std::string("organizations/acme"), std::string("organizations/acme/keys/short"),
                                 std::string("organizations/acme/keys/0123456789ABCDE!"),
                                 std::string("organizations/acme/roles/0123456789ABCDEF")}) {
    ExpectFault(KeyNameIn("name", bad).status(), "FIELD_INVALID", "name");
  }
}

TEST(RequiredPermissions, AreAtMost32OfThePermissionForm) {
  google::protobuf::RepeatedPtrField<std::string> permissions;
  for (int i = 0; i < 32; ++i) permissions.Add("app.p" + std::to_string(i));
  const auto good = RequiredPermissionsOf("required_permissions", permissions);
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(good->size(), 32u);
  permissions.Add("app.more");
  ExpectFault(RequiredPermissionsOf("required_permissions", permissions).status(), "FIELD_INVALID",
              "required_permissions");
  for (const std::string& bad : {std::string(), std::string("App.read"), std::string("app..read"), std::string(".app"),
                                 std::string("app read"), Times(129, "a")}) {
    google::protobuf::RepeatedPtrField<std::string> one;
    one.Add("app.read");
    one.Add(std::string(bad));
    ExpectFault(RequiredPermissionsOf("required_permissions", one).status(), "FIELD_INVALID",
                "required_permissions[1]");
  }
}

}  // namespace
}  // namespace latchkey::rpc
