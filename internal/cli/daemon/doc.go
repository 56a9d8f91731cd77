// Package daemon is a runner at work: configuration, poller, engine, journal, executors and the read
// model wired together, for the commands run and run-single. It adopts what an earlier process left,
// follows the configuration, signals and systemd, and rotates tokens.
package daemon
