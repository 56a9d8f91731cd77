package executor

import "errors"

// ErrGone means that nothing is left of an environment.
var ErrGone = errors.New("the environment is gone")
