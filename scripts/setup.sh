#!/usr/bin/env bash
# Installs what the tests need. Says plainly what is missing where it may not install.
set -u
need=()
have() { command -v "$1" >/dev/null 2>&1; }
have git || need+=(git)
git lfs version >/dev/null 2>&1 || need+=(git-lfs)
have busybox || need+=(busybox-static)
have bash || need+=(bash)
have dash || need+=(dash)
have setpriv || need+=(util-linux)
# Of Debian's packages the tests make file systems with Nix, once, which takes root.
if [ "$(id -u)" -eq 0 ]; then
  have mmdebstrap || need+=(mmdebstrap)
  [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || need+=(debian-archive-keyring)
fi
[ "${#need[@]}" -eq 0 ] && exit 0
if [ "$(id -u)" -eq 0 ] && have apt-get; then
  echo "setup: installing ${need[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null 2>&1 ||
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null; } && exit 0
fi
echo "setup: these packages are missing and cannot be installed from here: ${need[*]}" >&2
echo "setup: the tests that need them will fail and say so; install them and run make test again" >&2
