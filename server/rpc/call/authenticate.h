#pragma once

#include <grpcpp/support/string_ref.h>

#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/keys/verify/key_verifier.h"
#include "server/model/principal.h"

namespace latchkey::rpc {

// The key string of the one `authorization: Bearer <key string>` header (scheme in any case). CREDENTIALS_MISSING
// without a header; CREDENTIALS_INVALID for several, for a comma-joined one and for another scheme. A view into
// `metadata`.
absl::StatusOr<std::string_view> BearerOf(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata);

// Who a verdict shows. Anything but ALLOWED is CREDENTIALS_INVALID and never says why; an error (could not decide)
// stays that error: an outage must not look like a bad key.
absl::StatusOr<keys::Principal> PrincipalOf(const absl::StatusOr<keys::Verdict>& verdict, const std::string& peer);

// The IP address in what gRPC calls a peer ("ipv4:10.0.0.1:5000", "ipv6:%5B2001:db8::1%5D:5000"), without port and
// zone: what a caller's own allowed_cidrs are compared with. "" for a Unix socket and for anything else.
std::string AddressOf(std::string_view peer);

}  // namespace latchkey::rpc
