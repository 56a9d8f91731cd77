// Package cli is the command line: one file a command, its flags, help and action together. It is
// the only place where the other packages are wired together.
//
// A command is a constructor that takes the Program and returns a cobra.Command, an options struct,
// and a function run(ctx, options). Commands return errors; Main alone prints them and picks the
// exit code. Names, flags and environment variables are GitLab Runner's (commands/*.go there), so
// that the binary may be called gitlab-runner.
package cli
