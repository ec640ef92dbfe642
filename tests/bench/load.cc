#include "tests/bench/load.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <atomic>
#include <chrono>
#include <latch>
#include <optional>

#include "absl/strings/str_cat.h"
#include "tests/bench/closed_loop.h"

namespace latchkey::bench {
namespace {

constexpr std::chrono::seconds kDeadline{10};

// One call after the other on one channel. Its callbacks run one at a time.
class Slot {
 public:
  Slot(std::shared_ptr<grpc::Channel> channel, const Target& target, size_t first, const std::atomic<Phase>& phase,
       std::latch& over)
      : stub_(std::move(channel)), target_(target), next_(first), phase_(phase), over_(over) {}

  void Start() {
    context_.emplace();
    PrepareContext(*context_, target_.bearer);
    response_.Clear();
    const grpc::ByteBuffer& request = target_.requests[next_++ % target_.requests.size()];
    began_ = NowNanoseconds();
    stub_.UnaryCall(&*context_, target_.method, grpc::StubOptions(), &request, &response_,
                    [this](const grpc::Status& status) { Done(status); });
  }

  Histogram latency;
  int64_t failures = 0;
  int64_t refused = 0;
  std::string first_failure;

 private:
  void Done(const grpc::Status& status) {
    const int64_t took = NowNanoseconds() - began_;
    if (!status.ok()) {
      if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) ++refused;
      Fail(absl::StrCat("code ", static_cast<int>(status.error_code()), ": ", status.error_message()));
    } else if (calls_++ % target_.look_at_one_in == 0 && !target_.is_right(response_)) {
      Fail("another answer than expected");
    }
    const Phase phase = phase_.load(std::memory_order_relaxed);
    if (phase == Phase::kMeasured) latency.Add(took);
    if (phase == Phase::kOver) {
      over_.count_down();
    } else {
      Start();
    }
  }
  void Fail(const std::string& why) {
    if (failures++ == 0) first_failure = why;
  }

  grpc::GenericStub stub_;
  const Target& target_;
  size_t next_;
  const std::atomic<Phase>& phase_;
  std::latch& over_;
  std::optional<grpc::ClientContext> context_;
  grpc::ByteBuffer response_;
  int64_t began_ = 0;
  int64_t calls_ = 0;
};

}  // namespace

int64_t NowNanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void PrepareContext(grpc::ClientContext& context, const std::string& bearer) {
  context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  if (!bearer.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", bearer));
}

Channels Connect(const std::string& address, int count) {
  Channels channels;
  for (int i = 0; i < count; ++i) {
    grpc::ChannelArguments arguments;
    // Otherwise all channels to one address share one connection.
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    channels.push_back(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
    channels.back()->WaitForConnected(std::chrono::system_clock::now() + kDeadline);
  }
  return channels;
}

grpc::ByteBuffer Serialised(const google::protobuf::Message& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return {&slice, 1};
}

bool Parse(grpc::ByteBuffer& bytes, google::protobuf::Message& message) {
  grpc::ProtoBufferReader reader(&bytes);
  return message.ParseFromZeroCopyStream(&reader);
}

Measurement RunClosedLoop(const Channels& channels, const Target& target, int in_flight, absl::Duration warm_up,
                          absl::Duration length, pid_t server) {
  std::atomic<Phase> phase = Phase::kWarmUp;
  std::latch over(static_cast<std::ptrdiff_t>(channels.size()) * in_flight);
  std::vector<std::unique_ptr<Slot>> slots;
  for (const auto& channel : channels) {
    for (int i = 0; i < in_flight; ++i) {
      slots.push_back(std::make_unique<Slot>(channel, target, slots.size() * 7, phase, over));
    }
  }
  for (const auto& slot : slots) slot->Start();
  return MeasureLoops(slots, phase, over, warm_up, length, server);
}

grpc::Status CallOnce(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                      const std::string& bearer, const grpc::ByteBuffer& request, grpc::ByteBuffer& response,
                      int64_t& took) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  PrepareContext(context, bearer);
  grpc::Status status;
  std::latch done(1);
  const int64_t began = NowNanoseconds();
  stub.UnaryCall(&context, method, grpc::StubOptions(), &request, &response, [&](grpc::Status ended) {
    took = NowNanoseconds() - began;
    status = std::move(ended);
    done.count_down();
  });
  done.wait();
  return status;
}

}  // namespace latchkey::bench
