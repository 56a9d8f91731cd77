// Package gitlabtest is a coordinator for development and tests: it serves GitLab's runner API
// over real HTTP, the repositories over real git, keeps traces and artifacts, and runs pipelines.
//
// # Strict
//
// It holds runners to the contract. Whatever breaks it (a gap or an overlap in the trace, a wrong
// checksum or size, a missing header, an update after the end, an artifact without a token …) is
// recorded as a Breach; Start makes the test that caused one fail. What a fault made legitimate is
// no breach: a patch sent again after an answer that never arrived, say. A test that kills a runner
// calls RunnerDied, which allows one repetition of whatever was in flight.
//
// # Faithful
//
// Statuses, headers and states follow GitLab: lib/api/ci/runner.rb, lib/api/ci/helpers/runner.rb,
// app/services/ci/{register_job,update_build_state,append_build_trace}_service.rb,
// app/services/ci/job_artifacts/create_service.rb, and for long polling Workhorse's
// internal/builds/register.go. GitLab Runner itself works against it.
//
// # Time
//
// GitLab's own clocks (see Limits) run on Options.Clock, Options.Scale times as fast. Nothing in
// this package sleeps to synchronise: Wait and WaitFor return when what they wait for has happened.
//
// # Concurrency
//
// All methods of Coordinator may be called concurrently. Values that they return are copies.
package gitlabtest
