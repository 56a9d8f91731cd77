// Package config reads and edits config.toml, the file that GitLab Runner's users know.
//
// Every key of GitLab Runner is known here. A key is one of
//
//   - implemented: a field of Config, Runner or one of the types below;
//   - not implemented yet: a field tagged state:"todo", a Warning where it is used;
//   - without meaning for Skerry: a field tagged state:"ignored", silently accepted;
//   - unknown: a Warning with its line and, when one is near, the key that was probably meant.
//
// What is wrong with the file as a whole (syntax, a value of the wrong type, a bad global setting)
// is an error of Load. What is wrong with one runner only (an executor that Skerry does not have, no
// token) is kept in Runner.Refused, and the other runners run.
//
// # Tags
//
// The struct tags are the only place that says how a key is called: toml is the key, flag the name
// of register's flag without its prefix, short a second name of the flag, ns the prefix of a
// section's flags, env the environment variable (a leading @ puts the prefixes in front of it). The
// names are GitLab Runner's (common/config.go, cache/cacheconfig, helpers/docker).
package config
