#include "server/rpc/verify/watch_messages.h"

#include <variant>

#include "client/core/resource_names.h"
#include "server/rpc/call/convert.h"

namespace latchkey::rpc {
namespace {

void Fill(const keys::WatchSession::Hello& hello, v1::WatchResponse* out) {
  ToProto(hello.from, out->mutable_hello()->mutable_sub_revision());
  out->mutable_hello()->set_resumed(hello.resumed);
  ToProto(hello.max_staleness, out->mutable_hello()->mutable_max_staleness());
  out->mutable_hello()->set_history(hello.history);
}

void Fill(const keys::WatchSession::Invalidate& invalidate, v1::WatchResponse* out) {
  v1::WatchResponse::Invalidate* const told = out->mutable_invalidate();
  for (const keys::Invalidation& row : invalidate.rows) {
    switch (row.kind) {
      case keys::Invalidation::Kind::kKey:
        told->add_key_ids(row.id);
        break;
      case keys::Invalidation::Kind::kRole:
        told->add_roles(core::RoleNameOf(row.organization, row.id));
        break;
      case keys::Invalidation::Kind::kOrganization:
        told->add_organizations(row.organization);
        break;
    }
  }
  ToProto(invalidate.rows.back().revision, told->mutable_revision());
}

void Fill(const keys::WatchSession::Pong& pong, v1::WatchResponse* out) {
  out->mutable_pong()->set_echo_seq(pong.seq);
  ToProto(pong.revision, out->mutable_pong()->mutable_revision());
  ToProto(pong.remaining, out->mutable_pong()->mutable_remaining());
  out->mutable_pong()->set_history(pong.history);
}

void Fill(const keys::WatchSession::Drain&, v1::WatchResponse* out) { out->mutable_drain(); }

}  // namespace

void ToProto(const keys::WatchSession::Message& message, v1::WatchResponse* out) {
  out->Clear();
  std::visit([out](const auto& what) { Fill(what, out); }, message);
}

}  // namespace latchkey::rpc
