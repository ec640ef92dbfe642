#include "server/base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "client/core/key_format.h"
#include "nlohmann/json.hpp"

namespace latchkey::log {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string kKid = "0123456789ABCDEF";
const std::string kTail(61, 'z');

nlohmann::json Parsed(const std::string& members) { return nlohmann::json::parse("{" + members + "}"); }

TEST(Log, LineIsOneJsonObjectWithTimeLevelMessageAndFields) {
  testing::internal::CaptureStderr();
  Warning("key created", {{"key", "organizations/acme/keys/x"}, {"ms", 12}, {"replayed", false}});
  const std::string line = testing::internal::GetCapturedStderr();
  ASSERT_EQ(line.find('\n'), line.size() - 1);
  const nlohmann::json json = nlohmann::json::parse(line);
  EXPECT_THAT(json["ts"].get<std::string>(),
              testing::MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z"));
  EXPECT_EQ(json["level"], "warning");
  EXPECT_EQ(json["msg"], "key created");
  EXPECT_EQ(json["key"], "organizations/acme/keys/x");
  EXPECT_EQ(json["ms"], 12);
  EXPECT_EQ(json["replayed"], false);
}

TEST(Log, LineBelowTheLevelIsDropped) {
  testing::internal::CaptureStderr();
  SetLevel(Level::kError);
  Warning("quiet");
  Error("loud");
  SetLevel(Level::kInfo);
  const std::string out = testing::internal::GetCapturedStderr();
  EXPECT_THAT(out, Not(HasSubstr("quiet")));
  EXPECT_THAT(out, HasSubstr("loud"));
}

TEST(Log, TextThatLooksLikeFormattingOrJsonIsJustText) {
  const std::string text = "{} %v %l \"quoted\" \\ \n\t\x1b[31m";
  testing::internal::CaptureStderr();
  Warning(text, {{"name", text}});
  const nlohmann::json json = nlohmann::json::parse(testing::internal::GetCapturedStderr());
  EXPECT_EQ(json["msg"], text);
  EXPECT_EQ(json["name"], text);
}

TEST(Log, InvalidUtf8AndTerminalControlsStayOutOfTheLine) {
  const std::string members = Members("m", {{"bad",
                                             "a\xff"
                                             "b"},
                                            {"bidi",
                                             "\xE2\x80\xAE"
                                             "x"},
                                            {"c1", "\xC2\x9B"}});
  for (const char c : members) EXPECT_TRUE(c >= 0x20 && c < 0x7f) << static_cast<int>(c);
  EXPECT_EQ(Parsed(members)["bidi"],
            "\xE2\x80\xAE"
            "x");
}

TEST(Redaction, KeyStringLosesEverythingAfterItsKid) {
  EXPECT_EQ(Redacted("got acme_live_lk1_" + kKid + "_" + kTail + " from x"),
            "got acme_live_lk1_" + kKid + "_[redacted] from x");
}

TEST(Redaction, TruncatedAndRepeatedKeyStringsAreRedactedToo) {
  EXPECT_EQ(Redacted("lk1_" + kKid + "_s"), "lk1_" + kKid + "_[redacted]");
  const std::string key = "lk1_" + kKid + "_" + kTail;
  EXPECT_EQ(Redacted(key + "," + key), "lk1_" + kKid + "_[redacted],lk1_" + kKid + "_[redacted]");
  EXPECT_EQ(Redacted("lk1_lk1_" + kKid + "_" + kTail), "lk1_lk1_" + kKid + "_[redacted]");
}

TEST(Redaction, WhatLooksLikeTheBeginningOfAnotherKeyStringHidesNone) {
  const std::string key = "lk1_" + kKid + "_" + kTail;
  EXPECT_EQ(Redacted("lk1_" + kKid + "_" + key), "lk1_" + kKid + "_[redacted]_" + kKid + "_[redacted]");
  // Its kid ends in the marker of the other.
  EXPECT_EQ(Redacted("lk1_" + kKid.substr(0, 13) + key), "lk1_" + kKid.substr(0, 13) + "lk1_[redacted]_[redacted]");
}

TEST(Redaction, TextWithoutAKeyStringIsKeptByteForByte) {
  for (const std::string& text : {std::string(), std::string("lk1_"), "lk1_" + kKid, "lk1_" + kKid + "_",
                                  "lk1_" + kKid + "-" + kTail, "lk1_0123456789ABCDE!_" + kTail,
                                  std::string("lk1_AbCd\xE2\x80\xA6"
                                              "f3Kz"),
                                  std::string("\0\xff", 2)}) {
    EXPECT_EQ(Redacted(text), text);
  }
}

TEST(Redaction, AppliesToMessagesAndToValues) {
  const std::string key = "lk1_" + kKid + "_" + kTail;
  const std::string members = Members("saw " + key, {{"key", key}, {key, "x"}});
  EXPECT_THAT(members, Not(HasSubstr(kTail)));
  EXPECT_THAT(members, HasSubstr("saw lk1_" + kKid + "_[redacted]"));
}

}  // namespace
}  // namespace latchkey::log
