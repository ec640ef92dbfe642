#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/rpc/transport/call_charge.h"
#include "server/rpc/transport/transport.h"

namespace latchkey::rpc {

// The parts of what gRPC calls a peer: "ipv4:10.0.0.1:5000", "ipv6:%5B2001:db8::1%5D:5000", "unix:...".
Peer PeerOf(std::string name);

// google.rpc.Status as gRPC sends it, itself in grpc-status-details-bin.
grpc::Status GrpcStatusOf(const google::rpc::Status& status);

// The bytes of a buffer, which is empty afterwards: what was read is held once.
std::string TakeBytes(grpc::ByteBuffer& buffer);
// Takes the bytes over, without a copy.
grpc::ByteBuffer BufferOf(std::string bytes);

// What the calls of a server share; all outlive them.
struct GrpcCallDependencies {
  Admission& admission;
  // The wire form of an error that the transport itself answers with.
  std::function<google::rpc::Status(const absl::Status& status)> wire_status;
};

// CallContext of one of gRPC's calls, and what it is charged for. `Call`: UnaryCall or StreamCall.
template <typename Call>
class GrpcContext : public Call, private OpenCall {
 public:
  GrpcContext(const GrpcCallDependencies& dependencies, grpc::CallbackServerContext& context, AnonymousClass of);
  ~GrpcContext() override { charge_.connection().RemoveCall(*this); }

  CallContext::Values Metadata(std::string_view name) const override {
    CallContext::Values values;
    const auto [first, last] = context_.client_metadata().equal_range(grpc::string_ref(name.data(), name.size()));
    for (auto entry = first; entry != last; ++entry) values.emplace_back(entry->second.data(), entry->second.size());
    return values;
  }
  std::optional<absl::Duration> TimeLeft() const override {
    const auto deadline = context_.deadline();
    if (deadline == std::chrono::system_clock::time_point::max()) return std::nullopt;
    return absl::FromChrono(deadline - std::chrono::system_clock::now());
  }
  bool IsCancelled() const override { return context_.IsCancelled(); }
  const Peer& peer() const override { return peer_; }
  std::vector<std::string> CertificateNames() const override;
  uint64_t connection_serial() const override { return charge_.connection().serial(); }

 protected:
  // Why the call can't begin, WORKERS_BUSY or a fault of its metadata; OK if it can. Once, at the start.
  absl::Status Admit(size_t places);
  grpc::CallbackServerContext& context() { return context_; }
  const GrpcCallDependencies& dependencies() const { return dependencies_; }
  CallCharge& charge() { return charge_; }
  void StartWork() { charge_.StartWork(*this); }

 private:
  std::function<void()> Canceller() const override;

  const GrpcCallDependencies& dependencies_;
  grpc::CallbackServerContext& context_;
  const Peer peer_;
  CallCharge charge_;
};

extern template class GrpcContext<UnaryCall>;
extern template class GrpcContext<StreamCall>;

}  // namespace latchkey::rpc
