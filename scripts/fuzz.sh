#!/usr/bin/env bash
# Runs every fuzz target of the project, one after the other, and says what came of each.
#
#   FUZZTIME=20s   how long each target is run
#   PKG=./...      the packages to look in
#   TARGETS=''     only targets whose "package Name" matches this extended regular expression
#   FUZZFLAGS=''   more flags for go test (-race, -parallel=1)
#
# The exit code is 1 when a target found something or could not be run. What was found lies in the package's
# testdata/fuzz, from where every later `go test` runs it: fix the fault and commit the file with the fix.
#
# An input that reaches new code is made smaller before the next one is tried, by default for up to a
# minute, and runs made meanwhile are not counted until that is over: a target with large seeds reports
# 0 execs/s and does in effect nothing. Twenty tries are enough here: the inputs need not be pretty.
set -uo pipefail
cd "$(dirname "$0")/.."
FUZZTIME=${FUZZTIME:-20s}
GO=${GO:-go}
work=$(mktemp -d "${TMPDIR:-/tmp}/skerry-fuzz.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# A package's targets are listed before the line that ends it.
if ! "$GO" test -list '^Fuzz' "${PKG:-./...}" >"$work/list" 2>"$work/errors"; then
  grep -vhE '^(ok|\?|Fuzz)' "$work/list" "$work/errors" >&2
  echo "fuzz: some packages do not compile; fix that first" >&2
  exit 1
fi
awk '/^Fuzz/ { names[++n] = $1 } /^ok/ { for (i = 1; i <= n; i++) print $2, names[i]; n = 0 }' "$work/list" |
  grep -E -- "${TARGETS:-.}" >"$work/targets"
if ! [ -s "$work/targets" ]; then
  echo "fuzz: no target found" >&2
  exit 1
fi

total=$(wc -l <"$work/targets") number=0 failed=0
while read -r package name <&3; do
  number=$((number + 1))
  printf '%3d/%d  %-70s ' "$number" "$total" "${package#*/*/*/} $name"
  # shellcheck disable=SC2086 # FUZZFLAGS are several words
  if "$GO" test -run='^$' -fuzz="^$name\$" -fuzztime="$FUZZTIME" -fuzzminimizetime=20x ${FUZZFLAGS:-} "$package" >"$work/log" 2>&1; then
    # The last line of progress that says how many inputs were run.
    last=$(grep -E 'execs: [0-9]+' "$work/log" | tail -1)
    runs=$(sed -nE 's/.*execs: ([0-9]+).*/\1/p' <<<"$last")
    new=$(sed -nE 's/.*new interesting: ([0-9]+).*/\1/p' <<<"$last")
    if [ "${runs:-0}" -eq 0 ]; then
      failed=$((failed + 1))
      echo "ran nothing"
      echo "$package $name: not one input was run in $FUZZTIME; set a longer FUZZTIME" >>"$work/failures"
      continue
    fi
    echo "ok, ${runs} runs, ${new:-0} new"
  else
    failed=$((failed + 1))
    echo FOUND
    { echo "--- $package $name"; grep -vE '^fuzz: elapsed' "$work/log" | head -60; } >>"$work/failures"
  fi
done 3<"$work/targets"

echo
if [ "$failed" -gt 0 ]; then
  cat "$work/failures"
  echo
  echo "fuzz: $failed of $total targets found something" >&2
  exit 1
fi
echo "fuzz: $total targets, $FUZZTIME each, nothing found"
