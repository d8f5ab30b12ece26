#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# wrapper_test.sh REPOSITORY: what ./orrery does about packages, presets, builds and arguments, in a copy of the script
# with its own dpkg-query, apt-get and cmake, so that nothing is installed or built.
set -uo pipefail
repository=$1
sandbox=$(mktemp -d)
trap 'rm -rf "$sandbox"' EXIT
house=$sandbox/house
fakes=$sandbox/fakes
mkdir -p "$house/tools" "$fakes" "$sandbox/elsewhere"
cp "$repository/orrery" "$repository/CMakePresets.json" "$house"
cp -r "$repository/tools/packages" "$repository/tools/install_packages.sh" "$house/tools"
ln -s "$house/orrery" "$sandbox/link"
printf 'ID=debian\nVERSION_ID=12\n' >"$sandbox/debian"
printf 'ID=fedora\nVERSION_ID=40\n' >"$sandbox/fedora"
export ORRERY_OS_RELEASE=$sandbox/debian
unset ORRERY_PRESET ORRERY_NO_BUILD ORRERY_NO_INSTALL ORRERY_CATALOG

fake() {
  printf '#!/bin/bash\n%s\n' "$2" >"$fakes/$1"
  chmod +x "$fakes/$1"
}
# Everything is installed but what $ABSENT names; after an installation nothing is absent.
fake dpkg-query 'for p in "${@:4}"; do [[ " ${ABSENT:-} " == *" $p "* ]] || echo "$p installed"; done'
fake apt-get 'echo "apt-get $*" >>'"$sandbox"'/calls
[[ $* == *--assume-no* ]] && echo "Need to get 12.3 MB of archives."
exit "${APT_EXIT:-0}"'
# Configuring makes build.ninja, building makes a binary that shows what it was called with.
fake cmake 'echo "cmake $*" >>'"$sandbox"'/calls
case "$*" in
  *"-- -n"*) [[ -x build/dev/bin/orrery ]] && echo "ninja: no work to do." || echo "[1/2] building" ;;
  "--preset "*) mkdir -p build/dev && touch build/dev/build.ninja ;;
  "--build "*)
    mkdir -p build/dev/bin
    printf "#!/bin/bash\necho \"\$PWD \$ORRERY_CATALOG \$*\"\nexit 3\n" >build/dev/bin/orrery
    chmod +x build/dev/bin/orrery ;;
esac'
fake ctest 'echo "ctest $*" >>'"$sandbox"'/calls; echo "100% tests passed"'
fake sudo 'exec "$@"'
fake nproc 'echo 2'
export PATH=$fakes:$PATH

failures=0
# expect WHAT EXPECTED GOT
expect() {
  if [[ "$2" != "$3" ]]; then
    printf 'FAILED: %s\n  expected: %s\n  got:      %s\n' "$1" "$2" "$3"
    failures=$((failures + 1))
  fi
}
# run ARGS: ./orrery through a symbolic link, from another folder.
run() {
  : >"$sandbox/calls"
  out=$(cd "$sandbox/elsewhere" && "$sandbox/link" "$@" 2>"$sandbox/err")
  code=$?
  err=$(<"$sandbox/err")
  calls=$(<"$sandbox/calls")
}

ABSENT="cmake libdnnl-dev" ORRERY_NO_INSTALL=1 run demo
expect "no install: exit code" 4 "$code"
expect "no install: message" "orrery: ORRERY_NO_INSTALL=1 is set, so nothing was installed; missing, for apt-get install --no-install-recommends:
  cmake
  libdnnl-dev" "$err"
expect "no install: nothing is called" "" "$calls"

ABSENT="g++" ORRERY_OS_RELEASE=$sandbox/fedora run demo
expect "other distribution: exit code" 4 "$code"
expect "other distribution: message" "orrery: this is not Debian 12, so nothing was installed; missing, by their Debian names:
  g++" "$err"

mkdir "$sandbox/bare"
for tool in bash env sed dirname readlink; do ln -s "$(command -v $tool)" "$sandbox/bare"; done
PATH=$sandbox/bare run demo
expect "no dpkg: exit code" 4 "$code"
expect "no dpkg: first line" "orrery: this is not Debian 12, so nothing was installed; needed, by their Debian names:" \
  "$(head -n 1 <<<"$err")"

ABSENT="git" APT_EXIT=100 run demo
expect "no network: exit code" 4 "$code"
expect "no network: message" "orrery: apt-get update failed; missing:
  git" "$err"

ORRERY_PRESET=fast run demo
expect "unknown preset: exit code" 2 "$code"
expect "unknown preset: message" 'orrery: ORRERY_PRESET: expected a preset of CMakePresets.json, got "fast"' "$err"

apt="apt-get -o DPkg::Lock::Timeout=240 -o Dpkg::Use-Pty=0"
ABSENT="libfmt-dev g++" run plan --out "a b.json"
expect "first call: exit code of the verb" 3 "$code"
expect "first call: folder, catalog and arguments" "$sandbox/elsewhere $house/catalog plan --out a b.json" "$out"
expect "first call: messages" "orrery: installing g++ libfmt-dev (12.3 MB in all)
orrery: building (preset dev)" "$err"
expect "first call: commands" "$apt -qq update
$apt --assume-no install --no-install-recommends g++ libfmt-dev
$apt -qq --yes install --no-install-recommends g++ libfmt-dev
cmake --preset dev --log-level=NOTICE
cmake --build --preset dev --target orrery orrery-rank -- -n
cmake --build --preset dev --parallel 2 --target orrery orrery-rank" "$calls"

ORRERY_CATALOG=/own/catalog run fit x
expect "second call: own catalog" "$sandbox/elsewhere /own/catalog fit x" "$out"
expect "second call: silent" "" "$err"
expect "second call: commands" "cmake --build --preset dev --target orrery orrery-rank -- -n" "$calls"

ABSENT="g++" ORRERY_NO_BUILD=1 run fit x
expect "no build: exit code of the verb" 3 "$code"
expect "no build: nothing is called" "" "$calls"

ORRERY_PRESET=asan ORRERY_NO_BUILD=1 run fit x
expect "no build, no binary: exit code" 4 "$code"
expect "no build, no binary: message" \
  "orrery: expected $house/build/asan/bin/orrery, which is not built; run without ORRERY_NO_BUILD" "$err"

mkdir -p "$house/tests/browser" && echo chromium-headless-shell >"$house/tests/browser/packages.txt"
ABSENT="chromium-headless-shell" ORRERY_NO_INSTALL=1 run test
expect "test: packages of a suite" 4 "$code"
rm -r "$house/tests"
run test -R Units
expect "test: last line" "100% tests passed" "$out"
expect "test: commands" "cmake --build --preset dev -- -n
ctest --preset dev --parallel 2 -R Units" "$calls"

((failures == 0)) && echo "the wrapper does what it says"
