// SPDX-License-Identifier: Apache-2.0
#include "cli/exit_code.h"

#include "base/errors.h"

#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <system_error>

#include <unistd.h>

namespace orrery::cli {
namespace {

int report(const char* prefix, const char* message, int code) {
  std::fprintf(stderr, "%s%s\n", prefix, message);
  return code;
}

}  // namespace

int report_exception() noexcept {
  try {
    throw;
  } catch (const ConfigError& error) {
    return report("", error.what(), kBadInput);
  } catch (const BackendError& error) {
    return report("orrery: ", error.what(), kBackend);
  } catch (const std::system_error& error) {
    return report("orrery: ", error.what(), kBackend);
  } catch (const std::bad_alloc&) {
    return report("orrery: ", "the machine has no memory left", kBackend);
  } catch (const std::exception& error) {
    return report("orrery: this is a bug, please report it: ", error.what(), kInternal);
  } catch (...) {
    return report("orrery: ", "this is a bug, please report it: unknown exception", kInternal);
  }
}

void exit_on_interrupt() {
  struct sigaction action{};
  action.sa_handler = [](int) { _exit(kInterrupted); };
  sigaction(SIGINT, &action, nullptr);
}

}  // namespace orrery::cli
