#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/core/revision_token.h"
#include "latchkey/v1/key_verify.pb.h"
#include "server/keys/verify/verify_query.h"
#include "server/model/key_store.h"

// KeyVerify's requests in, values of the domain out. Each function refuses a field that is set and not supported
// (FIELD_NOT_SUPPORTED), checks every value (server/rpc/call/validate.h) and converts; none looks at anything but its
// arguments.
namespace latchkey::rpc {

// Writes every field of `out`, which may have been used before: that costs no memory anew. `index`: the request's in a
// batch, whose errors name "requests[3].client.ip"; -1 = it is alone. An empty or wrong key is no fault of the request:
// its verdict is MALFORMED.
absl::Status ReadVerifyQuery(const v1::VerifyRequest& request, int index, keys::VerifyQuery& out);
// 1..100 requests; they are checked one by one, by the function above.
absl::Status CheckBatch(const v1::BatchVerifyRequest& request);

// A batch of a stream, its items aside.
inline constexpr int kMaxStreamBatch = 64;
// 1..64 requests and the timeout: 1 ms .. 60 s, unset = 2 s.
absl::StatusOr<absl::Duration> BatchTimeoutOf(const v1::StreamVerifyRequest& request);

// The first message of a Watch.
struct Subscription {
  std::vector<std::string> organizations;  // Sorted, no duplicates. Empty = all that the caller may verify.
  core::RevisionToken resume;              // Revision 0 = none.
};
absl::StatusOr<Subscription> SubscriptionOf(const v1::WatchRequest& request);
// Each later one.
struct Ping {
  uint64_t seq = 0;
  std::optional<core::RevisionToken> acknowledged;
};
absl::StatusOr<Ping> PingOf(const v1::WatchRequest& request);

// A client's report, its `reporter` unset. `now`: the database's clock; a later last use counts as now, one more than
// 48 hours earlier as 48 hours earlier.
absl::StatusOr<storage::UseReport> UseReportOf(const v1::ReportUsageRequest& request, absl::Time now);

}  // namespace latchkey::rpc
