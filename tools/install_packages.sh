#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tools/install_packages.sh LIST...: installs what is missing of the Debian packages that the list files name.
# Exit 0 when all are there, 4 when they are not and cannot be installed. Nothing is written to stdout.
#   ORRERY_NO_INSTALL=1   only say what is missing
#   ORRERY_OS_RELEASE     another /etc/os-release, for the tests of this script
set -euo pipefail
exec >&2

mapfile -t wanted < <(sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$@")
command="apt-get install --no-install-recommends"

give_up() {
  printf 'orrery: %s\n' "$1"
  printf '  %s\n' "${missing[@]}"
  exit 4
}

missing=("${wanted[@]}")
if ! { command -v dpkg-query && command -v apt-get; } >/dev/null; then
  give_up "this is not Debian 12, so nothing was installed; needed, by their Debian names:"
fi

installed=" $(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${wanted[@]}" 2>/dev/null |
  sed -n 's/ installed$//p' | tr '\n' ' ') " || true
missing=()
for package in "${wanted[@]}"; do
  [[ $installed == *" $package "* ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then exit 0; fi

if [[ ${ORRERY_NO_INSTALL:-} == 1 ]]; then
  give_up "ORRERY_NO_INSTALL=1 is set, so nothing was installed; missing, for $command:"
fi
if ! (. "${ORRERY_OS_RELEASE:-/etc/os-release}" && [[ ${ID:-} == debian && ${VERSION_ID:-} == 12 ]]); then
  give_up "this is not Debian 12, so nothing was installed; missing, by their Debian names:"
fi
as_root=(env)
if ((EUID != 0)); then
  command -v sudo >/dev/null || give_up "expected root or sudo; missing, for $command:"
  as_root=(sudo env)
fi

apt=("${as_root[@]}" DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -o DPkg::Lock::Timeout=240 -o Dpkg::Use-Pty=0)
"${apt[@]}" -qq update || give_up "apt-get update failed; missing:"
download=$("${apt[@]}" --assume-no install --no-install-recommends "${missing[@]}" </dev/null 2>/dev/null |
  sed -n 's/^Need to get \(.*\) of archives\.$/\1/p') || true
printf 'orrery: installing %s (%s in all)\n' "${missing[*]}" "${download:-size unknown}"
"${apt[@]}" -qq --yes install --no-install-recommends "${missing[@]}" </dev/null >/dev/null ||
  give_up "$command failed; missing:"
