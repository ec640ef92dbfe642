#include "server/storage/postgres/copy_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "server/model/time_range.h"
#include "server/storage/postgres/sql_failure.h"

// COPY's binary format byte by byte; what PostgreSQL really sends is in the snapshot's cases.
namespace latchkey::contract {
namespace {

using storage::postgres::CopyReader;
using storage::postgres::JsonStrings;

const std::string kHeader("PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19);
const std::string kTrailer("\377\377", 2);
// A row of the text "ab", a NULL and the number 258.
const std::string kRow("\0\3\0\0\0\2ab\377\377\377\377\0\0\0\4\0\0\1\2", 20);

TEST(CopyReader, ReadsTheFieldsOfARow) {
  CopyReader reader;
  const std::string message = kHeader + kRow;
  ASSERT_TRUE(reader.Next(message));
  EXPECT_EQ(reader.Text(), "ab");
  EXPECT_EQ(reader.Field(), std::nullopt);
  EXPECT_EQ(CopyReader::Int32From(reader.Text()), 258);
  EXPECT_EQ(reader.Rest(), "");
  ASSERT_TRUE(reader.Next(kRow)) << "the header comes once";
  EXPECT_EQ(reader.Text(), "ab");
  EXPECT_FALSE(reader.Next(kTrailer));
}

TEST(CopyReader, ATableWithoutRowsIsAHeaderAndAnEnd) {
  CopyReader reader;
  EXPECT_FALSE(reader.Next(kHeader));
  EXPECT_FALSE(reader.Next(kTrailer));
  CopyReader at_once;
  EXPECT_FALSE(at_once.Next(kHeader + kTrailer));
}

TEST(CopyReader, RefusesWhatEndsTooEarlyWhereverItEnds) {
  const std::string whole = kHeader + kRow;
  for (size_t size = 0; size < whole.size(); ++size) {
    if (size == kHeader.size()) continue;  // A table without rows.
    const std::string cut = whole.substr(0, size);
    EXPECT_THROW(
        {
          CopyReader reader;
          reader.Next(cut);
          reader.Text();
          reader.Field();
          reader.Text();
        },
        std::invalid_argument)
        << size;
  }
}

TEST(CopyReader, RefusesAnotherSignatureAndNullWhereThereMustBeAValue) {
  CopyReader reader;
  EXPECT_THROW(reader.Next(std::string(40, 'x')), std::invalid_argument);
  const std::string null("\377\377\377\377", 4);
  CopyReader of_null = CopyReader::OfFields(null);
  EXPECT_THROW(of_null.Text(), std::invalid_argument);
}

TEST(CopyReader, KnowsTheEndsOfTime) {
  const std::string fields(
      "\0\0\0\10\177\377\377\377\377\377\377\377"
      "\0\0\0\10\200\0\0\0\0\0\0\0"
      "\0\0\0\10\0\0\0\0\0\0\0\1",
      36);
  CopyReader reader = CopyReader::OfFields(fields);
  EXPECT_EQ(reader.Time(), absl::InfiniteFuture());
  EXPECT_EQ(reader.Time(), absl::InfinitePast());
  EXPECT_EQ(reader.Time(), absl::FromUnixSeconds(946'684'800) + absl::Microseconds(1));
}

std::string TimeField(int64_t us_since_2000) {
  std::string field("\0\0\0\10", 4);
  for (int shift = 56; shift >= 0; shift -= 8) field += static_cast<char>(us_since_2000 >> shift & 0xff);
  return field;
}

TEST(CopyReader, RefusesTimesThatNoRecordMayHave) {
  constexpr int64_t kSince2000 = 946'684'800'000'000;
  for (const int64_t us : {keys::kFirstMicrosecond, keys::kLastMicrosecond}) {
    const std::string field = TimeField(us - kSince2000);
    EXPECT_EQ(CopyReader::OfFields(field).Time(), absl::FromUnixMicros(us));
  }
  // The last is the end of PostgreSQL's year 294276, which since 1970 is more than 64 bits.
  for (const int64_t us : {keys::kFirstMicrosecond - kSince2000 - 1, keys::kLastMicrosecond - kSince2000 + 1,
                           int64_t{9'223'371'331'199'999'999}}) {
    const std::string field = TimeField(us);
    EXPECT_THROW(CopyReader::OfFields(field).Time(), storage::postgres::UnreadableRow) << us;
  }
}

TEST(JsonStrings, UnescapesInPlace) {
  std::string json = R"({"a": "x\ny", "\"\\": "\u0001\u00e9"})";
  std::vector<std::string_view> strings;
  JsonStrings(json, strings);
  EXPECT_THAT(strings, ::testing::ElementsAre("a", "x\ny", "\"\\", "\x01\u00e9"));
}

TEST(JsonStrings, RefusesWhatIsCutOrNoEscape) {
  for (const char* text : {"[\"a", "[\"a\\", "[\"\\u12", "[\"\\x\"", "[\"\\u00zz\"", "[\"\\ud83d\""}) {
    std::string json = text;
    std::vector<std::string_view> strings;
    EXPECT_THROW(JsonStrings(json, strings), std::invalid_argument) << text;
  }
}

}  // namespace
}  // namespace latchkey::contract
