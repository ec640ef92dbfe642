#pragma once

#include "server/app/options.h"

// The subcommands of latchkeyd; each returns the exit code.
namespace latchkey::app {

int RunServe(const ServeOptions& options);
int RunDev(const DevOptions& options);
int RunMigrate(const MigrateOptions& options);
int RunBootstrap(const BootstrapOptions& options);
int RunAcceptHistory(const AcceptHistoryOptions& options);
int RunSetBound(const SetBoundOptions& options);
int RunUpgradeFinish(const UpgradeFinishOptions& options);
int RunReplicas(const ReplicasOptions& options);
int RunKeyringInit(const KeyringInitOptions& options);
int RunVersion();

}  // namespace latchkey::app
