#!/usr/bin/env bash
# Runs tests: go test with the flags and packages that are given, in two parts side by side.
#
#   scripts/test.sh FLAGS... PACKAGES...     (-flag=value, not -flag value)
#
# The packages that use container engines come one after the other, as these are machines of their own to keep busy, and
# often wait for them. All others have the processors meanwhile; what they say follows at the end.
set -uo pipefail
cd "$(dirname "$0")/.."
flags=()
while [ "$#" -gt 0 ] && [[ $1 == -* ]]; do
  flags+=("$1")
  shift
done
all=$(go list -f '{{.ImportPath}} {{.TestImports}} {{.XTestImports}} ' "${@:-./...}") || exit
engines=$(grep -E '/enginetest[] ]' <<<"$all" | cut -d' ' -f1)
others=$(grep -vE '/enginetest[] ]' <<<"$all" | cut -d' ' -f1)
# What both would compile is compiled before.
race=()
[[ " ${flags[*]} " != *" -race "* ]] || race=(-race)
go list -f '{{if and .GoFiles (ne .Name "main")}}{{.ImportPath}}{{end}}' "${@:-./...}" | xargs -r go build "${race[@]}" || exit
said=$(mktemp)
trap 'rm -f "$said"' EXIT
code=0 second=
# part PACKAGES...: names them as they are run.
part() { echo "go test ${flags[*]} ($# packages)"; go test -p 1 "${flags[@]}" "$@"; }
# shellcheck disable=SC2086 # lists of packages
{
  [ -z "$others" ] || { part $others >"$said" 2>&1 & second=$!; }
  [ -z "$engines" ] || part $engines || code=$?
}
[ -z "$second" ] || wait "$second" || code=$?
cat "$said"
exit "$code"
