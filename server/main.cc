#include "server/app/command_line.h"

int main(int argc, char** argv) { return latchkey::app::RunCommandLine(argc, argv); }
