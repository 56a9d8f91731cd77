#!/usr/bin/env bash
# Runs testdata/pipeline with GitLab Runner itself (shell executor) against skerry-coordinator, and
# fails when the pipeline does not succeed or the contract is breached.
#
#   SKERRY_TEST_GITLAB_RUNNER=/path/to/gitlab-runner internal/gitlab/gitlabtest/testdata/gitlab-runner.sh
#
# Releases before 17 send neither X-Request-Id nor all token headers: set
# SKERRY_TEST_TOLERATE=request-id,runner-token,job-token-header for them.
set -euo pipefail
runner=${SKERRY_TEST_GITLAB_RUNNER:?name the gitlab-runner binary in SKERRY_TEST_GITLAB_RUNNER}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
coordinator_pid= runner_pid=
cleanup() {
	[ -z "$runner_pid" ] || { kill -TERM "$runner_pid" 2>/dev/null; wait "$runner_pid"; } || true
	[ -z "$coordinator_pid" ] || kill -TERM "$coordinator_pid" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT

(cd "$here/../../../.." && go build -o "$work/skerry-coordinator" ./cmd/skerry-coordinator)
cp -r "$here/pipeline" "$work/repository"
cd "$work/repository"
echo "a file for the cache's key" >README.md
git init -q -b main
git add -A
git -c user.name=Dev -c user.email=dev@example.com commit -q -m "Add the pipeline"

for how in registration authentication; do
	out=$work/$how
	mkdir "$out"
	"$work/skerry-coordinator" --repo "$work/repository" --once --logs --info "$out/info.json" --dir "$out/state" \
		--tolerate "${SKERRY_TEST_TOLERATE:-}" >"$out/coordinator.log" 2>&1 &
	coordinator_pid=$!
	until [ -e "$out/info.json" ]; do
		kill -0 "$coordinator_pid" || { cat "$out/coordinator.log"; exit 1; }
		sleep 0.1
	done
	field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$out/info.json"; }
	printf 'concurrent = 2\ncheck_interval = 1\n' >"$out/config.toml"
	if [ "$how" = registration ]; then
		"$runner" register --non-interactive --config "$out/config.toml" --url "$(field url)" --executor shell \
			--registration-token "$(field registration_token)" --builds-dir "$out/builds" --cache-dir "$out/cache" >"$out/register.log" 2>&1
	else
		cat >>"$out/config.toml" <<-TOML
			[[runners]]
			  name = "real"
			  url = "$(field url)"
			  token = "$(field runner_token)"
			  executor = "shell"
			  builds_dir = "$out/builds"
			  cache_dir = "$out/cache"
		TOML
	fi
	"$runner" run --config "$out/config.toml" --working-directory "$out" >"$out/runner.log" 2>&1 &
	runner_pid=$!
	status=0
	wait "$coordinator_pid" || status=$?
	coordinator_pid=
	kill -TERM "$runner_pid"
	wait "$runner_pid" || true
	runner_pid=
	if [ "$status" != 0 ]; then
		cat "$out/coordinator.log" "$out/runner.log"
		exit "$status"
	fi
	grep -E '^(job|pipeline) ' "$out/coordinator.log"
	echo "$how token: ok"
done
