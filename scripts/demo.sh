#!/usr/bin/env bash
# Registers a runner with a coordinator made here, runs examples/demo as a real pipeline on real git
# sources, and shows every job's log. Leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d "${TMPDIR:-/tmp}/skerry-demo.XXXXXX")
coordinator='' runner=''
finish() {
  [ -z "$runner" ] || { kill -QUIT "$runner" 2>/dev/null && wait "$runner" 2>/dev/null; } || true
  [ -z "$coordinator" ] || kill "$coordinator" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

say "a git repository with a pipeline"
cp -R examples/demo "$work/demo"
git -C "$work/demo" init -q -b main
git -C "$work/demo" add -A
git -C "$work/demo" -c user.name=demo -c user.email=demo@example.com commit -q -m "Add the demo"

say "a coordinator that serves GitLab's runner API for it"
bin/skerry-coordinator --repo "$work/demo" --info "$work/info.json" --registration-token demo-registration --once --logs >"$work/out" &
coordinator=$!
for _ in $(seq 200); do [ -s "$work/info.json" ] && break; sleep 0.05; done
url=$(sed -n 's/.*"url": *"\([^"]*\)".*/\1/p' "$work/info.json")

say "skerry register"
export CONFIG_FILE="$work/config.toml"
(umask 077 && printf '# written by hand; register keeps it\nconcurrent = 4\n' >"$CONFIG_FILE")
bin/skerry register --non-interactive --url "$url" --registration-token demo-registration \
  --executor shell --name demo --builds-dir "$work/builds" --cache-dir "$work/cache" --run-untagged
cat "$CONFIG_FILE"

say "skerry run"
bin/skerry run --working-directory "$work" &
runner=$!
status=0
wait "$coordinator" || status=$?
coordinator=''
cat "$work/out"
kill -QUIT "$runner" && wait "$runner" || status=$?
runner=''
say "the pipeline ended with status $status"
exit "$status"
