#include "server/app/state_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace latchkey::app {
namespace {

using testing::HasCode;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::TempDirectory;

constexpr char kHex[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";

keys::LogPosition Position(int64_t revision) {
  std::string chain;
  for (int i = 0; i < 31; ++i) chain.push_back(static_cast<char>(i));
  return {revision, chain + "\xff"};
}

TEST(StateDirectory, KeepsAPositionForTheNextStart) {
  const TempDirectory directory;
  {
    absl::StatusOr<StateDirectory> state = StateDirectory::Open(directory.Child("state"));
    ASSERT_THAT(state, IsOk());
    ASSERT_THAT(state->Read(), IsOk());
    EXPECT_FALSE((*state->Read()).has_value());
    ASSERT_THAT(state->Save(Position(12)), IsOk());
    ASSERT_THAT(state->Save(Position(13)), IsOk());
  }
  const absl::StatusOr<StateDirectory> state = StateDirectory::Open(directory.Child("state"));
  ASSERT_THAT(state, IsOk());
  const auto read = state->Read();
  ASSERT_THAT(read, IsOk());
  ASSERT_TRUE(read->has_value());
  EXPECT_EQ((*read)->rev, 13);
  EXPECT_EQ((*read)->chain, Position(13).chain);
  EXPECT_EQ(testing::ReadFile(state->file()), absl::StrCat("latchkey position 1\nrevision 13\nchain ", kHex, "\n"));
  struct stat about {};
  ASSERT_EQ(stat(state->path().c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0700u);
}

TEST(StateDirectory, NothingIsKeptBeforeTheFirstLoadAndAnUnchangedPositionIsNotWrittenAgain) {
  const TempDirectory directory;
  absl::StatusOr<StateDirectory> state = StateDirectory::Open(directory.Child("state"));
  ASSERT_THAT(state, IsOk());
  ASSERT_THAT(state->Save({}), IsOk());
  EXPECT_FALSE((*state->Read()).has_value());
  ASSERT_THAT(state->Save(Position(1)), IsOk());
  ASSERT_EQ(remove(state->file().c_str()), 0);
  ASSERT_THAT(state->Save(Position(1)), IsOk());
  EXPECT_FALSE((*state->Read()).has_value());
  keys::LogPosition rewritten = Position(1);
  rewritten.chain[0] = 'x';
  ASSERT_THAT(state->Save(rewritten), IsOk());
  EXPECT_TRUE((*state->Read()).has_value()) << "the same revision of another history is another position";
}

TEST(StateDirectory, ADamagedPositionIsOneClearErrorAndNeverNoPosition) {
  const std::string good = absl::StrCat("latchkey position 1\nrevision 13\nchain ", kHex, "\n");
  std::vector<std::string> damaged = {"",
                                      "\n",
                                      good + "\n",
                                      good.substr(0, good.size() - 1),
                                      absl::StrCat("latchkey position 2\nrevision 13\nchain ", kHex, "\n"),
                                      absl::StrCat("latchkey position 1\nrevision -1\nchain ", kHex, "\n"),
                                      absl::StrCat("latchkey position 1\nrevision 013\nchain ", kHex, "\n"),
                                      absl::StrCat("latchkey position 1\nrevision 13 4\nchain ", kHex, "\n"),
                                      absl::StrCat("latchkey position 1\nchain ", kHex, "\nrevision 13\n"),
                                      absl::StrCat("latchkey position 1\nrevision 13\nchain ", kHex, "00\n"),
                                      "latchkey position 1\nrevision 13\nchain \n"};
  damaged.push_back(good);
  damaged.back()[good.size() - 2] = 'g';
  for (const std::string& text : damaged) {
    const TempDirectory directory;
    const absl::StatusOr<StateDirectory> state = StateDirectory::Open(directory.path());
    ASSERT_THAT(state, IsOk());
    directory.WriteFile("position", text);
    EXPECT_THAT(state->Read(), HasCode(absl::StatusCode::kFailedPrecondition)) << text;
    EXPECT_THAT(std::string(state->Read().status().message()), HasSubstr("accept-history")) << text;
    EXPECT_THAT(std::string(state->Read().status().message()), HasSubstr(state->file())) << text;
  }
}

TEST(StateDirectory, ADirectoryThatOthersCanWriteIsRefused) {
  const TempDirectory directory;
  ASSERT_EQ(mkdir(directory.Child("open").c_str(), 0700), 0);
  ASSERT_EQ(chmod(directory.Child("open").c_str(), 0777), 0);
  EXPECT_THAT(StateDirectory::Open(directory.Child("open")), HasCode(absl::StatusCode::kPermissionDenied));
}

TEST(StateDirectory, AnOperatorSees16HexDigitsOfTheChain) {
  EXPECT_EQ(Described(Position(7)), "revision 7, chain 0001020304050607");
}

}  // namespace
}  // namespace latchkey::app
