#include "server/rpc/admin/page_token.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "google/rpc/status.pb.h"
#include "server/base/errors.h"
#include "server/model/built_in_roles.h"
#include "server/rpc/admin/list_page.h"

namespace latchkey::rpc {
namespace {

const PageScope kScope = {.method = "latchkey.v1.KeyAdmin/ListKeys",
                          .parent = "acme",
                          .show_deleted = true,
                          .assignable_only = false,
                          .caller_kid = "0123456789ABCDEF"};

void ExpectRefused(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(errors::NameOf(errors::ReasonOf(status)), "PAGE_TOKEN_INVALID");
}

TEST(PageToken, OpensToWhatWasSealed) {
  const keys::KeyRing ring = keys::KeyRing::Generate();
  const std::string position("1893456000:\0kid", 15);
  const std::string token = SealPageToken(ring, kScope, position);
  EXPECT_EQ(token.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
            std::string::npos)
      << token;
  EXPECT_EQ(OpenPageToken(ring, kScope, token).value(), position);
}

TEST(PageToken, IsWorthNothingInAnotherScope) {
  const keys::KeyRing ring = keys::KeyRing::Generate();
  const std::string token = SealPageToken(ring, kScope, "position");
  std::vector<PageScope> others(5, kScope);
  others[0].method = "latchkey.v1.KeyAdmin/ListRoles";
  others[1].parent = "other";
  others[2].show_deleted = false;
  others[3].assignable_only = true;
  others[4].caller_kid = "FEDCBA9876543210";
  for (const PageScope& other : others) ExpectRefused(OpenPageToken(ring, other, token).status());
  ExpectRefused(OpenPageToken(keys::KeyRing::Generate(), kScope, token).status());
}

TEST(PageToken, PartsCanNotBeShiftedFromOneToTheNext) {
  const keys::KeyRing ring = keys::KeyRing::Generate();
  PageScope a = kScope;
  a.method = "ab";
  a.parent = "c";
  PageScope b = kScope;
  b.method = "a";
  b.parent = "bc";
  ExpectRefused(OpenPageToken(ring, b, SealPageToken(ring, a, "p")).status());
}

TEST(PageToken, AnyOtherTextIsRefused) {
  const keys::KeyRing ring = keys::KeyRing::Generate();
  const std::string token = SealPageToken(ring, kScope, "position");
  for (const std::string& other : {std::string("x"), std::string("====="), std::string("not base64 !!"), token + "A",
                                   token + "=", token + "\n", " " + token, token.substr(1),
                                   token.substr(0, token.size() - 1), std::string(100000, 'A'), std::string("\0", 1)}) {
    ExpectRefused(OpenPageToken(ring, kScope, other).status());
  }
  for (size_t i = 0; i < token.size(); ++i) {
    std::string changed = token;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    ExpectRefused(OpenPageToken(ring, kScope, changed).status());
  }
}

TEST(KeyPosition, SurvivesFormatting) {
  const KeyPosition position{.created_at = absl::FromUnixMicros(1893456000123456), .kid = "0123456789ABCDEF"};
  const absl::StatusOr<KeyPosition> back = ParseKeyPosition(FormatKeyPosition(position));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->created_at, position.created_at);
  EXPECT_EQ(back->kid, position.kid);
  for (const std::string& bad :
       {std::string(), std::string("1"), std::string("x:0123456789ABCDEF"), std::string("1:kid"),
        std::string(" 1:0123456789ABCDEF"), std::string("+1:0123456789ABCDEF"), std::string("01:0123456789ABCDEF")}) {
    ExpectRefused(ParseKeyPosition(bad).status());
  }
}

TEST(ListPage, EndsEarlyAtOneMebibyteAndHoldsAtLeastOneItem) {
  const std::vector<size_t> sizes = {400 << 10, 400 << 10, 400 << 10};
  const auto fill = [](size_t size, google::rpc::Status* out) { out->set_message(std::string(size, 'x')); };
  google::protobuf::RepeatedPtrField<google::rpc::Status> page;
  EXPECT_EQ(FillPage(sizes, &page, fill), 2u);
  EXPECT_EQ(page.size(), 2);
  google::protobuf::RepeatedPtrField<google::rpc::Status> huge;
  EXPECT_EQ(FillPage(std::vector<size_t>{2 << 20, 1}, &huge, fill), 1u);
  google::protobuf::RepeatedPtrField<google::rpc::Status> small;
  EXPECT_EQ(FillPage(std::vector<size_t>{1, 2, 3}, &small, fill), 3u);
  google::protobuf::RepeatedPtrField<google::rpc::Status> none;
  EXPECT_EQ(FillPage(std::vector<size_t>{}, &none, fill), 0u);
}

}  // namespace
}  // namespace latchkey::rpc
