#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "latchkey/v1/key_admin.grpc.pb.h"
#include "latchkey/v1/key_verify.grpc.pb.h"

namespace latchkey::faults {

// How a call ended.
struct Reply {
  int code = 0;        // grpc::StatusCode.
  std::string reason;  // The server's; "" if it did not answer (killed, deadline).
  std::string name;    // The resource that the error names, if any.
  absl::Duration retry_after = absl::ZeroDuration();
  std::string message;

  bool ok() const { return code == 0; }
  // The server says that nothing was changed. False also for OK.
  bool refused() const;
  // A refusal for want of room or a lock: the same call may succeed in a moment.
  bool busy() const;
};
std::ostream& operator<<(std::ostream& out, const Reply& reply);

// A UUID, another one for other numbers.
std::string RequestId(int round, int thread, int count);

// A channel that comes back quickly after its server did.
std::shared_ptr<grpc::Channel> ChannelTo(const std::string& address);

// Calls in the name of one key. Thread-safe. Every call has `deadline`.
class Caller {
 public:
  Caller(const std::shared_ptr<grpc::Channel>& channel, const std::string& key_string,
         absl::Duration deadline = absl::Seconds(10));

  // A key of organization `acme` with this display name; `created` may be nullptr.
  Reply Create(const std::string& role, const std::string& display_name, const std::string& request_id,
               v1::CreateKeyResponse* created) const;
  Reply Delete(const std::string& name) const;
  Reply SetRole(const std::string& name, const std::string& role) const;
  Reply Get(const std::string& name, v1::Key* key) const;
  Reply CreateOrganization(const std::string& id) const;
  // All live keys of `acme`.
  Reply List(std::vector<v1::Key>* keys) const;
  // The decision about each key string, in order. Insists until each is decided, at most half a minute;
  // DECISION_UNSPECIFIED for what is not decided by then.
  std::vector<v1::Decision> Verify(const std::vector<std::string>& key_strings) const;

 private:
  template <typename Stub, typename Request, typename Response>
  Reply Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
             const Request& request, Response* response) const;

  const std::unique_ptr<v1::KeyAdmin::Stub> admin_;
  const std::unique_ptr<v1::KeyVerify::Stub> verify_;
  const std::string authorization_;
  const absl::Duration deadline_;
};

// Repeats `call` while its reply is `busy`, waiting as long as the server asks; half a minute at most.
template <typename Call>
Reply WhileBusy(Call call);
// Repeats `call` until the server gives an answer that is neither busy nor UNAVAILABLE; half a minute at most.
template <typename Call>
Reply Insist(Call call);

// --- Details. ---
bool WaitToRepeat(const Reply& reply, bool also_unavailable, absl::Time give_up);

template <typename Call>
Reply WhileBusy(Call call) {
  const absl::Time give_up = absl::Now() + absl::Seconds(30);
  Reply reply = call();
  while (WaitToRepeat(reply, false, give_up)) reply = call();
  return reply;
}

template <typename Call>
Reply Insist(Call call) {
  const absl::Time give_up = absl::Now() + absl::Seconds(30);
  Reply reply = call();
  while (WaitToRepeat(reply, true, give_up)) reply = call();
  return reply;
}

}  // namespace latchkey::faults
