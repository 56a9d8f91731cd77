#!/bin/sh
# What the label `register` runs: adds a runner to a configuration that is mounted by itself. The runner replaces its
# configuration as a whole, which cannot be done with such a file, so a copy is edited and written back.
set -eu
config=/home/runner/.gitlab-runner/config.toml
if [ ! -f "$config" ]; then
  echo "register: there is no $config: make an empty file first (touch ./config.toml) and run this in its directory" >&2
  exit 1
fi
if [ ! -w "$config" ]; then
  echo "register: $config cannot be written: it has to belong to the user who runs podman" >&2
  exit 1
fi
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
if [ -s "$config" ]; then
  cat "$config" >"$copy/config.toml"
else
  printf 'concurrent = 1\n' >"$copy/config.toml"
fi
/usr/local/bin/skerry register --config "$copy/config.toml" "$@"
cat "$copy/config.toml" >"$config"
