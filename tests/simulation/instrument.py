#!/usr/bin/env python3
"""Copies the protocol's sources with pauses between their loads and a switch for each mutant.

Usage: instrument.py ROOT OUT     writes OUT/<name>.cc for each source; fails if a line it looks for is not there once

The simulation runs these copies: with every switch off they are the product's code, only slower in places. The switches
exist here and nowhere else. When a source changes so that an edit no longer fits, this fails: look at the rule behind
the edit, then at the edit.
"""

import pathlib
import sys

P = "latchkey::simulation::Pause();"


def on(mutant):
    return f"latchkey::simulation::On(latchkey::simulation::Mutant::{mutant})"


# Source → [(text that is there exactly once, what takes its place)].
EDITS = {
    "server/keys/replication/log_follower.cc": [
        (
            "index_.Extend(sent_at + page->settings.bound, page->now, sent_at, clock_.BootNow());",
            "index_.Extend((%s ? clock_.BootNow() : sent_at) + page->settings.bound, page->now, sent_at, clock_.BootNow());"
            % on("kServerLeaseAnchoredAtReceive"),
        ),
        (
            "      if (!renew) return store_.ReadLog(",
            "      if (!renew || %s) return store_.ReadLog(" % on("kServerPollsALaggingStandby"),
        ),
        (
            "    if (!page.ok()) {\n      if (errors::ReasonOf(page.status()) == errors::Reason::kReplicaForgotten) {",
            "    if (%s && errors::ReasonOf(page.status()) == errors::Reason::kReplicaForgotten) {\n"
            "      page = store_.ReadLog(cursor.rev, options_.page);\n    }\n"
            "    if (!page.ok()) {\n      if (errors::ReasonOf(page.status()) == errors::Reason::kReplicaForgotten) {"
            % on("kServerZeroRowRenewalAccepted"),
        ),
        (
            "    if (index_.position().rev == page->head) {",
            "    if (renew && %s) index_.Extend(sent_at + page->settings.bound, page->now, sent_at);\n"
            "    if (index_.position().rev == page->head) {" % on("kServerFullPageExtends"),
        ),
        (
            "    if (page->history != history_) MeetHistoryLocked(*page);",
            "    if (page->history != history_ && !%s && !%s) MeetHistoryLocked(*page);"
            % (on("kServerIgnoresAFailover"), on("kServerStreamsKeptOverAResync")),
        ),
        (
            '  hub_.EndAll("the database failed over or was restarted");',
            '  if (!%s) hub_.EndAll("the database failed over or was restarted");' % on("kClientLentByAnotherHistory"),
        ),
        (
            "  hub_starts_at_ = page.head;",
            "  hub_starts_at_ = page.head;\n  if (%s) {\n    hub_starts_at_.reset();\n    hub_.Start(index_.position());\n  }"
            % on("kServerResumesAcrossAFailover"),
        ),
        (
            "own.history != core::kNoHistory && own.history == history_) {",
            "((own.history != core::kNoHistory && own.history == history_) || %s)) {" % on("kServerDeliversAcrossAFailover"),
        ),
        ("  hub_.EndAll(what);", "  if (!%s) hub_.EndAll(what);" % on("kServerStreamsKeptOverAResync")),
    ],
    "server/keys/replication/watch_hub.cc": [
        ("    history_ = InvalidationLog();\n    history_of_.clear();\n    // In another",
         "    if (!%s) {\n      history_ = InvalidationLog();\n      history_of_.clear();\n    }\n    // In another"
            % on("kServerResumesAcrossAFailover")),
        # It ends them a second time, when it starts at another place.
        (
            "    if (history_.empty() || history_.newest()->revision != at) {\n"
            "      ended = EndAllLocked(\"this server loaded its view anew\");\n",
            "    if (history_.empty() || history_.newest()->revision != at) {\n"
            "      if (!%s) ended = EndAllLocked(\"this server loaded its view anew\");\n"
            % on("kServerStreamsKeptOverAResync"),
        ),
    ],
    "server/keys/replication/watch_session.cc": [
        (
            "  if (!pong_.has_value() || sent_to_ < pong_->covers) {",
            "  if (!pong_.has_value() || (sent_to_ < pong_->covers && !%s)) {" % on("kServerPongBeforeItsRows"),
        ),
        ("      pong_->may_lend ?", "      pong_->may_lend || %s ?" % on("kServerLendsUnjudged")),
        (
            "    subscription_->Acknowledge(acknowledged->revision);",
            "    subscription_->Acknowledge(%s ? dependencies_.hub.position().revision : acknowledged->revision);"
            % on("kServerCountsUnacknowledged"),
        ),
        (
            "bool WatchSession::BoundHasChanged() {\n",
            "bool WatchSession::BoundHasChanged() {\n  if (%s) return false;\n" % on("kServerBoundToldByNoHello"),
        ),
    ],
    "server/keys/verify/key_verifier.cc": [
        (
            "  const KeyIndex::Snapshot& snapshot = pin.snapshot();\n",
            "  const KeyIndex::Snapshot& snapshot = pin.snapshot();\n"
            f"  const base::BootTime early = clock_.BootNow();\n  {P}\n",
        ),
        (
            "  if (key != nullptr && MayAsk(question, organization)) {\n",
            f"  {P}\n  if (key != nullptr && MayAsk(question, organization)) {{\n",
        ),
        (
            "      const absl::Time purge_at = key->purge_at();\n      const base::BootTime now = clock_.BootNow();\n"
            "      if (now >= snapshot.lease_until) return errors::LeaseExpired();\n",
            "      const absl::Time purge_at = key->purge_at();\n"
            f"      {P}\n"
            "      const base::BootTime lease = %s ? index_.Read().lease_until : snapshot.lease_until;\n"
            "      const base::BootTime now = %s ? early : clock_.BootNow();\n"
            "      if (now >= lease) return errors::LeaseExpired();\n"
            % (on("kServerLeaseLoadedLate"), on("kServerClockReadBeforeThePause")),
        ),
    ],
    "client/src/cache/lease_cache.cc": [
        (
            "int64_t grace) const {\n  const int64_t lease = lease_until_ns.load();\n",
            "int64_t grace) const {\n  const int64_t early = clock.BootNow().nanoseconds();\n"
            f"  {P}\n  const int64_t lease = lease_until_ns.load();\n  {P}\n",
        ),
        (
            "  if (entry->revision < entry->role->invalidated.load()) return std::nullopt;\n",
            f"  {P}\n  if (entry->revision < entry->role->invalidated.load()) return std::nullopt;\n  {P}\n"
            "  const int64_t judged_by = %s ? lease_until_ns.load() : lease;\n" % on("kClientLeaseLoadedLate"),
        ),
        (
            "  const int64_t now = clock.BootNow().nanoseconds();  // Last.\n"
            "  const int64_t believed_until = std::min(lease, entry->believed_until_ns());\n",
            "  const int64_t now = %s ? early : clock.BootNow().nanoseconds();  // Last.\n"
            "  const int64_t believed_until = std::min(judged_by, entry->believed_until_ns());\n"
            % on("kClientClockReadBeforeThePause"),
        ),
        (
            "  if (answer.revision < floor ||",
            "  if (%s) return false;\n  if (answer.revision < floor ||" % on("kClientStoresWithoutARevisionCheck"),
        ),
        (
            "  return greeted && request.stream != 0 && request.stream == stream.load() && !IsOfAnotherHistory(answer.history);",
            "  return (greeted || %s) && request.stream != 0 &&\n"
            "         (request.stream == stream.load() || %s) && !IsOfAnotherHistory(answer.history);"
            % (on("kClientNeedsNoHello"), on("kClientStoresWithoutARevisionCheck")),
        ),
        (
            "    if (state.clock.BootNow() >= believed_until) return std::nullopt;\n",
            "    if (state.clock.BootNow() >= believed_until && !%s) return std::nullopt;\n"
            % on("kClientBelievesLateAnswers"),
        ),
        (
            "  const core::BootTime now = state.clock.BootNow();  // Last.\n"
            "  if (now >= believed_until) return std::nullopt;\n",
            f"  {P}\n  const core::BootTime now = state.clock.BootNow();  // Last.\n"
            "  if (now >= believed_until && !%s) return std::nullopt;\n" % on("kClientBelievesLateAnswers"),
        ),
        (
            "  state.greeted = true;\n",
            "  state.greeted = true;\n"
            "  if (%s) {\n    state.history = history;\n    return false;\n  }\n"
            "  if (!resumed && %s && state.complete.has_value()) {\n"
            "    state.history = history;\n    state.applied = state.complete = from;\n    return true;\n  }\n"
            % (on("kClientNeedsNoHello"), on("kClientKeepsAllWithoutResuming")),
        ),
        (
            "  state.settled_ns = (state.clock.BootNow()",
            "  state.settled_ns = %s ? 0 : (state.clock.BootNow()" % on("kClientTrustsOtherServersAtOnce"),
        ),
        (
            "  if (stream != state.stream.load() || !state.greeted) return true;\n  if (history != state.history) return false;",
            "  if (stream != state.stream.load() || (!state.greeted && !%s)) return true;\n"
            "  if (history != state.history && !%s && !%s) return false;"
            % (
                on("kClientNeedsNoHello"),
                on("kClientLentByAnotherHistory"),
                # Two rules that each hold alone: the server ends the stream, and the client does.
                on("kServerStreamsKeptOverAResync"),
            ),
        ),
        # These protect a client that compares no histories, as release 0's.
        (
            "  const bool same_history = state.IsOfHistory(history);",
            "  const bool same_history = state.IsOfHistory(history) || %s || %s || %s;\n"
            "  if (same_history) state.history = history;"
            % (
                on("kClientKeepsAcrossHistories"),
                on("kServerResumesAcrossAFailover"),
                on("kServerDeliversAcrossAFailover"),
            ),
        ),
        (
            "other != history && other != core::kNoHistory && history != core::kNoHistory;",
            "other != history && other != core::kNoHistory && history != core::kNoHistory &&\n"
            "           !%s && !%s && !%s;"
            % (
                on("kClientStoresOtherHistories"),
                on("kServerResumesAcrossAFailover"),
                on("kServerDeliversAcrossAFailover"),
            ),
        ),
        (
            "  const bool settled = IsOfHistory(answer.history) ||",
            "  const bool settled = IsOfHistory(answer.history) || %s ||" % on("kClientStoresOtherHistories"),
        ),
        (
            "  const int64_t until = (ping_sent_at + ",
            "  const int64_t until = ((%s ? state.clock.BootNow() : ping_sent_at) + " % on("kClientPongAnchoredAtReceive"),
        ),
    ],
}


def main(root, out):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for name, edits in EDITS.items():
        source = pathlib.Path(root, name)
        text = source.read_text()
        for old, new in edits:
            if text.count(old) != 1:
                sys.exit(f"{name}: this is there {text.count(old)} times, wanted once:\n{old}")
            text = text.replace(old, new)
        text = f'#include "tests/simulation/switches.h"\n#line 1 "{name}"\n' + text
        target = out / source.name
        target.write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
