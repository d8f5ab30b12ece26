// SPDX-License-Identifier: Apache-2.0
// What a call refuses, as users read it.
#pragma once

#include "base/errors.h"

#include <string>

namespace orrery::testing {

/// The message of the ConfigError that `call` throws; "no error" without one.
template <class Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace orrery::testing
