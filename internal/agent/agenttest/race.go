//go:build race

package agenttest

// Race reports whether this program, and with it what it builds, is under the race detector.
const Race = true
