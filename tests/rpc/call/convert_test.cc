#include "server/rpc/call/convert.h"

#include <gtest/gtest.h>

namespace latchkey::rpc {
namespace {

TEST(TimeConversion, TimeBeforeTheEpochHasPositiveNanos) {
  google::protobuf::Timestamp time;
  ToProto(absl::FromUnixMillis(-1500), &time);
  EXPECT_EQ(time.seconds(), -2);
  EXPECT_EQ(time.nanos(), 500'000'000);
}

const core::RevisionToken kRevision = {7, {'h', 'i', 's', 't', 'o', 'r', 'y', '1'}};

TEST(RevisionConversion, NumberAndTokenSayTheSame) {
  v1::Revision first;
  v1::Revision second;
  v1::Revision again;
  ToProto(kRevision, &first);
  ToProto(core::RevisionToken{7, {'o', 't', 'h', 'e', 'r', '.', '.', '.'}}, &second);
  ToProto(kRevision, &again);
  EXPECT_EQ(first.number(), 7);
  EXPECT_EQ(core::RevisionToken::Decode(first.token()), kRevision);
  EXPECT_NE(first.token(), second.token());
  EXPECT_EQ(first.token(), again.token());
  ToProto(core::RevisionToken(), &again);
  EXPECT_EQ(core::RevisionToken::Decode(again.token()), core::RevisionToken());
}

}  // namespace
}  // namespace latchkey::rpc
