// Package program is what all commands share: the process as it was started, its log, the errors that
// become exit codes, the flags made from the keys of a runner entry, and the way to a GitLab instance.
package program
