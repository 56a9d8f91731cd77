#!/usr/bin/env bash
# Runs the same pipelines with Skerry and with GitLab Runner against the development coordinator and compares
# what users see of them. It needs a gitlab-runner binary, which is not part of this repository:
#
#   GITLAB_RUNNER=/path/to/gitlab-runner scripts/parity.sh [--accepted] [--keep DIR] [--rounds N] [REPOSITORY…]
#
# compares the shell executors. The docker executors are compared with an engine and an address of this machine that
# its containers reach; the images that the pipelines name are built first:
#
#   … scripts/parity.sh --engine unix:///var/run/docker.sock --address 172.17.0.1 [--image IMAGE] [--helper-image IMAGE]
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${GITLAB_RUNNER:-}" ]; then
  echo "parity.sh compares with GitLab Runner and needs one: set GITLAB_RUNNER=/path/to/gitlab-runner (see https://docs.gitlab.com/runner/install/)" >&2
  exit 2
fi
if [ ! -x "$GITLAB_RUNNER" ]; then
  echo "GITLAB_RUNNER=$GITLAB_RUNNER is not a program" >&2
  exit 2
fi
make --no-print-directory build >/dev/null
exec go run ./test/parity --gitlab-runner "$GITLAB_RUNNER" "$@"
