// Package e2e drives the real program, its agents and real git against the strict coordinator: what
// the runner promises, tried from outside. Everything here is a test.
package e2e
