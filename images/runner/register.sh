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
cat "$config" >"$copy/before"
if [ -s "$config" ]; then
  cp "$copy/before" "$copy/config.toml"
else
  printf 'concurrent = 1\n' >"$copy/config.toml"
fi
/usr/local/bin/skerry register --config "$copy/config.toml" "$@"
written=0
cat "$copy/config.toml" >"$config" || {
  written=1
  cat "$copy/before" >"$config" || :
  echo "register: $config could not be written and is as it was: see to space on its disk, then register again" >&2
}
# GitLab has seen a machine that ends here. It is deleted of the runner that was just added, the last of the file; of one whose
# token was not made in GitLab this would delete the runner itself.
if [ -f "$copy/.runner_system_id" ]; then
  mkdir "$copy/seen"
  cp "$copy/.runner_system_id" "$copy/seen/"
  sed -n '/^ *\[\[runners\]\]/{h;d};H;${x;p}' "$copy/config.toml" >"$copy/seen/config.toml"
  if grep -q '^ *token = "glrt-' "$copy/seen/config.toml"; then
    /usr/local/bin/skerry unregister --config "$copy/seen/config.toml" --all-runners || echo "register: GitLab goes on showing a machine of this runner that is never there" >&2
  fi
fi
exit "$written"
