#!/bin/sh
# Makes the base of the image what the runner needs: packages, the program, users and settings. The Containerfile runs it.
set -eu
here=/usr/local/lib/skerry
fail() { echo "install.sh: $*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

# Nothing is left of the lists of packages but in an image that keeps the package manager.
apt_install() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" && { [ "$BUILD_TYPE" = dev ] || rm -rf /var/lib/apt/lists/* /var/cache/apt/*; }
}

packages() {
  if has podman && has newuidmap && has newgidmap && has git && { has crun || has runc; }; then
    return
  fi
  if has apt-get; then
    apt_install podman crun uidmap netavark aardvark-dns passt catatonit nftables ca-certificates git git-lfs
  elif has dnf; then
    dnf install -y --setopt=install_weak_deps=False podman crun shadow-utils netavark aardvark-dns passt catatonit nftables ca-certificates git-core git-lfs
    dnf clean all
  else
    fail "the base lacks podman, newuidmap, git or crun, and neither apt-get nor dnf is there to install them"
  fi
}

# The program beside the Containerfile unless another version is asked for, else a release.
program() {
  arch=${TARGETARCH:-}
  if [ -z "$arch" ]; then
    case $(uname -m) in
    x86_64) arch=amd64 ;;
    aarch64) arch=arm64 ;;
    *) fail "there is no runner for $(uname -m): amd64 and arm64 only" ;;
    esac
  fi
  mkdir -p /usr/local/bin
  local_program=$here/skerry-linux-$arch
  if [ -f "$local_program" ]; then
    chmod 0755 "$local_program"
    found=$("$local_program" --version | sed -n 's/^Version: *//p')
    if [ "$RUNNER_VERSION" = latest ] || [ "$RUNNER_VERSION" = "$found" ]; then
      ln -sf "$local_program" /usr/local/bin/skerry
      return
    fi
    echo "install.sh: the program beside the Containerfile is $found, so $RUNNER_VERSION is downloaded"
    rm "$local_program"
  fi
  case $RUNNER_VERSION in
  latest) from=$RELEASES/permalink/latest/downloads/skerry-linux-$arch ;;
  *) from=$RELEASES/$RUNNER_VERSION/downloads/skerry-linux-$arch ;;
  esac
  has curl || has wget || { has apt-get && apt_install curl; } || fail "no curl to download $from"
  if has curl; then
    curl -fsSL -o /usr/local/bin/skerry "$from"
  else
    wget -qO /usr/local/bin/skerry "$from"
  fi || fail "there is no $from: run \`make build\` in the runner's source tree, which puts the program beside the Containerfile, or set RUNNER_VERSION or RELEASES"
  chmod 0755 /usr/local/bin/skerry
}

case $BUILD_TYPE in
prod | dev) ;;
*) fail "BUILD_TYPE is \"$BUILD_TYPE\": prod or dev" ;;
esac
packages
program
dev=
[ "$BUILD_TYPE" != dev ] || dev=--dev
# shellcheck disable=SC2086 # no word when it is empty
/usr/local/bin/skerry image prepare-runner --in-image $dev
chmod 0755 "$here/register.sh"
rm -f "$here/install.sh"
