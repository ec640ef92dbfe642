#include "server/rpc/call/status_conversion.h"

#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "server/base/errors.h"
#include "server/base/log.h"

namespace latchkey::rpc {
namespace {

constexpr size_t kMaxText = 512;

// What may leave the server: a caller may have put a key string where a name belongs, and errors quote names.
std::string Outgoing(const std::string& text) {
  std::string out = log::Redacted(text);
  if (out.size() <= kMaxText) return out;
  size_t end = kMaxText;
  while (end > 0 && (static_cast<unsigned char>(out[end]) & 0xC0) == 0x80) --end;
  out.resize(end);
  return out + "...";
}

}  // namespace

bool IsHidden(const absl::Status& status) {
  if (status.ok() || status.code() == absl::StatusCode::kCancelled) return false;
  return status.code() == absl::StatusCode::kInternal || errors::ReasonOf(status) == errors::Reason::kNone;
}

google::rpc::Status RpcStatusOf(const absl::Status& status, const std::string& request_id) {
  if (status.ok()) return {};
  const bool internal = IsHidden(status);
  const bool cancelled = status.code() == absl::StatusCode::kCancelled;
  const errors::Detail detail = errors::DetailOf(status).value_or(errors::Detail{});

  google::rpc::ErrorInfo info;
  info.set_domain(kErrorDomain);
  info.set_reason(internal ? "INTERNAL" : cancelled ? "CANCELLED" : std::string(errors::NameOf(detail.reason)));
  if (!internal) {
    for (const auto& [name, value] : detail.metadata) (*info.mutable_metadata())[name] = Outgoing(value);
  }
  (*info.mutable_metadata())["request_id"] = request_id;

  google::rpc::Status out;
  out.set_code(static_cast<int>(internal ? absl::StatusCode::kInternal : status.code()));
  out.set_message(internal    ? absl::StrCat("internal error (request ", request_id, ")")
                  : cancelled ? "cancelled"
                              : Outgoing(std::string(status.message())));
  out.add_details()->PackFrom(info);
  if (internal) return out;
  if (!detail.field.empty()) {
    google::rpc::BadRequest bad_request;
    google::rpc::BadRequest::FieldViolation* violation = bad_request.add_field_violations();
    violation->set_field(Outgoing(detail.field));
    violation->set_description(Outgoing(detail.wanted));
    out.add_details()->PackFrom(bad_request);
  }
  if (detail.retry_after > absl::ZeroDuration()) {
    google::rpc::RetryInfo retry;
    const int64_t ns = absl::ToInt64Nanoseconds(detail.retry_after);
    retry.mutable_retry_delay()->set_seconds(ns / 1'000'000'000);
    retry.mutable_retry_delay()->set_nanos(static_cast<int>(ns % 1'000'000'000));
    out.add_details()->PackFrom(retry);
  }
  return out;
}

}  // namespace latchkey::rpc
