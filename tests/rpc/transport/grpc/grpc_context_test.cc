#include "server/rpc/transport/grpc/grpc_context.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace latchkey::rpc {
namespace {

TEST(Peer, AddressIsWithoutPortBracketsAndZone) {
  EXPECT_EQ(PeerOf("ipv4:10.1.2.3:5000").address, "10.1.2.3");
  EXPECT_EQ(PeerOf("ipv6:[2001:db8::1]:5000").address, "2001:db8::1");
  EXPECT_EQ(PeerOf("ipv6:%5B2001:db8::1%5D:5000").address, "2001:db8::1");
  EXPECT_EQ(PeerOf("ipv6:%5bfe80::1%25eth0%5d:5000").address, "fe80::1");
  EXPECT_EQ(PeerOf("ipv6:[::ffff:10.0.0.1]:1").address, "::ffff:10.0.0.1");
}

TEST(Peer, WithoutAnAddressThereIsNone) {
  for (const char* const peer : {"unix:", "unix:/run/latchkey.sock", "", "ipv6:", "ipv6:]", "vsock:1:2"}) {
    EXPECT_EQ(PeerOf(peer).address, "") << peer;
  }
}

std::string TakenFrom(grpc::ByteBuffer buffer) {
  std::string bytes = TakeBytes(buffer);
  EXPECT_FALSE(buffer.Valid()) << "what was read is held once";
  return bytes;
}

TEST(GrpcBytes, OfSeveralSlicesAreJoinedAndLeaveTheBufferEmpty) {
  const std::vector<grpc::Slice> slices = {grpc::Slice(std::string("one ")), grpc::Slice(std::string("and ")),
                                           grpc::Slice(std::string("one"))};
  EXPECT_EQ(TakenFrom(grpc::ByteBuffer(slices.data(), slices.size())), "one and one");
  EXPECT_EQ(TakenFrom(BufferOf("")), "");
  EXPECT_EQ(TakenFrom(BufferOf(std::string(100'000, 'x'))), std::string(100'000, 'x'));
}

TEST(GrpcStatus, HasItsDetailsInTheTrailers) {
  google::rpc::Status status;
  EXPECT_TRUE(GrpcStatusOf(status).ok());
  status.set_code(7);
  status.set_message("no");
  EXPECT_EQ(GrpcStatusOf(status).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(GrpcStatusOf(status).error_details(), "");
  status.add_details()->set_type_url("t");
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(GrpcStatusOf(status).error_details()));
  EXPECT_EQ(details.message(), "no");
  EXPECT_EQ(details.details_size(), 1);
}

}  // namespace
}  // namespace latchkey::rpc
