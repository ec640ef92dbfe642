#include "server/rpc/transport/grpc/grpc_context.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "server/base/errors.h"
#include "server/rpc/transport/acceptor.h"

namespace latchkey::rpc {
namespace {

constexpr size_t kMetadataEntry = 32;  // What HTTP/2 adds to each for its table.

std::string AddressOf(std::string_view peer) {
  constexpr std::string_view kIpv4 = "ipv4:";
  constexpr std::string_view kIpv6 = "ipv6:";
  if (peer.substr(0, kIpv4.size()) == kIpv4) {
    peer.remove_prefix(kIpv4.size());
    return std::string(peer.substr(0, peer.rfind(':')));
  }
  if (peer.substr(0, kIpv6.size()) != kIpv6) return "";
  peer.remove_prefix(kIpv6.size());
  // gRPC writes a peer as a URI, of which brackets and the zone's "%" are no part.
  const std::string bracketed = absl::StrReplaceAll(absl::string_view(peer.data(), peer.size()),
                                                    {{"%5B", "["}, {"%5b", "["}, {"%5D", "]"}, {"%5d", "]"}});
  const size_t first = bracketed.find('[');
  const size_t last = bracketed.find_first_of("]%", first == std::string::npos ? 0 : first);
  if (first == std::string::npos || last == std::string::npos) return "";
  return bracketed.substr(first + 1, last - first - 1);
}

// As the acceptor names it. Those of Unix sockets all have one name; there the object tells them apart that gRPC makes
// for each connection, whose address is its own as long as the connection or a call of it lives.
std::string NameOf(const Peer& peer, grpc::CallbackServerContext& context) {
  if (!peer.address.empty()) return ConnectionNameOf(peer.address, peer.name.substr(peer.name.rfind(':') + 1));
  grpc_auth_context* const authenticated = grpc_call_auth_context(context.c_call());
  std::string name = absl::StrCat("grpc ", absl::Hex(reinterpret_cast<uintptr_t>(authenticated)));
  grpc_auth_context_release(authenticated);
  return name;
}

}  // namespace

Peer PeerOf(std::string name) {
  std::string address = AddressOf(name);
  return {.name = std::move(name), .address = std::move(address)};
}

grpc::Status GrpcStatusOf(const google::rpc::Status& status) {
  const auto code = static_cast<grpc::StatusCode>(status.code());
  if (code == grpc::StatusCode::OK) return grpc::Status::OK;
  return status.details().empty() ? grpc::Status(code, status.message())
                                  : grpc::Status(code, status.message(), status.SerializeAsString());
}

std::string TakeBytes(grpc::ByteBuffer& buffer) {
  std::string bytes;
  grpc::Slice single;
  std::vector<grpc::Slice> slices;
  if (buffer.TrySingleSlice(&single).ok()) {
    bytes.assign(reinterpret_cast<const char*>(single.begin()), single.size());
  } else if (buffer.Dump(&slices).ok()) {
    bytes.reserve(buffer.Length());
    for (const grpc::Slice& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  buffer.Clear();
  return bytes;
}

grpc::ByteBuffer BufferOf(std::string bytes) {
  auto* const owned = new std::string(std::move(bytes));
  const grpc::Slice slice(
      owned->data(), owned->size(), [](void* gone) { delete static_cast<std::string*>(gone); }, owned);
  return grpc::ByteBuffer(&slice, 1);
}

template <typename Call>
GrpcContext<Call>::GrpcContext(const GrpcCallDependencies& dependencies, grpc::CallbackServerContext& context,
                               AnonymousClass of)
    : dependencies_(dependencies),
      context_(context),
      peer_(PeerOf(context.peer())),
      charge_(dependencies.admission, dependencies.admission.connections().Of(NameOf(peer_, context)), of) {}

template <typename Call>
std::vector<std::string> GrpcContext<Call>::CertificateNames() const {
  std::vector<std::string> names;
  const std::shared_ptr<const grpc::AuthContext> authenticated = context_.auth_context();
  if (authenticated == nullptr || !authenticated->IsPeerAuthenticated()) return names;
  for (const grpc::string_ref& name : authenticated->FindPropertyValues("x509_subject_alternative_name")) {
    names.emplace_back(name.data(), name.size());
  }
  return names;
}

template <typename Call>
absl::Status GrpcContext<Call>::Admit(size_t places) {
  charge_.connection().AddCall(*this);
  if (absl::Status refused = charge_.Begin(places); !refused.ok()) return refused;
  size_t bytes = 0;
  for (const auto& [name, value] : context_.client_metadata()) bytes += name.size() + value.size() + kMetadataEntry;
  if (bytes <= dependencies_.admission.limits().metadata_bytes) return absl::OkStatus();
  // gRPC 1.51.1 holds a peer to its limit only once it has acknowledged the SETTINGS; until then it takes 16 MiB.
  if (charge_.connection().descriptor() >= 0) charge_.connection().Shut();
  return errors::WorkersBusy(kFullRetryAfter);
}

template <typename Call>
std::function<void()> GrpcContext<Call>::Canceller() const {
  grpc_call* const call = context_.c_call();
  grpc_call_ref(call);
  return [owned = std::shared_ptr<grpc_call>(call, grpc_call_unref)] { grpc_call_cancel(owned.get(), nullptr); };
}

template class GrpcContext<UnaryCall>;
template class GrpcContext<StreamCall>;

}  // namespace latchkey::rpc
