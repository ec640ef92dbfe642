#include "server/rpc/transport/grpc/library_logs.h"

#include <grpc/support/log.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>

#include "google/protobuf/stubs/logging.h"
#include "server/base/clock.h"
#include "server/base/line_limit.h"
#include "server/base/log.h"

namespace latchkey::rpc {
namespace {

constexpr double kLinesPerSecond = 2;
constexpr int kBurst = 10;
constexpr size_t kMaxText = 120;

std::atomic<bool> quiet_now = false;

std::string_view FileName(const char* path) {
  const std::string_view whole = path == nullptr ? "" : path;
  return whole.substr(whole.rfind('/') + 1);
}

void Write(const char* library, const char* file, int line, log::Level level, std::string_view text) {
  // Never destroyed: gRPC's threads may log while static objects are.
  static base::LineLimit& lines = *new base::LineLimit(kLinesPerSecond, kBurst);
  if (!log::Enabled(level)) return;
  const std::optional<int64_t> left_out = lines.Take(base::SystemClock().BootNow());
  if (!left_out.has_value()) return;
  log::Fields fields = {{"at", std::string(FileName(file))}, {"line", line}, {"text", WithoutValues(text)}};
  if (*left_out > 0) fields.emplace_back("left_out_before", *left_out);
  log::Write(level, library, fields);
}

void FromGrpc(gpr_log_func_args* args) {
  const bool loud = args->severity == GPR_LOG_SEVERITY_ERROR && !quiet_now.load();
  Write("grpc", args->file, args->line, loud ? log::Level::kWarning : log::Level::kDebug, args->message);
}

void FromProtobuf(google::protobuf::LogLevel level, const char* file, int line, const std::string& message) {
  const bool loud = level >= google::protobuf::LOGLEVEL_ERROR;
  Write("protobuf", file, line, loud ? log::Level::kWarning : log::Level::kDebug, message);
}

}  // namespace

std::string WithoutValues(std::string_view text) {
  const size_t end = text.find_first_of(":='\"{[(<0123456789");
  text = text.substr(0, std::min(end, kMaxText));
  std::string out;
  for (const char c : text) out.push_back(c >= ' ' && c <= '~' ? c : ' ');
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

void InstallLibraryLogs() {
  gpr_set_log_function(FromGrpc);
  google::protobuf::SetLogHandler(FromProtobuf);
}

void QuietenLibraryLogs(bool quiet) { quiet_now = quiet; }

}  // namespace latchkey::rpc
