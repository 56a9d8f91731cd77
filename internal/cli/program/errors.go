package program

import (
	"context"
	"errors"
	"io/fs"
)

// The exit codes.
const (
	ExitOK          = 0
	ExitFailure     = 1
	ExitUsage       = 2
	ExitInterrupted = 130
)

// UsageError is a command line that cannot be understood.
type UsageError struct {
	Command string // the words up to the command: "skerry register"
	Err     error
}

// Error says what is wrong and where help is.
func (e *UsageError) Error() string {
	return e.Err.Error() + " (see " + e.Command + " --help)"
}

// Unwrap returns the cause.
func (e *UsageError) Unwrap() error { return e.Err }

// ExitError ends the program with a code of its own. A nil Err means that all has been said.
type ExitError struct {
	Code int
	Err  error
}

// Error returns the cause's text.
func (e *ExitError) Error() string {
	if e.Err == nil {
		return "nothing more to say"
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *ExitError) Unwrap() error { return e.Err }

// ExitCode maps an error of a command to the code that the process ends with and to whether the
// error still has to be shown.
func ExitCode(err error) (code int, show bool) {
	var exit *ExitError
	var usage *UsageError
	switch {
	case err == nil:
		return ExitOK, false
	case errors.As(err, &exit):
		return exit.Code, exit.Err != nil
	case errors.As(err, &usage):
		return ExitUsage, true
	case errors.Is(err, context.Canceled):
		return ExitInterrupted, true
	default:
		return ExitFailure, true
	}
}

// IsNotExist reports whether a file was not there.
func IsNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
