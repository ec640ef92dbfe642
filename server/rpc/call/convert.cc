#include "server/rpc/call/convert.h"

#include <algorithm>

namespace latchkey::rpc {

void ToProto(absl::Time time, google::protobuf::Timestamp* out) {
  const int64_t seconds = absl::ToUnixSeconds(time);
  out->set_seconds(seconds);
  out->set_nanos(static_cast<int>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

void ToProto(absl::Duration duration, google::protobuf::Duration* out) {
  duration = std::max(duration, absl::ZeroDuration());
  absl::Duration rest;
  out->set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &rest));
  out->set_nanos(static_cast<int>(absl::ToInt64Nanoseconds(rest)));
}

void ToProto(const core::RevisionToken& revision, v1::Revision* out) {
  // Most answers are about the newest revision, and so was the one before.
  thread_local core::RevisionToken last;
  thread_local std::string text = last.Encode();
  if (revision != last) {
    text = revision.Encode();
    last = revision;
  }
  out->set_number(revision.revision);
  out->set_token(text);
}

}  // namespace latchkey::rpc
