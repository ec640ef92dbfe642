#include "server/rpc/verify/verify_requests.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/base/errors.h"

namespace latchkey::rpc {
namespace {

constexpr char kKid[] = "0123456789ABCDEF";
const core::RevisionToken kToken = {7, {'h', 'i', 's', 't', 'o', 'r', 'y', '1'}};

void ExpectFault(const absl::Status& status, const std::string& reason, const std::string& field) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  const std::optional<errors::Detail> detail = errors::DetailOf(status);
  ASSERT_TRUE(detail.has_value()) << status;
  EXPECT_EQ(errors::NameOf(detail->reason), reason) << status;
  EXPECT_EQ(detail->field, field) << status;
}

v1::VerifyRequest FullQuestion() {
  v1::VerifyRequest request;
  request.set_key("lk1_x");
  request.add_required_permissions("app.read");
  request.mutable_client()->set_ip("10.0.0.1");
  request.set_min_revision(kToken.Encode());
  request.set_fresh(true);
  return request;
}

TEST(VerifyRequest, EveryFieldArrives) {
  const v1::VerifyRequest request = FullQuestion();
  keys::VerifyQuery query;
  ASSERT_TRUE(ReadVerifyQuery(request, -1, query).ok());
  EXPECT_EQ(query.key.text(), "lk1_x");
  EXPECT_EQ(query.required_permissions, std::vector<std::string>{"app.read"});
  EXPECT_EQ(query.client_ip, "10.0.0.1");
  EXPECT_EQ(query.min_revision, kToken);
  EXPECT_TRUE(query.fresh);
}

TEST(VerifyRequest, UsedQuestionKeepsNothingOfTheFormerOne) {
  const v1::VerifyRequest full = FullQuestion();
  const v1::VerifyRequest empty;
  keys::VerifyQuery query;
  ASSERT_TRUE(ReadVerifyQuery(full, -1, query).ok());
  ASSERT_TRUE(ReadVerifyQuery(empty, -1, query).ok());
  EXPECT_TRUE(query.key.text().empty());
  EXPECT_TRUE(query.required_permissions.empty());
  EXPECT_TRUE(query.client_ip.empty());
  EXPECT_FALSE(query.min_revision.has_value());
  EXPECT_FALSE(query.fresh);
}

TEST(VerifyRequest, WrongValueIsNamedWithItsPlaceInTheBatch) {
  keys::VerifyQuery query;
  v1::VerifyRequest request;
  for (const char* const wrong : {"nowhere", "10.0.0.1:80", "10.0.0.0/8", "fe80::1%eth0", " 10.0.0.1"}) {
    request.mutable_client()->set_ip(wrong);
    ExpectFault(ReadVerifyQuery(request, -1, query), "FIELD_INVALID", "client.ip");
    ExpectFault(ReadVerifyQuery(request, 3, query), "FIELD_INVALID", "requests[3].client.ip");
  }
  request.mutable_client()->set_ip("::1");
  EXPECT_TRUE(ReadVerifyQuery(request, 3, query).ok());
  request.set_min_revision("7");
  ExpectFault(ReadVerifyQuery(request, 3, query), "FIELD_INVALID", "requests[3].min_revision");
  request.clear_min_revision();
  request.add_required_permissions("app.read");
  request.add_required_permissions("Not a permission");
  ExpectFault(ReadVerifyQuery(request, 0, query), "FIELD_INVALID", "requests[0].required_permissions[1]");
  request.clear_required_permissions();
  for (int i = 0; i < 33; ++i) request.add_required_permissions("app.read");
  ExpectFault(ReadVerifyQuery(request, 0, query), "FIELD_INVALID", "requests[0].required_permissions");
}

TEST(VerifyRequest, FieldOfANewerClientIsRefused) {
  keys::VerifyQuery query;
  v1::VerifyRequest request;
  request.GetReflection()->MutableUnknownFields(&request)->AddVarint(99, 1);
  ExpectFault(ReadVerifyQuery(request, 2, query), "FIELD_NOT_SUPPORTED", "requests[2].unknown field 99");
  v1::VerifyRequest inner;
  v1::ClientInfo& client = *inner.mutable_client();
  client.GetReflection()->MutableUnknownFields(&client)->AddVarint(98, 1);
  ExpectFault(ReadVerifyQuery(inner, -1, query), "FIELD_NOT_SUPPORTED", "client.unknown field 98");
}

TEST(StreamVerifyRequest, HasOneTo64ItemsAndATimeoutOf1MillisecondTo60Seconds) {
  v1::StreamVerifyRequest request;
  ExpectFault(BatchTimeoutOf(request).status(), "FIELD_REQUIRED", "requests");
  for (int i = 0; i < 64; ++i) request.add_requests();
  EXPECT_EQ(BatchTimeoutOf(request).value(), absl::Seconds(2));
  request.mutable_timeout()->set_nanos(1'000'000);
  EXPECT_EQ(BatchTimeoutOf(request).value(), absl::Milliseconds(1));
  request.mutable_timeout()->set_nanos(999'999);
  ExpectFault(BatchTimeoutOf(request).status(), "FIELD_INVALID", "timeout");
  request.mutable_timeout()->set_nanos(0);
  request.mutable_timeout()->set_seconds(60);
  EXPECT_EQ(BatchTimeoutOf(request).value(), absl::Minutes(1));
  request.mutable_timeout()->set_nanos(1);
  ExpectFault(BatchTimeoutOf(request).status(), "FIELD_INVALID", "timeout");
  request.mutable_timeout()->set_seconds(-5);
  ExpectFault(BatchTimeoutOf(request).status(), "FIELD_INVALID", "timeout");
  request.clear_timeout();
  request.add_requests();
  ExpectFault(BatchTimeoutOf(request).status(), "FIELD_INVALID", "requests");
}

TEST(WatchRequest, SubscriptionNamesOrganizationsAndAPosition) {
  v1::WatchRequest request;
  ExpectFault(SubscriptionOf(request).status(), "FIELD_REQUIRED", "subscribe");
  request.mutable_subscribe();
  ASSERT_TRUE(SubscriptionOf(request).ok());
  EXPECT_EQ(SubscriptionOf(request)->resume, core::RevisionToken());
  for (const char* const id : {"beta", "acme", "beta"}) request.mutable_subscribe()->add_organizations(id);
  request.mutable_subscribe()->set_resume_revision(kToken.Encode());
  const absl::StatusOr<Subscription> subscription = SubscriptionOf(request);
  ASSERT_TRUE(subscription.ok()) << subscription.status();
  EXPECT_EQ(subscription->organizations, (std::vector<std::string>{"acme", "beta"}));
  EXPECT_EQ(subscription->resume, kToken);
  request.mutable_subscribe()->add_organizations("organizations/acme");
  ExpectFault(SubscriptionOf(request).status(), "FIELD_INVALID", "subscribe.organizations[3]");
  request.mutable_subscribe()->clear_organizations();
  request.mutable_subscribe()->set_resume_revision("7");
  ExpectFault(SubscriptionOf(request).status(), "FIELD_INVALID", "subscribe.resume_revision");
  for (int i = 0; i < 1001; ++i) request.mutable_subscribe()->add_organizations("acme");
  ExpectFault(SubscriptionOf(request).status(), "FIELD_INVALID", "subscribe.organizations");
}

TEST(WatchRequest, PingHasANumberAndMayAcknowledge) {
  v1::WatchRequest request;
  ExpectFault(PingOf(request).status(), "FIELD_REQUIRED", "ping");
  request.mutable_subscribe();
  ExpectFault(PingOf(request).status(), "FIELD_REQUIRED", "ping");
  request.mutable_ping()->set_seq(9);
  ASSERT_TRUE(PingOf(request).ok());
  EXPECT_EQ(PingOf(request)->seq, 9u);
  EXPECT_FALSE(PingOf(request)->acknowledged.has_value());
  request.mutable_ping()->set_acknowledged_revision(kToken.Encode());
  EXPECT_EQ(PingOf(request)->acknowledged, kToken);
  request.mutable_ping()->set_acknowledged_revision("x");
  ExpectFault(PingOf(request).status(), "FIELD_INVALID", "ping.acknowledged_revision");
}

v1::ReportUsageRequest GoodReport() {
  v1::ReportUsageRequest request;
  request.set_request_id("r1");
  v1::ReportUsageRequest::Usage& usage = *request.add_usages();
  usage.set_key_id(kKid);
  usage.set_secret_version(2);
  usage.set_count(5);
  usage.set_decision(v1::DECISION_ALLOWED);
  return request;
}

TEST(ReportUsageRequest, UsesAreKeptByTheHourAndToTheMinute) {
  const absl::Time now = absl::FromUnixSeconds(1'700'000'000);  // 22:13:20
  v1::ReportUsageRequest request = GoodReport();
  request.mutable_usages(0)->mutable_last_used_time()->set_seconds(1'700'000'000 - 30);
  absl::StatusOr<storage::UseReport> report = UseReportOf(request, now);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->request_id, "r1");
  ASSERT_EQ(report->uses.size(), 1u);
  EXPECT_EQ(report->uses[0].kid, kKid);
  EXPECT_EQ(report->uses[0].version, 2);
  EXPECT_EQ(report->uses[0].count, 5);
  EXPECT_EQ(report->uses[0].decision, 1);
  EXPECT_EQ(report->uses[0].hour, absl::FromUnixSeconds(1'699'999'200));
  EXPECT_EQ(report->uses[0].last_used_at, absl::FromUnixSeconds(1'699'999'920));
  // A use that was denied is counted and moves nothing.
  request.mutable_usages(0)->set_decision(v1::DECISION_EXPIRED);
  report = UseReportOf(request, now);
  EXPECT_EQ(report->uses[0].last_used_at, absl::InfinitePast());
}

TEST(ReportUsageRequest, LastUseInTheFutureOrUnsaidIsNow) {
  const absl::Time now = absl::FromUnixSeconds(1'700'000'000);
  v1::ReportUsageRequest request = GoodReport();
  EXPECT_EQ(UseReportOf(request, now)->uses[0].last_used_at, absl::FromUnixSeconds(1'699'999'980));
  request.mutable_usages(0)->mutable_last_used_time()->set_seconds(1'900'000'000);
  EXPECT_EQ(UseReportOf(request, now)->uses[0].last_used_at, absl::FromUnixSeconds(1'699'999'980));
  EXPECT_EQ(UseReportOf(request, now)->uses[0].hour, absl::FromUnixSeconds(1'699'999'200));
}

TEST(ReportUsageRequest, LastUseMoreThanTwoDaysAgoIsTwoDaysAgo) {
  const absl::Time now = absl::FromUnixSeconds(1'700'000'000);
  const absl::Time oldest = absl::FromUnixSeconds(1'699'826'400);  // The hour of two days before.
  v1::ReportUsageRequest request = GoodReport();
  google::protobuf::Timestamp& said = *request.mutable_usages(0)->mutable_last_used_time();
  said.set_seconds(1'700'000'000 - 47 * 3'600);
  EXPECT_EQ(UseReportOf(request, now)->uses[0].hour, oldest + absl::Hours(1));
  for (const int64_t seconds : {int64_t{1'700'000'000 - 50 * 3'600}, int64_t{1'600'000'000}, int64_t{0}}) {
    said.set_seconds(seconds);
    const absl::StatusOr<storage::UseReport> report = UseReportOf(request, now);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->uses[0].count, 5);
    EXPECT_EQ(report->uses[0].hour, oldest);
    EXPECT_EQ(report->uses[0].last_used_at, absl::FromUnixSeconds(1'699'827'180));
  }
}

TEST(ReportUsageRequest, WrongValueIsNamed) {
  const absl::Time now = absl::FromUnixSeconds(1'700'000'000);
  const auto fault = [&](auto spoil) {
    v1::ReportUsageRequest request = GoodReport();
    spoil(request);
    return UseReportOf(request, now).status();
  };
  ExpectFault(fault([](auto& r) { r.clear_request_id(); }), "FIELD_REQUIRED", "request_id");
  ExpectFault(fault([](auto& r) { r.set_request_id(std::string(65, 'x')); }), "FIELD_INVALID", "request_id");
  ExpectFault(fault([](auto& r) { r.set_request_id("a\n"); }), "FIELD_INVALID", "request_id");
  ExpectFault(fault([](auto& r) { r.mutable_usages(0)->set_key_id("x"); }), "FIELD_INVALID", "usages[0].key_id");
  ExpectFault(fault([](auto& r) { r.mutable_usages(0)->set_secret_version(0); }), "FIELD_INVALID",
              "usages[0].secret_version");
  ExpectFault(fault([](auto& r) { r.mutable_usages(0)->set_count(0); }), "FIELD_INVALID", "usages[0].count");
  ExpectFault(fault([](auto& r) { r.mutable_usages(0)->set_count(1'000'000'001); }), "FIELD_INVALID",
              "usages[0].count");
  ExpectFault(fault([](auto& r) { r.mutable_usages(0)->clear_decision(); }), "FIELD_INVALID", "usages[0].decision");
  ExpectFault(fault([](auto& r) { r.mutable_usages(0)->set_decision(static_cast<v1::Decision>(42)); }), "FIELD_INVALID",
              "usages[0].decision");
  ExpectFault(fault([](auto& r) { r.mutable_usages(0)->mutable_last_used_time()->set_nanos(-1); }), "FIELD_INVALID",
              "usages[0].last_used_time");
  ExpectFault(fault([](auto& r) {
                while (r.usages_size() < 1001) *r.add_usages() = r.usages(0);
              }),
              "FIELD_INVALID", "usages");
}

TEST(VerifyRequest, AFieldThatIsNotSupportedIsNamed) {
  v1::VerifyRequest verify;
  keys::VerifyQuery query;
  verify.mutable_client()->set_path("/x");
  ExpectFault(ReadVerifyQuery(verify, -1, query), "FIELD_NOT_SUPPORTED", "client.path");
  verify.mutable_client()->clear_path();
  verify.mutable_client()->set_method("GET");
  ExpectFault(ReadVerifyQuery(verify, -1, query), "FIELD_NOT_SUPPORTED", "client.method");
  verify.mutable_client()->clear_method();
  verify.mutable_client()->set_user_agent("x");
  ExpectFault(ReadVerifyQuery(verify, 3, query), "FIELD_NOT_SUPPORTED", "requests[3].client.user_agent");
}

TEST(BatchVerifyRequest, HasOneToAHundredQuestions) {
  v1::BatchVerifyRequest request;
  ExpectFault(CheckBatch(request), "FIELD_REQUIRED", "requests");
  for (int i = 0; i < 100; ++i) request.add_requests();
  EXPECT_TRUE(CheckBatch(request).ok());
  request.add_requests();
  ExpectFault(CheckBatch(request), "FIELD_INVALID", "requests");
}

TEST(BatchVerifyRequest, FaultOfOneQuestionIsNotTheBatchs) {
  v1::BatchVerifyRequest request;
  request.add_requests()->mutable_client()->set_ip("nowhere");
  EXPECT_TRUE(CheckBatch(request).ok());
}

}  // namespace
}  // namespace latchkey::rpc
