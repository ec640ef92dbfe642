#include "server/rpc/transport/grpc/grpc_context.h"

#include <functional>
#include <utility>

#include "absl/strings/str_replace.h"

namespace latchkey::rpc {
namespace {

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
uint64_t GrpcContext<Call>::connection_serial() const {
  // gRPC has no number for a connection; address and port are its own while it is open. Those of Unix sockets all have
  // the same name.
  return peer_.address.empty() ? 0 : std::hash<std::string>()(peer_.name) | 1;
}

template class GrpcContext<UnaryCall>;
template class GrpcContext<StreamCall>;

}  // namespace latchkey::rpc
