// Package docs holds the documentation to the truth: links lead somewhere, the tables of packages,
// configuration keys, commands and feature flags say what the code says, and the import rules hold.
// It has tests only; they read the repository that they are in.
package docs
