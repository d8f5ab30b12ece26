# SPDX-License-Identifier: Apache-2.0
# How a folder of the house becomes a target. A folder is one static library whose headers are listed as a file set;
# tools/check_headers.sh compiles them alone.

option(ORRERY_BUILD_TESTS "Build the tests" ON)
option(ORRERY_BUILD_BENCHMARKS "Build the benchmarks" OFF)
set(ORRERY_CPU_ARCH "native" CACHE STRING "-march of the CPU kernels: native, x86-64-v3, ...")
set(ORRERY_SANITIZE "" CACHE STRING "Comma-separated sanitizers, for example address or address,undefined")

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

find_program(ORRERY_CCACHE ccache)
if(ORRERY_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${ORRERY_CCACHE})
endif()

add_library(orrery_flags INTERFACE)
target_compile_options(orrery_flags INTERFACE -Wall -Wextra -Wconversion -Wshadow -Wswitch-enum -Werror
                                             -Wno-missing-field-initializers)
# GCC 12 sees uninitialised strings in aggregates that it inlines at -O3; at -O2 it does not, and there the warning counts.
target_compile_options(orrery_flags INTERFACE $<$<CONFIG:Release>:-Wno-error=maybe-uninitialized>)
if(ORRERY_SANITIZE)
  # -Wno-tsan: the headers of SimGrid use atomic_thread_fence, which the thread sanitizer warns of.
  # -Wno-maybe-uninitialized: g++ 12 raises it for what the address sanitizer adds around std::optional.
  # -fno-sanitize-recover: undefined behaviour ends a test, which would otherwise pass with a message.
  target_compile_options(orrery_flags INTERFACE -fsanitize=${ORRERY_SANITIZE} -fno-sanitize-recover=undefined
                                                -fno-omit-frame-pointer -Wno-tsan -Wno-maybe-uninitialized)
  target_link_options(orrery_flags INTERFACE -fsanitize=${ORRERY_SANITIZE})
endif()

# orrery_library(NAME SOURCES a.cpp... HEADERS a.h... DEPS folder... PRIVATE_DEPS target...)
# DEPS are other folders of the house; PRIVATE_DEPS are outside libraries, which stay out of public headers.
function(orrery_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;HEADERS;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(orrery_${name} STATIC ${arg_SOURCES})
  target_sources(orrery_${name} PUBLIC FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${arg_HEADERS})
  list(TRANSFORM arg_DEPS PREPEND orrery_)
  target_link_libraries(orrery_${name} PUBLIC ${arg_DEPS} PRIVATE orrery_flags ${arg_PRIVATE_DEPS})
endfunction()

add_custom_target(orrery_tests COMMENT "Every test executable of this configuration")

# orrery_unit_tests(NAME SOURCES a_test.cpp... DEPS folder... PRIVATE_DEPS target... LABELS unit... PROCESSORS n)
# One executable per folder of tests; every test case becomes a ctest of its own. PROCESSORS is for cases that start
# several ranks: ctest then runs fewer of them at once.
function(orrery_unit_tests name)
  cmake_parse_arguments(arg "" "PROCESSORS" "SOURCES;DEPS;PRIVATE_DEPS;LABELS" ${ARGN})
  if(NOT arg_LABELS)
    set(arg_LABELS unit)
  endif()
  if(NOT arg_PROCESSORS)
    set(arg_PROCESSORS 1)
  endif()
  add_executable(test_${name} ${arg_SOURCES})
  list(TRANSFORM arg_DEPS PREPEND orrery_)
  # Tests are compiled light: half the time of -O2 -g, and they run for milliseconds.
  target_compile_options(test_${name} PRIVATE -O1 -g1)
  target_compile_definitions(test_${name} PRIVATE ORRERY_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
                                                  ORRERY_BINARY_DIR="${CMAKE_BINARY_DIR}/bin")
  target_link_libraries(test_${name} PRIVATE orrery_flags ${arg_DEPS} ${arg_PRIVATE_DEPS} GTest::gmock GTest::gtest_main)
  add_dependencies(orrery_tests test_${name})
  # The time-out is for tests that hang: with the sanitizers the longest takes minutes on two cores.
  gtest_discover_tests(test_${name} DISCOVERY_TIMEOUT 60 NO_PRETTY_VALUES
                       PROPERTIES LABELS "${arg_LABELS}" TIMEOUT 600 PROCESSORS ${arg_PROCESSORS})
endfunction()

# orrery_compile_fail_test(NAME FILE bad.cpp EXPECT regex)
# A ctest that passes only when the compiler refuses the file with an error message that matches the regex (quotes in
# messages are plain ', since the locale is C). The message is required, else a typo in the file would pass as well.
function(orrery_compile_fail_test name)
  cmake_parse_arguments(arg "" "FILE;EXPECT" "" ${ARGN})
  add_test(NAME compile_fail.${name}
           COMMAND ${CMAKE_CXX_COMPILER} -std=c++20 -fsyntax-only -fdiagnostics-color=never -I${PROJECT_SOURCE_DIR}
                   ${CMAKE_CURRENT_SOURCE_DIR}/${arg_FILE})
  set_tests_properties(compile_fail.${name} PROPERTIES ENVIRONMENT LC_ALL=C LABELS unit
                                                       PASS_REGULAR_EXPRESSION "error: [^\n]*${arg_EXPECT}")
endfunction()
