# SPDX-License-Identifier: Apache-2.0
# Every outside library of the project, found once.

find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(spdlog REQUIRED)
find_package(Eigen3 REQUIRED NO_MODULE)
find_package(Boost REQUIRED CONFIG)  # in the headers of SimGrid
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(Threads REQUIRED)
find_package(OneDNN)  # cmake/FindOneDNN.cmake: Debian's own config needs OpenCL headers

find_package(MPI COMPONENTS C)  # of orrery-rank alone; CXX would be MPI's dead C++ bindings

find_package(PkgConfig REQUIRED)
pkg_check_modules(SimGrid REQUIRED IMPORTED_TARGET simgrid>=3.32)

if(ORRERY_BUILD_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()
if(ORRERY_BUILD_BENCHMARKS)
  find_package(benchmark REQUIRED)
endif()
