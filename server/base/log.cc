#include "server/base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <memory>

#include "client/core/redaction.h"
#include "nlohmann/json.hpp"

namespace latchkey::log {
namespace {

spdlog::level::level_enum SpdlogLevel(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarning:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

spdlog::logger& Logger() {
  // Never destroyed: threads may log while static objects are.
  static const std::shared_ptr<spdlog::logger>* const logger = [] {
    auto made = std::make_shared<spdlog::logger>("latchkey", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern(R"({"ts":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})", spdlog::pattern_time_type::utc);
    made->set_level(spdlog::level::info);
    made->flush_on(spdlog::level::warn);
    spdlog::register_logger(made);
    spdlog::flush_every(std::chrono::seconds(1));
    return new std::shared_ptr<spdlog::logger>(std::move(made));
  }();
  return **logger;
}

std::string Quoted(std::string_view text) {
  return nlohmann::json(Redacted(text)).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

}  // namespace

void SetLevel(Level level) { Logger().set_level(SpdlogLevel(level)); }

bool Enabled(Level level) { return Logger().should_log(SpdlogLevel(level)); }

void Write(Level level, std::string_view message, const Fields& fields) {
  if (!Enabled(level)) return;
  Logger().log(SpdlogLevel(level), spdlog::string_view_t(Members(message, fields)));
}

std::string Redacted(std::string_view text) { return core::Redacted(text); }

std::string Members(std::string_view message, const Fields& fields) {
  std::string out = "\"msg\":" + Quoted(message);
  for (const Field& field : fields) {
    out.append(",")
        .append(Quoted(field.name()))
        .append(":")
        .append(field.literal() ? field.text() : Quoted(field.text()));
  }
  return out;
}

}  // namespace latchkey::log
