#!/usr/bin/env bash
# Starts the container engines that the tests of the container executor use, each on a socket of its own, and
# prints `export SKERRY_TEST_ENGINES=…` for them, and `export SKERRY_TEST_ADDRESS=…`: an address of this machine
# that containers reach (127.0.0.1 is their own). Needs root. What runs already is left as it is.
#
#   scripts/engines.sh         installs, starts, prints
#   scripts/engines.sh run COMMAND...   the same, and runs the command with them (with ONLY=NAME only with that one);
#                              says so when there are none
#   scripts/engines.sh stop    ends what it started
#
# The options are those of a machine with hybrid control groups, without CAP_SYS_RESOURCE and with the
# engines of Debian 12; none of them is needed by users of the runner.
set -euo pipefail
home=/var/lib/skerry-test-engines
user=skerry-rootless
address=10.77.0.1
log() { echo "engines: $*" >&2; }

stop() {
  for f in "$home"/*.pid; do
    [ -e "$f" ] || continue
    kill "$(cat "$f")" 2>/dev/null || true
    rm -f "$f"
  done
  ip address delete "$address/32" dev lo 2>/dev/null || true
}

install_packages() {
  local need=()
  for p in podman crun runc fuse-overlayfs slirp4netns uidmap netavark aardvark-dns catatonit iproute2 iptables nftables busybox-static docker.io containerd dbus-user-session; do
    dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || need+=("$p")
  done
  [ "${#need[@]}" -eq 0 ] && return
  log "installing ${need[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null 2>&1 ||
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null; }
}

configure() {
  mkdir -p "$home" /etc/containers
  cat >"$home/containers.conf" <<CONF
[containers]
default_ulimits=["nofile=20000:20000","nproc=4096:4096"]
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
CONF
  id "$user" >/dev/null 2>&1 || useradd -m "$user"
  # Three ids more than useradd gives: engines in its containers have whole ranges of their own (docs/runner-image.md).
  local f
  for f in /etc/subuid /etc/subgid; do
    grep -q "^$user:" "$f" || echo "$user:300000:65539" >>"$f"
    sed -i "s/^\($user:[0-9]*\):65536$/\1:65539/" "$f"
  done
  chmod 666 /dev/net/tun /dev/fuse 2>/dev/null || true
  local h
  h=$(getent passwd "$user" | cut -d: -f6)
  install -d -o "$user" -g "$user" -m 0700 "$h/.config" "$h/.config/containers" "/run/$user" 2>/dev/null ||
    { mkdir -p "$h/.config/containers" "/run/$user"; chown -R "$user:$user" "$h/.config" "/run/$user"; chmod 700 "/run/$user"; }
  printf '[storage]\ndriver = "overlay"\n' >"$h/.config/containers/storage.conf"
  cp "$home/containers.conf" "$h/.config/containers/containers.conf"
  chown -R "$user:$user" "$h/.config"
}

# unasked DIRECTORY: Podman asks Debian which package each of its programs is of whenever a client asks what it is, which takes longer
# than most of what tests want of it. With the directory first in PATH there is nobody to ask.
unasked() {
  mkdir -p "$1"
  printf '#!/bin/sh\nexit 1\n' >"$1/dpkg-query"
  chmod 755 "$1" "$1/dpkg-query"
}

# answers SOCKET: an engine listens there.
answers() { curl -fsS --max-time 2 --unix-socket "$1" http://engine/_ping >/dev/null 2>&1; }

# start NAME SOCKET COMMAND...: in the background, unless it answers already. What watches Podman's containers leaves a file "oom" in the
# service's directory when one runs out of memory, which is not to be the caller's.
start() {
  local name=$1 socket=$2
  shift 2
  answers "$socket" && return
  log "starting $name"
  (cd "$home" && exec setsid "$@") >"$home/$name.log" 2>&1 </dev/null &
  echo $! >"$home/$name.pid"
  for _ in $(seq 300); do
    answers "$socket" && return
    sleep 0.1
  done
  log "$name does not answer at $socket; the end of $home/$name.log:"
  tail -n 20 "$home/$name.log" >&2
  return 1
}

# run COMMAND...: with the engines that are set in the environment, else with those that this script starts.
run() {
  local code=0 exports
  if [ -z "${SKERRY_TEST_ENGINES:-}" ]; then
    exports=$("$0")
    eval "$exports"
  fi
  if [ -n "${ONLY:-}" ]; then
    SKERRY_TEST_ENGINES=$(tr , '\n' <<<"${SKERRY_TEST_ENGINES:-}" | grep "^$ONLY=" || true)
    export SKERRY_TEST_ENGINES
  fi
  "$@" || code=$?
  [ -n "${SKERRY_TEST_ENGINES:-}" ] || log "NOT RUN: every test with Docker and Podman; run this as root, or set SKERRY_TEST_ENGINES and SKERRY_TEST_ADDRESS"
  return "$code"
}

case "${1:-}" in
stop) stop; exit ;;
run) shift; run "$@"; exit ;;
esac
if [ "$(id -u)" -ne 0 ]; then
  log "not root: no engines are started; set SKERRY_TEST_ENGINES yourself to test with yours"
  exit 0
fi
type -P curl >/dev/null || { apt-get update -qq; apt-get install -y -qq curl >/dev/null; }
install_packages
configure
ip -o address show to "$address" | grep -q . || ip address add "$address/32" dev lo
start docker "$home/docker.sock" dockerd --host "unix://$home/docker.sock" --data-root "$home/docker" --exec-root "$home/docker-run" \
  --pidfile "$home/dockerd.pid" --bip 172.29.0.1/24
unasked "$home/unasked"
# Podman has 2,048 locks, and keeps those of containers that were lost with its files: renumber gives them back.
start podman "$home/podman.sock" env CONTAINERS_CONF="$home/containers.conf" PATH="$home/unasked:$PATH" \
  sh -c 'podman system renumber >/dev/null 2>&1; exec podman system service --time=0 "$1"' sh "unix://$home/podman.sock"
# A machine that was stopped, and keeps /run, leaves the pid of a pause process that is gone: migrate forgets it.
start rootless "/run/$user/podman.sock" setpriv --reuid "$user" --regid "$user" --init-groups \
  env -i HOME="$(getent passwd "$user" | cut -d: -f6)" USER="$user" PATH="$home/unasked:$PATH" XDG_RUNTIME_DIR="/run/$user" \
  sh -c "cd && { podman info >/dev/null 2>&1 || podman system migrate; }; podman system renumber >/dev/null 2>&1; exec podman system service --time=0 unix:///run/$user/podman.sock"
echo "export SKERRY_TEST_ENGINES=docker=unix://$home/docker.sock,podman=unix://$home/podman.sock,rootless=unix:///run/$user/podman.sock"
echo "export SKERRY_TEST_ADDRESS=$address"
